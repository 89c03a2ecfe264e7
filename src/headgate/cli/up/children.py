"""The children of `headgate up`: started together, stopped in order, and shown in one file."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path

from headgate.cli.options import PLATFORM_FILE
from headgate.cli.up.ask import ask
from headgate.cli.up.logs import Important, LogFile
from headgate.cli.up.plan import Plan
from headgate.dataplane.binary import find_envoy
from headgate.dataplane.envoy import Envoy, EnvoyOptions
from headgate.dataplane.supervise import Child, Lines, Status, Supervisor
from headgate.kit.serve.ports import shown

Say = Callable[[str], None]

CONTROL_PLANE, ENVOY, BOOKSHOP = "control plane", "envoy", "bookshop"
_START = 60.0
_DRAIN = 2.0


class Children:
    """Control plane, Envoy and bookshop. `say` takes a line for the console."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        self._statuses: dict[str, Status] = {}
        self._up = False
        logs = plan.state / "logs"
        self.control = Supervisor(
            Child(CONTROL_PLANE, plan.serve_command(), ready=_answers(f"{plan.api}/ready"), grace=10.0),
            out=LogFile(logs / "control-plane.log"),
            err=_both(LogFile(logs / "control-plane.log"), Important(lambda line: say(f"{CONTROL_PLANE}: {line}"))),
            on_status=self._moved,
        )
        self.demo = (
            None
            if not plan.demo
            else Supervisor(
                Child(BOOKSHOP, plan.demo_command(), ready=_answers(f"{plan.upstream}/health")),
                out=LogFile(logs / "bookshop.log"),
                err=LogFile(logs / "bookshop.log"),
                on_status=self._moved,
            )
        )
        self._envoy_log = LogFile(logs / "envoy.log")
        self.envoy = Envoy(
            find_envoy(plan.data.envoy_path),
            plan.bootstrap(),
            plan.state / "envoys" / "local",
            EnvoyOptions.of(plan.data, drain=_DRAIN),
            on_log=self._envoy_said,
            access=LogFile(logs / "access.log"),
            on_status=self._moved,
        )

    async def start(self) -> None:
        """Start all at once, and return when the control plane answers and the bookshop is open."""
        await self.control.start()
        await self.envoy.start()
        waits = [self.control.wait_live(_START, lives=1)]
        if self.demo:
            await self.demo.start()
            waits.append(self.demo.wait_live(_START, lives=1))
        await asyncio.gather(*waits)

    async def wait_for_envoy(self) -> None:
        """Return when Envoy has a configuration."""
        await self.envoy.wait_live(_START, lives=3)

    def announce(self) -> None:
        """From now on, say when a child dies and when it is back."""
        self._up = True

    async def stop(self) -> None:
        """Let requests under way finish, stop Envoy, then the rest."""
        self._up = False
        await self.envoy.stop()
        await asyncio.gather(self.control.stop(), *([self.demo.stop()] if self.demo else []))
        (self._plan.state / PLATFORM_FILE).unlink(missing_ok=True)

    def _moved(self, status: Status) -> None:
        before = self._statuses.get(status.name)
        self._statuses[status.name] = status
        self._write()
        if not self._up or (before and before.state == status.state):
            return
        if status.state == "backing_off":
            self._say(f"{status.name}: {status.reason}; restart in {status.retry_in:.1f} s")
        elif status.state == "live":
            self._say(f"{status.name}: live again, pid {status.pid}, restart {status.restarts}")

    def _write(self) -> None:
        children = [{**asdict(status), "since": status.since.isoformat()} for status in self._statuses.values()]
        platform = {
            "pid": os.getpid(),
            "api": self._plan.api,
            "xds": shown(self._plan.xds.host, self._plan.xds.port),
            "gateway": self._plan.gateway,
            "children": children,
        }
        with suppress(OSError):  # a full disk must not stop the supervision
            replace_file(self._plan.state / PLATFORM_FILE, json.dumps(platform, indent=2) + "\n")

    def _envoy_said(self, level: str, logger: str, message: str) -> None:
        self._envoy_log(f"{level} {logger}: {message}\n".encode())
        if level in ("error", "critical"):
            self._say(f"{ENVOY}: {message[:300]}")


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        answer = await ask(url)
        return answer is not None and answer.status == HTTPStatus.OK

    return answers


def _both(file: LogFile, important: Important) -> Callable[[bytes], None]:
    lines = Lines(important)

    def take(piece: bytes) -> None:
        file(piece)
        lines(piece)

    return take


def replace_file(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
