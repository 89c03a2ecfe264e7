"""Keep one child process running: start it, see that it is ready, restart it when it dies, stop it in order.

    starting -> live -> (dies) -> backing_off -> starting ... -> stopped

A child is on a leash (`headgate.dataplane.leash`) and in a session of its own, so that Ctrl-C in a terminal
reaches the supervisor alone, which then stops its children in the order it wants.
"""

import asyncio
import os
import secrets
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from headgate.dataplane.leash import leashed
from headgate.kit.controls.faults import Unavailable
from headgate.kit.tasks import end

State = Literal["starting", "live", "backing_off", "stopped"]
Sink = Callable[[bytes], None]
"""Takes what a child writes, in pieces as they come."""

_PROBE_INTERVAL = 0.05
_PIECE = 65_536
_LONGEST_LINE = 16_384


@dataclass(frozen=True, slots=True)
class Status:
    """How a child is.

    `restarts` counts since the supervisor started; `reason` says why it is not live, and `retry_in` in how many
    seconds it will be started again.
    """

    name: str
    state: State
    pid: int | None = None
    restarts: int = 0
    reason: str = ""
    retry_in: float = 0.0
    version: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between restarts, in seconds: doubling from `first` to `longest`, forgotten after `stable` seconds live.

    Each is shortened by up to half at random, so that a fleet does not restart in step.
    """

    first: float = 0.2
    longest: float = 10.0
    stable: float = 30.0

    def pause(self, failures: int, chance: float) -> float:
        """Return the pause after that many failures in a row (1 or more); `chance` is 0 to 1."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return whole * (1 - chance / 2)


@dataclass(frozen=True, slots=True)
class Child:
    """What to run. `ready` is asked until it says yes; `drain` is awaited before the child is told to stop.

    `grace` is how many seconds it has to leave after SIGTERM before it is killed.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    drain: Callable[[], Awaitable[None]] | None = None
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    grace: float = 5.0
    back_off: BackOff = field(default_factory=BackOff)


class Lines:
    """A sink that hands on whole lines as text; those over 16 KB are cut."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        """Take a piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take(line[:_LONGEST_LINE].decode("utf-8", "replace"))
        self._rest = self._rest[-_LONGEST_LINE:]


class Supervisor:
    """Keeps one child running.

    `out` and `err` take what it writes; `on_status` is called at every change; what they raise is dropped.
    A supervisor is started once.
    """

    def __init__(
        self,
        child: Child,
        *,
        out: Sink | None = None,
        err: Sink | None = None,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        self.child = child
        self._status = Status(child.name, "stopped")
        self._sinks: tuple[Sink | None, Sink | None] = (out, err)
        self._on_status = on_status
        self._tail: deque[str] = deque(maxlen=20)
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        """How the child is now."""
        return self._status

    @property
    def tail(self) -> list[str]:
        """The last lines the child wrote to its standard error."""
        return list(self._tail)

    def describe(self, version: str) -> None:
        """Add to the status what version runs."""
        self._move(self._status.state, version=version)

    async def start(self) -> None:
        """Start supervising; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"supervise {self.child.name}")

    async def wait_live(self, timeout: float, *, lives: int = 0) -> None:
        """Return when the child is ready; Unavailable (`child_not_live`) when it is not within that many seconds.

        With `lives`, also when the child has died that many times before.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._status.state != "live":
                    if lives and self._status.state == "backing_off" and self._status.restarts + 1 >= lives:
                        raise self._not_live("does not start")
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise self._not_live(f"is not ready after {timeout:g} s") from None

    def _not_live(self, how: str) -> Unavailable:
        return Unavailable(
            f"{self.child.name} {how} ({self._status.reason or self._status.state})",
            code="child_not_live",
            internal="\n".join(self._tail),
        )

    async def stop(self) -> None:
        """Drain, ask the child to leave, and kill it when it does not. Safe to call at any time, more than once."""
        self._stopping.set()
        if self._task:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            reason, seconds_live = await self._once()
            if self._stopping.is_set():
                break
            failures = 1 if seconds_live >= self.child.back_off.stable else failures + 1
            pause = self.child.back_off.pause(failures, secrets.SystemRandom().random())
            self._move("backing_off", pid=None, reason=reason, retry_in=round(pause, 3))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            self._status = replace(self._status, restarts=self._status.restarts + 1)
        self._move("stopped", pid=None, reason="")

    async def _once(self) -> tuple[str, float]:
        """One life of the child: why it ended, and how long it was live."""
        loop = asyncio.get_running_loop()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *leashed(self.child.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env=None if self.child.environment is None else {**os.environ, **self.child.environment},
                cwd=self.child.directory,
            )
        except OSError as error:
            return f"could not be started: {error.strerror}", 0.0
        self._move("starting", pid=process.pid, reason="", retry_in=0.0)
        pumps = [asyncio.create_task(self._pump(*pair)) for pair in self._pairs(process)]
        probe = asyncio.create_task(self._probe())
        gone = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({gone, stop}, return_when=asyncio.FIRST_COMPLETED)
        live_for = loop.time() - probe.result() if probe.done() else 0.0
        await end(probe, stop)
        if not gone.done():
            await self._let_go(process)
        code = await gone
        await asyncio.wait(pumps, timeout=1.0)
        await end(*pumps)
        return self._why(code), live_for

    def _pairs(self, process: asyncio.subprocess.Process) -> list[tuple[asyncio.StreamReader, Sequence[Sink | None]]]:
        assert process.stdout  # noqa: S101 - both are pipes
        assert process.stderr  # noqa: S101
        return [(process.stdout, self._sinks[:1]), (process.stderr, (self._sinks[1], Lines(self._tail.append)))]

    async def _pump(self, stream: asyncio.StreamReader, sinks: Sequence[Sink | None]) -> None:
        while piece := await stream.read(_PIECE):
            for sink in filter(None, sinks):
                with suppress(Exception):  # what cannot be written is lost; a full pipe would stop the child
                    sink(piece)

    async def _probe(self) -> float:
        while not await self.child.ready():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(_PROBE_INTERVAL)
        self._move("live", reason="")
        return asyncio.get_running_loop().time()

    async def _let_go(self, process: asyncio.subprocess.Process) -> None:
        if self.child.drain and self._status.state == "live":
            with suppress(Exception):  # stopping does not depend on it
                await self.child.drain()
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self.child.grace):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()

    def _why(self, code: int) -> str:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        lines = [line.strip() for line in reversed(self._tail) if line.strip()]
        said = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
        return f"{how}: {said[:300]}" if said and code > 0 else how

    def _move(self, state: State, **changes: object) -> None:
        before = self._status
        since = before.since if before.state == state else datetime.now(UTC)
        self._status = replace(before, state=state, since=since, **changes)  # type: ignore[arg-type]
        self._moved.set()
        if self._on_status:
            with suppress(Exception):  # the child must not lose its supervisor to who looks on
                self._on_status(self._status)
