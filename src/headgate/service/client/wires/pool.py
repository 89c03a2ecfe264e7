"""The connections of one instance over HTTP: so many at a time, the one used last first, the others closed in time.

    pool = Pool(make, most=64, most_idle=64, idle_time=15.0, patience=5.0)
    async with pool.connection() as transport:
        response = await transport.handle_async_request(request)

Each is a transport of httpx with one connection: in a pool of httpcore's every call that begins or ends looks at every
connection for every connection, and a few dozen callers keep it from doing anything else. Raises ResourceExhausted
(`connections_exhausted`) when none comes free within `patience` seconds.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from headgate.kit.controls.faults import ResourceExhausted


class Pool:
    """See the module. `make` opens a transport; over HTTP/2, which is `shared`, one carries all calls."""

    def __init__(
        self,
        make: Callable[[], httpx.AsyncHTTPTransport],
        *,
        most: int,
        most_idle: int,
        idle_time: float,
        patience: float,
        shared: bool = False,
    ) -> None:
        self._make = make
        self._most_idle, self._idle_time, self._patience = most_idle, idle_time, patience
        self._shared = make() if shared else None
        self._free = asyncio.Semaphore(most)
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()
        self._busy: set[httpx.AsyncHTTPTransport] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """One that nobody else uses. Raises ResourceExhausted."""
        if self._shared is not None:
            yield self._shared
            return
        await self._turn()
        transport = self._idle.pop()[1] if self._idle else self._make()
        self._busy.add(transport)
        try:
            yield transport
        finally:
            self._busy.discard(transport)
            self._free.release()
            await self._back(transport)

    async def aclose(self) -> None:
        """Close all connections, whoever uses them."""
        self._closed = True
        every = [*(transport for _, transport in self._idle), *self._busy]
        self._idle.clear()
        for transport in [*every, *([] if self._shared is None else [self._shared])]:
            await transport.aclose()

    async def _turn(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._patience) as limit:
                await self._free.acquire()
        except TimeoutError as error:
            if limit.expired():
                raise exhausted(f"none came free within {self._patience:g} s") from error
            raise

    async def _back(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Keep it for the next call, and close those that nobody used for long."""
        now = asyncio.get_running_loop().time()
        if self._closed or len(self._idle) >= self._most_idle:
            await transport.aclose()
        else:
            self._idle.append((now, transport))
        while self._idle and now - self._idle[0][0] > self._idle_time:
            await self._idle.popleft()[1].aclose()


def exhausted(internal: str) -> ResourceExhausted:
    """The fault of a call that found no connection."""
    return ResourceExhausted(
        "too many calls wait for a connection",
        code="connections_exhausted",
        hint="allow more with max_connections, or call less at a time",
        internal=internal,
    )
