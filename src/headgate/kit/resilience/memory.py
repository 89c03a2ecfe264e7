"""The first level of a cache: bytes in this process, bounded by number and by size.

memory = MemoryStore(entries=1024, size=64_000_000)
memory.put(key, b"...", now=clock(), fresh=300, stale=30)
entry = memory.get(key, clock())
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

OVERHEAD: Final = 300
"""Bytes that an entry costs besides its key and its data, about."""


class Entry:
    """What is kept under a key. `failed` says that `data` describes an error."""

    __slots__ = ("data", "failed", "fresh_until", "size", "stale_until")

    def __init__(self, data: bytes, fresh_until: float, stale_until: float, failed: bool, size: int) -> None:
        self.data = data
        self.fresh_until = fresh_until
        self.stale_until = stale_until
        self.failed = failed
        self.size = size


class MemoryStore:
    """Keeps what was used last. `entries` bounds the number, `size` all bytes, keys and overhead included.

    `evicted` is called once for each entry that had to give way.
    """

    def __init__(self, *, entries: int, size: int, evicted: Callable[[], None] | None = None) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._most = entries
        self._most_bytes = size
        self._evicted = evicted
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> Entry | None:
        """The entry, fresh or stale; None when there is none that may still be used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.stale_until:
            self.delete(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: str, data: bytes, *, now: float, fresh: float, stale: float = 0.0, failed: bool = False) -> bool:
        """Keep `data`, fresh for `fresh` seconds and usable while renewed for `stale` more.

        False when it alone is larger than all there is room for; then nothing is kept under the key.
        """
        self.delete(key)
        size = len(key) + len(data) + OVERHEAD
        if size > self._most_bytes or self._most < 1 or fresh + stale <= 0:
            return False
        self._entries[key] = Entry(data, now + fresh, now + fresh + stale, failed, size)
        self.size += size
        while self.size > self._most_bytes or len(self._entries) > self._most:
            _key, entry = self._entries.popitem(last=False)
            self.size -= entry.size
            if self._evicted is not None:
                self._evicted()
        return True

    def delete(self, key: str) -> bool:
        """Forget one key; whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self.size -= entry.size
        return True

    def clear(self, prefix: str = "") -> int:
        """Forget all keys that begin with `prefix`; how many."""
        keys = [key for key in self._entries if key.startswith(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)
