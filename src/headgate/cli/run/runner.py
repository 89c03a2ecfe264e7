"""All processes of a workspace: started in the order of their dependencies, reloaded one by one, ended in reverse.

runner = Runner(workspace.ordered(), plan, console)
code = await runner.run(stop)           # until `stop` is set; or, without reload, until one of them ends
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headgate.cli.run.changes import affected, changes
from headgate.cli.run.inspector import Inspector
from headgate.cli.run.logs import RUNNER
from headgate.cli.run.nats import Nats
from headgate.cli.run.process import Process, Say
from headgate.cli.run.usual import usual
from headgate.service.dev.workspace import AppEntry

SERVED: Final = 0
FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How a workspace is run. `ports` are HTTP's and gRPC's of each application; 0 for `inspector` is none."""

    state: Path
    ports: dict[str, tuple[int, int]]
    environment: dict[str, str] = field(default_factory=dict)
    reload: bool = True
    nats: int = 0
    inspector: int = 0
    start_seconds: float = 60.0
    grace: float = 20.0


class Runner:
    """See the module. `say` takes a name and a line, `on_ready` is called once all that can be are ready."""

    def __init__(
        self, entries: Sequence[AppEntry], plan: Plan, say: Say, on_ready: Callable[["Runner"], None] | None = None
    ) -> None:
        self.plan = plan
        self.processes = {each.name: self._process(each, plan, say) for each in entries}
        self.nats = Nats(plan.nats, plan.state, say) if plan.nats else None
        self.inspector = Inspector(self.processes, plan.inspector) if plan.inspector else None
        self._say = say
        self._on_ready = on_ready

    async def run(self, stop: asyncio.Event) -> int:
        """Start, serve, end. Returns the exit code."""
        tasks = [asyncio.create_task(self._live(), name="run"), asyncio.create_task(stop.wait(), name="stop")]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return tasks[0].result() if tasks[0].done() else SERVED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()

    async def _live(self) -> int:
        if self.nats is not None:
            await self.nats.start()
        if self.inspector is not None:
            await self.inspector.start()
        started = await self._start()
        if not self.plan.reload and not all(started):
            return FAILED
        if self._on_ready is not None:
            self._on_ready(self)
        if self.plan.reload:
            await self._follow()
        return await self._until_one_ends()

    async def _start(self) -> list[bool]:
        """Start each once those it depends on are ready, or cannot be. Returns which are."""
        tasks: dict[str, asyncio.Task[bool]] = {}
        for process in self.processes.values():  # in order: what it depends on is in `tasks` already
            before = [tasks[name] for name in process.entry.depends if name in tasks]
            tasks[process.entry.name] = asyncio.create_task(self._start_after(process, before))
        try:
            return list(await asyncio.gather(*tasks.values()))
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _start_after(self, process: Process, before: list["asyncio.Task[bool]"]) -> bool:
        await asyncio.gather(*before)
        if not self.plan.reload and not all(task.result() for task in before):
            return False
        return await process.start()

    async def _follow(self) -> None:
        """Start again what changed, for ever. Each in a task of its own: the others serve meanwhile."""
        pending: dict[str, asyncio.Task[None]] = {}
        again: set[str] = set()
        try:
            async for files in changes(self.processes.values()):
                for process in affected(files, self.processes.values()):
                    name = process.entry.name
                    if name in pending and not pending[name].done():
                        again.add(name)
                        continue
                    pending[name] = asyncio.create_task(self._again(process, files, again))
        finally:
            for task in pending.values():
                task.cancel()
            await asyncio.gather(*pending.values(), return_exceptions=True)

    async def _again(self, process: Process, files: set[Path], again: set[str]) -> None:
        """Restart, and once more if files changed meanwhile."""
        name = process.entry.name
        while True:
            again.discard(name)
            began = time.monotonic()
            self._say(RUNNER, f"{name}: {_named(files)} changed; starting again")
            if await process.restart():
                self._say(RUNNER, f"{name}: ready again on {process.url} after {time.monotonic() - began:.1f} s")
            else:
                self._say(RUNNER, f"{name}: cannot start; waiting for a change")
            if name not in again:
                return

    async def _until_one_ends(self) -> int:
        waits = [asyncio.create_task(_ended(each)) for each in self.processes.values()]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return FAILED

    async def _end(self) -> None:
        """Drain all, those first that others do not depend on."""
        if self.inspector is not None:
            await self.inspector.stop()
        left = list(reversed(self.processes.values()))
        while left:
            needed = {name for each in left for name in each.entry.depends}
            now = [each for each in left if each.entry.name not in needed] or left
            await asyncio.gather(*(each.stop() for each in now))
            left = [each for each in left if each not in now]
        if self.nats is not None:
            await self.nats.stop()

    @staticmethod
    def _process(entry: AppEntry, plan: Plan, say: Say) -> Process:
        port, grpc_port = plan.ports[entry.name]
        environment = {**usual(entry), **plan.environment, "PORT": str(port), "GRPC_PORT": str(grpc_port)}
        return Process(
            entry,
            port=port,
            grpc_port=grpc_port,
            environment=environment,
            state=plan.state,
            say=say,
            start_seconds=plan.start_seconds,
            grace=plan.grace,
            afterwards="; waiting for a change" if plan.reload else "",
        )


async def _ended(process: Process) -> None:
    while process.state not in ("failed", "stopped"):
        process.moved.clear()
        await process.moved.wait()


def _named(files: set[Path]) -> str:
    first = min(files)
    return first.name if len(files) == 1 else f"{first.name} and {len(files) - 1} more"
