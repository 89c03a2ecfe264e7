"""What the children say: kept in files of bounded size, with the lines that matter on the console."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LARGEST = 8 << 20
_KEPT = 2


class LogFile:
    """A sink that writes to a file; at 8 MB it starts another and keeps two old ones. A full disk loses lines only."""

    def __init__(self, path: Path, *, largest: int = _LARGEST) -> None:
        self._path = path
        self._largest = largest
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def __call__(self, piece: bytes) -> None:
        """Write a piece."""
        with suppress(OSError):
            if self._file.tell() > self._largest:
                self._turn()
            self._file.write(piece)

    def _turn(self) -> None:
        self._file.close()
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            with suppress(FileNotFoundError):
                newer.rename(older)
        self._file = self._path.open("ab", buffering=0)


class Important:
    """Picks from a child's JSON log the errors, and hands each on as one line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __call__(self, line: str) -> None:
        """Take a line of the log."""
        with suppress(ValueError, TypeError, AttributeError):
            entry = json.loads(line)
            if str(entry.get("level", "")).lower() in ("error", "critical"):
                said = str(entry.get("event", ""))[:300]
                reason = str(entry.get("exception") or entry.get("error") or "").strip().splitlines()
                self._say(f"{said}: {reason[-1][:300]}" if reason else said)
