"""The life of an ASGI application, run by us and not by its server, so that it is the same on all of them.

    life = Lifespan(app, startup_seconds=60, shutdown_seconds=30)
    await life.startup()            # or the fault that says what the application raised
    ...                             # calls are given `life.state`
    await life.shutdown()

Servers differ here: one logs what start-up raised and goes on, another ends the process, a third waits for ever
for a shutdown that hangs. An application that knows no lifespan is served without one.
"""

import asyncio
import contextlib
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.controls.redaction import redact_text

_log = structlog.get_logger("headgate.serve")

_AFTERWORD_SECONDS: Final = 1.0


class Lifespan:
    """Start-up and shutdown of one application, in one task as the specification asks."""

    def __init__(self, app: ASGIApp, *, startup_seconds: float = 60.0, shutdown_seconds: float = 30.0) -> None:
        self.state: dict[str, Any] = {}
        """What start-up left for the calls."""
        self._app = app
        self._startup_seconds = startup_seconds
        self._shutdown_seconds = shutdown_seconds
        self._task: asyncio.Task[None] | None = None
        self._heard = self._up = False
        self._report = ""
        self._answered = asyncio.Event()
        self._leave = asyncio.Event()

    async def startup(self) -> None:
        """Run the start-up.

        Raises the Fault it raised, else Unavailable: `startup_failed` names what was raised, `startup_timeout`.
        """
        self._task = asyncio.create_task(self._run(), name="lifespan")
        answered = asyncio.create_task(self._answered.wait())
        try:
            done, _ = await asyncio.wait(
                {self._task, answered}, timeout=self._startup_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            await self._end()
            raise
        finally:
            answered.cancel()
        if not done:
            await self._end()
            raise Unavailable(
                f"the application's start-up took longer than {self._startup_seconds:g} s", code="startup_timeout"
            )
        if not self._up:
            await self._explain(self._task)

    async def shutdown(self) -> None:
        """Run the shutdown. What it raises, or that it takes too long, is logged."""
        task, self._task = self._task, None
        if task is None:
            return
        self._leave.set()
        if not task.done():
            await asyncio.wait({task}, timeout=self._shutdown_seconds)
        if not task.done():
            _log.error("the application's shutdown takes too long; it is cancelled", seconds=self._shutdown_seconds)
            task.cancel()
            await asyncio.wait({task}, timeout=_AFTERWORD_SECONDS)
        elif self._up and (error := _raised(task)) is not None:
            _log.error("the application's shutdown failed", exc_info=error)
        elif self._report and self._up:
            _log.error("the application's shutdown failed", reason=redact_text(self._report))

    async def wait(self) -> None:
        """Return never, while the application lives; raise Unavailable (`lifespan_failed`) when its life ends early."""
        task = self._task
        if task is not None:
            await asyncio.wait({task})
            error = _raised(task)
            if error is not None and not self._leave.is_set():
                raise Unavailable(
                    f"the application's lifespan ended while it was served: {_told(error)}",
                    code="lifespan_failed",
                    internal=repr(error),
                ) from error
        await asyncio.Event().wait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except SystemExit as error:  # it would take the whole loop down
            raise RuntimeError(f"exit with status {error.code}") from error

    async def _receive(self) -> Message:
        if not self._heard:
            self._heard = True
            return {"type": "lifespan.startup"}
        await self._leave.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._heard = False  # it took this for a request
            raise RuntimeError(f"{kind} is no message of a lifespan")
        if kind == "lifespan.startup.complete":
            self._up = True
        elif kind.endswith(".failed"):
            self._report = str(message.get("message", ""))
        self._answered.set()

    async def _explain(self, task: asyncio.Task[None]) -> None:
        """Raise what went wrong, or return when the application simply knows no lifespan."""
        if not task.done():  # it said that it failed; what it raises comes next
            await asyncio.wait({task}, timeout=_AFTERWORD_SECONDS)
        await self._end()
        error = _raised(task)
        silent = not self._answered.is_set() and not task.cancelled()
        if silent and (error is None or not self._heard):
            return
        if isinstance(error, Fault):
            raise error
        last = self._report.strip().rpartition("\n")[2] if error is None else _told(error)
        raise Unavailable(
            f"the application did not start: {redact_text(last) or 'it did not say why'}",
            code="startup_failed",
            internal=repr(error or self._report),
        ) from error

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=_AFTERWORD_SECONDS)


def _raised(task: asyncio.Task[None]) -> BaseException | None:
    error = task.exception() if task.done() and not task.cancelled() else None
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> str:
    return redact_text(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
