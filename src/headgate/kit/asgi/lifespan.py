"""The start and stop of an application, with those of the kit round them.

    hook.on_startup, the application's startup, ..., the application's shutdown, hook.on_shutdown

An application that knows no lifespan has one all the same: the hook's.
"""

from typing import Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ENDS: Final = frozenset(("lifespan.shutdown.complete", "lifespan.shutdown.failed"))
_log = structlog.get_logger("headgate.lifespan")


class Hook(Protocol):
    """What is opened before the application starts, and closed after it stopped."""

    async def on_startup(self) -> None:
        """Open. What it raises keeps the process from starting."""

    async def on_shutdown(self) -> None:
        """Close. Runs also when the application failed to start."""


class Lifespan:
    """One lifespan scope of an application."""

    def __init__(self, app: ASGIApp, hook: Hook, receive: Receive, send: Send) -> None:
        self._app = app
        self._hook = hook
        self._receive = receive
        self._send = send
        self._asked = False
        self._opened = False
        self._told_started = False
        self._ended = False

    async def run(self, scope: Scope) -> None:
        """Serve the scope to its end."""
        try:
            await self._app(scope, self._next, self._tell)
        except Exception as error:
            if self._told_started or self._ended:
                raise
            if self._asked:
                _log.warning(
                    "the application failed to start in its lifespan, and is served all the same", exc_info=error
                )
        if not self._ended:
            await self._alone()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            self._asked = True
            await self._open()
        return message

    async def _tell(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._told_started = True
        elif kind == "lifespan.startup.failed" or kind in _ENDS:
            self._ended = True
            await self._close()
        await self._send(message)

    async def _open(self) -> None:
        try:
            await self._hook.on_startup()
        except BaseException as error:
            self._ended = True
            await self._send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        self._opened = True

    async def _close(self) -> None:
        if self._opened:
            self._opened = False
            await self._hook.on_shutdown()

    async def _alone(self) -> None:
        """Speak for an application that said nothing."""
        if not self._asked:
            await self._receive()
            await self._open()
        if not self._told_started:
            await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._close()
        await self._send({"type": "lifespan.shutdown.complete"})
