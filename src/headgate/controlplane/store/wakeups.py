"""How a replica learns that a team moved: at once in its own process, by LISTEN on PostgreSQL, and by a poll."""

import asyncio
import logging
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from headgate.kit.tasks import end

_log = logging.getLogger("headgate.store")
_BACK_OFF: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
CHANNEL: Final = "headgate"


class Wakeups:
    """A bell. It stays rung until somebody has waited for it, so that none is missed between two waits."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, *_: object) -> None:
        """Some team may have moved."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring, at most `timeout` seconds, and say whether there was one."""
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class PostgresListener:
    """A connection of its own which rings the bell for every notification, and comes back when it is lost."""

    def __init__(self, engine: AsyncEngine, wakeups: Wakeups) -> None:
        self._engine = engine
        self._wakeups = wakeups
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._task = asyncio.create_task(self._run(), name="headgate-store-listen")

    async def stop(self) -> None:
        """Stop listening and close the connection."""
        task, self._task = self._task, None
        await end(task)

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                connection = await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever the driver says, the poll goes on meanwhile
                _log.warning("cannot listen for changes, polling instead: %s", type(error).__name__)
                await asyncio.sleep(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)])
                attempt += 1
                continue
            attempt = 0
            # What was said while nobody listened is lost: look once.
            self._wakeups.ring()
            await self._until_lost(connection)

    async def _connect(self) -> Any:
        import asyncpg

        url = self._engine.url.set(drivername="postgresql")
        connection = await asyncpg.connect(url.render_as_string(hide_password=False), timeout=10)
        await connection.add_listener(CHANNEL, self._wakeups.ring)
        return connection

    async def _until_lost(self, connection: Any) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            if not connection.is_closed():
                await lost.wait()
        finally:
            if not connection.is_closed():
                connection.terminate()
