"""One call for all processes: whoever holds the lease asks upstream, the others wait for what it tells.

    together = Together(shared, lease=5.0, told=5.0)
    answer = await together.ask(key, make, check=codec.decode, wanted=bool, fresh=300, stale=0)

Those who wait poll, ever less often. They get the answer, or the error of the very lease they waited for;
when the holder dies or gives up, one of them takes over. Without the store each process asks for itself.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from headgate.kit.controls.faults import Fault
from headgate.kit.resilience.errors import decode_error, encode_error
from headgate.kit.resilience.shared import Found, SharedStore, StoreDown

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found or made. `fresh` is in seconds from now, negative when it is stale."""

    data: bytes
    fresh: float
    found: bool = False


class SharedError(Exception):
    """Another process made the call and it failed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


class Together:
    """Single flight over processes. Times in seconds.

    `lease` is how long a holder that died keeps the others waiting; `told` how long those who wait can
    still learn of an error. `error` over 0 lets everybody learn of it, and that is how long.
    """

    def __init__(self, store: SharedStore, *, lease: float, told: float, error: float = 0.0) -> None:
        self._store = store
        self._lease = lease
        self._told = told
        self._error = error
        self._cleaning: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        key: str,
        make: Callable[[], Awaitable[bytes]],
        *,
        check: Callable[[bytes], Any],
        wanted: Callable[[bytes], bool],
        fresh: float,
        stale: float,
        renew: bool = False,
    ) -> Answer:
        """Find the answer or `make` it. With `renew` a stale one will not do.

        `check` raises ValueError for bytes that are no answer; `wanted(data)` whether to keep
        what was made. Raises SharedError, and what `make` raises.
        """
        token, waited_for, pause = secrets.token_hex(16), "", FIRST_PAUSE
        while True:
            try:
                found = await self._store.look(
                    key,
                    token=token,
                    lease=self._lease,
                    waited_for=waited_for,
                    any_error=self._error > 0,
                    more_than=stale if renew else 0.0,
                )
                if found.kind == "value" and not await self._readable(key, found, check):
                    continue
            except StoreDown:
                break
            except asyncio.CancelledError:
                # The lease may be ours though the store's answer did not arrive.
                self._release_later(key, token)
                raise
            if found.kind == "value":
                return Answer(found.data, found.left - stale, found=True)
            if found.kind == "error":
                raise SharedError(decode_error(found.data))
            if found.kind == "lease":
                longest = stale if renew else math.inf
                return Answer(await self._make(key, token, make, wanted, fresh + stale, longest), fresh)
            waited_for = found.data.decode("ascii")
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
        return Answer(await make(), fresh)

    async def aclose(self) -> None:
        """Wait until leases of cancelled calls are given back."""
        await asyncio.gather(*self._cleaning)

    async def _readable(self, key: str, found: Found, check: Callable[[bytes], Any]) -> bool:
        try:
            check(found.data)
        except ValueError:
            await self._store.delete(key)
            return False
        return True

    async def _make(
        self,
        key: str,
        token: str,
        make: Callable[[], Awaitable[bytes]],
        wanted: Callable[[bytes], bool],
        seconds: float,
        longest: float,
    ) -> bytes:
        renewal = asyncio.create_task(self._renew(key, token, longest))
        try:
            data = await make()
        except Exception as error:
            with suppress(StoreDown):
                await self._store.fail(key, token, encode_error(error), self._error or self._told)
            raise
        except BaseException:
            self._release_later(key, token)
            raise
        finally:
            renewal.cancel()
        with suppress(StoreDown):
            if wanted(data):
                await self._store.publish(key, token, data, seconds)
            else:
                await self._store.release(key, token)
        return data

    async def _renew(self, key: str, token: str, longest: float) -> None:
        """Keep the lease, but not beyond `longest` seconds: once no stale answer is left, others must not wait."""
        started = time.monotonic()
        while True:
            await asyncio.sleep(self._lease / 3)
            if time.monotonic() - started > longest:
                return
            with suppress(StoreDown):
                if not await self._store.renew(key, token, self._lease):
                    return

    def _release_later(self, key: str, token: str) -> None:
        # The task that is being cancelled cannot wait for it.
        task = asyncio.create_task(self._release(key, token))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _release(self, key: str, token: str) -> None:
        with suppress(StoreDown):
            await self._store.release(key, token)
