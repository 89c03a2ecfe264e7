"""Tests of what watchers share, on sources that do what the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from headgate.kit.controls.faults import Unavailable
from headgate.service.registry.base import BaseRegistry, External
from headgate.service.registry.instance import Instance
from headgate.service.registry.watcher import Answer
from tests.service.registry.conftest import quick

A = Instance(id="a", service="orders")
B = Instance(id="b", service="orders")


class Scripted(BaseRegistry):
    """Tells what is put into `queue`: answers, or errors to raise. `asked` is how often it was begun."""

    def __init__(self, **policy) -> None:
        super().__init__(quick(**policy))
        self.queue: asyncio.Queue[Answer | Exception] = asyncio.Queue()
        self.asked: list[float] = []
        self.closed = 0

    def _source(self, service):
        return self

    def _keeper(self):
        return External()

    async def services(self):
        return {}

    async def follow(self) -> AsyncIterator[Answer]:
        self.asked.append(asyncio.get_running_loop().time())
        while True:
            told = await self.queue.get()
            if isinstance(told, Exception):
                raise told
            yield told

    def tell(self, *told: Answer | Exception) -> None:
        for each in told:
            self.queue.put_nowait(each)


@pytest.fixture
async def closing():
    """Takes registries that are closed after the test."""
    made: list[Scripted] = []
    yield made.append
    for each in made:
        await BaseRegistry.aclose(each)


def scripted(closing, **policy) -> Scripted:
    """A registry that does as it is told."""
    made = Scripted(**policy)
    made.aclose = _nothing
    closing(made)
    return made


async def _nothing() -> None:
    pass


async def test_the_same_answer_is_no_news(closing):
    """An answer that changes nothing, in whatever order, is no snapshot of its own."""
    registry = scripted(closing)
    watch = registry.watch("orders")
    registry.tell(Answer((B, A)), Answer((A, B)), Answer((A,)))
    snapshots = [await anext(watch)]
    while snapshots[-1].instances != (A,):
        snapshots.append(await anext(watch))
    assert snapshots[-1].generation <= 2


async def test_any_error_is_an_outage(closing):
    """Whatever a library raises is an outage: the last snapshot is kept and the registry asked again."""
    registry = scripted(closing)
    watch = registry.watch("orders")
    registry.tell(Answer((A,)))
    assert (await anext(watch)).instances == (A,)
    registry.tell(KeyError("surprise"))
    stale = await anext(watch)
    assert (stale.instances, stale.stale, stale.reason) == ((A,), True, "KeyError: 'surprise'")
    registry.tell(Answer((A,)))
    assert not (await anext(watch)).stale


async def test_one_that_flaps_is_asked_less_often(closing):
    """A registry that answers and fails by turns is asked after longer and longer pauses."""
    registry = scripted(closing, first_pause=0.02, longest_pause=10.0, settled=60.0, spread=lambda: 1.0)
    watch = registry.watch("orders")
    for _ in range(4):
        registry.tell(Answer((A,)), Unavailable("no"))
    registry.tell(Answer((B,)))
    async for snapshot in watch:
        if snapshot.instances == (B,):
            break
    gaps = [later - sooner for sooner, later in zip(registry.asked, registry.asked[1:], strict=False)]
    assert all(gap >= least for gap, least in zip(gaps, (0.02, 0.04, 0.08, 0.16), strict=True))


async def test_retry_after_is_kept(closing):
    """A registry that says when to come back is not asked before."""
    registry = scripted(closing)
    watch = registry.watch("orders")
    registry.tell(Unavailable("no", retry_after=0.3), Answer((A,)))
    async for snapshot in watch:
        if not snapshot.stale:
            break
    assert registry.asked[1] - registry.asked[0] >= 0.3


async def test_a_doubtful_empty_answer_is_held_back(closing):
    """An empty answer of a registry that may have lost something is believed only after a while."""
    registry = scripted(closing, empty_grace=0.05)
    watch = registry.watch("orders")
    registry.tell(Answer((A,)))
    await anext(watch)
    registry.tell(Answer((), doubtful=True))
    held = await anext(watch)
    assert (held.instances, held.stale) == ((A,), True)
    believed = await anext(watch)
    assert (believed.instances, believed.stale, believed.generation) == ((), False, 2)


async def test_doubt_ends_with_the_first_instance(closing):
    """What comes back in time ends the doubt, and the next empty answer is believed at once."""
    registry = scripted(closing, empty_grace=60.0)
    watch = registry.watch("orders")
    registry.tell(Answer((A,)))
    await anext(watch)
    registry.tell(Answer((), doubtful=True))
    await anext(watch)
    registry.tell(Answer((B,)))
    assert (await anext(watch)).instances == (B,)
    registry.tell(Answer(()))
    assert (await anext(watch)).instances == ()


async def test_a_silent_registry_is_not_waited_for(closing):
    """A registry that says nothing at all gives an empty stale snapshot after a while."""
    registry = scripted(closing, first_answer=0.05)
    snapshot = await registry.get("orders")
    assert (snapshot.generation, snapshot.stale, snapshot.reason) == (0, True, "the registry has not answered yet")
    registry.tell(Answer((A,)))
    watch = registry.watch("orders")
    await anext(watch)
    assert (await anext(watch)).instances == (A,)


async def test_the_last_snapshot_outlives_its_watcher(closing):
    """Who asks again after the watcher ended, and finds the registry down, is served the last snapshot."""
    registry = scripted(closing, linger=0.0)
    registry.tell(Answer((A,)))
    assert (await registry.get("orders")).instances == (A,)
    async with asyncio.timeout(5):
        while registry.watched:
            await asyncio.sleep(0)
    registry.tell(Unavailable("down"))
    snapshot = await registry.get("orders")
    assert (snapshot.generation, snapshot.instances, snapshot.stale) == (1, (A,), True)


class Stubborn(Scripted):
    """Swallows that it was cancelled while it cleans up, as libraries do."""

    async def follow(self) -> AsyncIterator[Answer]:
        try:
            async for answer in super().follow():
                yield answer
        finally:
            self.queue.put_nowait(Answer(()))
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)


async def test_closing_waits_for_no_clean_up():
    """A source that swallows being cancelled while it cleans up keeps no watcher alive."""
    registry = Stubborn()
    registry.aclose = _nothing
    registry.tell(Answer((A,)), Unavailable("down"))
    watch = registry.watch("orders")
    await anext(watch)
    await asyncio.sleep(0)
    (watcher,) = registry._watchers.values()
    await asyncio.wait_for(watcher.aclose(), 5)
    assert await watcher.after(None) is None
