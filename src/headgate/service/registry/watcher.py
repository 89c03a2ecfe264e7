"""One watcher for each service that somebody wants to know of, whatever the registry and however many ask.

A registry gives a `Source`: it tells complete answers until it fails, and is then asked again after a pause. The
watcher makes snapshots of them: it numbers them, keeps the last one while the registry is down, doubts an empty
answer that follows an outage, and wakes those who wait.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.service.registry.instance import Instance, Snapshot, ordered
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy

_log = structlog.get_logger("headgate.registry")


@dataclass(frozen=True, slots=True)
class Answer:
    """All instances of a service. `doubtful` when the registry says that it may have lost something."""

    instances: tuple[Instance, ...]
    doubtful: bool = False


class Source(Protocol):
    """What a registry knows of one service. It may keep what it needs to resume between two calls of `follow`."""

    def follow(self) -> AsyncIterator[Answer]:
        """Answers, the first one at once, until something goes wrong. Raises the fault that says what."""

    async def aclose(self) -> None:
        """Let go of everything."""


def told(error: Exception) -> Fault:
    """What went wrong as a fault."""
    if isinstance(error, Fault):
        return error
    return Unavailable(f"{type(error).__name__}: {error}"[:300], code="registry_unavailable")


class Watcher:
    """Follows `source` in a task. `last` is where its snapshots go on from."""

    def __init__(
        self, registry: str, last: Snapshot, source: Source, policy: RegistryPolicy, observer: RegistryObserver
    ) -> None:
        self.snapshot = last
        self.wanted = 0
        self.confirmed_at: float | None = None
        self._registry, self._source, self._policy, self._observer = registry, source, policy, observer
        self._news = asyncio.Event()
        self._failures = 0
        self._well_since: float | None = None
        self._doubt = False
        self._holding: asyncio.TimerHandle | None = None
        self._answered = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"watch {registry} {last.service}")
        self._impatient = self._loop.call_later(policy.first_answer, self._give_up_waiting)

    @property
    def known(self) -> bool:
        """Whether there is a snapshot to give: the registry answered, or could not."""
        return self._answered

    async def after(self, seen: Snapshot | None) -> Snapshot | None:
        """The first snapshot that is not `seen`; None when the watching has ended."""
        while not self._closed:
            if self._answered and self.snapshot is not seen:
                return self.snapshot
            await self._news.wait()
        return None

    async def aclose(self) -> None:
        """End it, and the waiting of all who wait."""
        self._closed = True
        self._wake()
        self._impatient.cancel()
        if self._holding is not None:
            self._holding.cancel()
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(Exception):
            await self._source.aclose()

    async def _run(self) -> None:
        while not self._closed:
            after, self._well_since = None, None
            try:
                async with aclosing(self._source.follow()) as answers:  # type: ignore[type-var]
                    async for answer in answers:
                        self._accept(answer)
            except Exception as error:  # noqa: BLE001 - whatever a library raises, the watching goes on
                fault = told(error)
                after = fault.retry_after
                self._fail(fault)
            await asyncio.sleep(self._policy.pause(self._failures, after))

    def _accept(self, answer: Answer) -> None:
        self.confirmed_at = self._loop.time()
        self._well_since = self.confirmed_at if self._well_since is None else self._well_since
        self._doubt = self._doubt or answer.doubtful
        self._observer.confirmed(self._registry, self.snapshot.service)
        instances = ordered(answer.instances)
        if not instances and self.snapshot.instances and self._doubt:
            self._hold()
        else:
            self._take(instances)

    def _hold(self) -> None:
        """Go on with the last instances for a while; if the registry still knows none by then, believe it."""
        if self._holding is None:
            self._holding = self._loop.call_later(self._policy.empty_grace, self._take, ())
        self._show(self.snapshot.instances, "the registry came back empty; not believed yet")

    def _take(self, instances: tuple[Instance, ...]) -> None:
        if self.snapshot.stale and self._failures:
            _log.info("registry answers again", registry=self._registry, service=self.snapshot.service)
        self._release()
        self._doubt = False
        self._show(instances, "")

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    def _fail(self, fault: Fault) -> None:
        # One that answers and fails by turns is asked less and less often.
        if self._well_since is not None and self._loop.time() - self._well_since >= self._policy.settled:
            self._failures = 0
        self._failures += 1
        self._doubt = True
        self._release()
        if self._failures == 1:
            _log.warning(
                "registry cannot be asked; what it told last is kept",
                registry=self._registry, service=self.snapshot.service, code=fault.code, reason=fault.message,
                hint=fault.hint, detail=fault.internal,
            )  # fmt: skip
        self._observer.failed(self._registry, self.snapshot.service, fault)
        self._show(self.snapshot.instances, fault.message)

    def _give_up_waiting(self) -> None:
        if not self._answered:
            self._show(self.snapshot.instances, "the registry has not answered yet")

    def _show(self, instances: tuple[Instance, ...], reason: str) -> None:
        """Make the snapshot that subscribers see. `reason` is why it is stale."""
        last, stale = self.snapshot, bool(reason)
        first = not stale and last.generation == 0
        if self._answered and not first and instances == last.instances and stale == last.stale:
            return
        generation = last.generation + (first or instances != last.instances)
        self.snapshot = Snapshot(last.service, generation, instances, stale, reason)
        self._answered = True
        self._wake()
        self._observer.changed(self._registry, self.snapshot)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
