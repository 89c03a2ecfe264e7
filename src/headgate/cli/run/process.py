"""One application of a workspace as a process: started, seen to be ready, drained, and started again.

    starting -> ready -> (its files change) -> draining -> starting
             -> failed (it could not start, or died) -> (any of its files changes) -> starting

A process that failed is left alone until a file changes: what failed once fails again. All are on a leash
(`headgate.dataplane.leash`) and in sessions of their own, so that Ctrl-C reaches the runner alone.
"""

import asyncio
import http.client
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from headgate.dataplane.leash import leashed
from headgate.dataplane.supervise import Lines
from headgate.service.dev.report import Report, read_report
from headgate.service.dev.workspace import AppEntry

State = Literal["new", "starting", "ready", "draining", "failed", "stopped"]
Say = Callable[[str, str], None]
"""Takes the name of an application and a line of what it, or the runner about it, says."""

LOOPBACK: Final = "127.0.0.1"
OK: Final = 200

_PROBE_SECONDS: Final = 0.05
_PIECE: Final = 65_536


class Process:
    """See the module. `start_seconds` and `grace` bound how long it may take to become ready and to end.

    `afterwards` is said besides when it died: what becomes of it.
    """

    def __init__(
        self,
        entry: AppEntry,
        *,
        port: int,
        grpc_port: int,
        environment: Mapping[str, str],
        state: Path,
        say: Say,
        start_seconds: float = 60.0,
        grace: float = 20.0,
        afterwards: str = "",
    ) -> None:
        self.entry = entry
        self.port = port
        self.grpc_port = grpc_port
        self.state: State = "new"
        self.report = Report()
        self.restarts = 0
        self.code: int | None = None
        self.moved = asyncio.Event()
        """Set whenever the state has changed; whoever waits clears it."""
        self._environment = environment
        self._file = state / f"{entry.name}.json"
        self._say = say
        self._start_seconds = start_seconds
        self._grace = grace
        self._afterwards = afterwards
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process there is."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> bool:
        """Start it, and return whether it became ready."""
        async with self._turn:
            return await self._start()

    async def restart(self) -> bool:
        """Drain it and start it again. Returns whether it became ready."""
        async with self._turn:
            await self._stop()
            self.restarts += 1
            return await self._start()

    async def stop(self) -> None:
        """Let calls under way finish, then end it."""
        async with self._turn:
            await self._stop()
            self._move("stopped")

    async def _start(self) -> bool:
        self._file.unlink(missing_ok=True)
        self._move("starting")
        environment = {**os.environ, **self._environment, **self.entry.environment}
        paths = [str(path) for path in self.entry.paths]
        environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "headgate.service.dev", self.entry.target, str(self._file)]
        self._process = process = await asyncio.create_subprocess_exec(
            *leashed(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=self.entry.directory,
        )
        self._watching = asyncio.create_task(self._watch(process), name=f"watch {self.entry.name}")
        try:
            async with asyncio.timeout(self._start_seconds):
                while process.returncode is None and not await asyncio.to_thread(self._answers):  # noqa: ASYNC110
                    await asyncio.sleep(_PROBE_SECONDS)
        except TimeoutError:
            self._say(self.entry.name, f"is not ready after {self._start_seconds:g} s")
        found = read_report(self._file)
        if found is not None:
            self.report = found
        if process.returncode is None and self.state == "starting":
            self._move("ready")
            return True
        return False

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._move("draining")
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._grace):
                await process.wait()
        except TimeoutError:
            self._say(self.entry.name, f"does not end within {self._grace:g} s; killed")
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._watching is not None:
            await asyncio.wait([self._watching], timeout=1.0)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Hand on what it says; see that it died."""
        assert process.stdout  # noqa: S101 - it is a pipe
        lines = Lines(lambda line: self._say(self.entry.name, line))
        while piece := await process.stdout.read(_PIECE):
            with suppress(Exception):  # what cannot be shown is lost; a full pipe would stop the process
                lines(piece)
        code = await process.wait()
        lines(b"\n")
        self.code = code
        if self.state in ("starting", "ready"):
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self._say(self.entry.name, how if self.state == "starting" else how + self._afterwards)
            self._move("failed")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2.0)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _move(self, state: State) -> None:
        self.state = state
        self.moved.set()
