"""What every registry does, whatever it stands on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, ResourceExhausted, Unimplemented
from headgate.service.registry import BaseRegistry, RegistryObserver, Snapshot
from tests.service.registry.real import REAL
from tests.service.registry.rigs import RIGS, Rig

ALL = [*RIGS, *(pytest.param(name, marks=getattr(pytest.mark, mark)) for name, (mark, _) in REAL.items())]


@pytest.fixture(params=ALL)
async def rig(request, tmp_path) -> AsyncIterator[Rig]:
    """The world of one registry."""
    made = RIGS[request.param] if request.param in RIGS else REAL[request.param][1]
    rig = made(tmp_path)
    async with rig.running():
        yield rig


@pytest.fixture
async def registry(rig) -> AsyncIterator[BaseRegistry]:
    """A client of it."""
    async with rig.registry() as made:
        yield made


async def seen(watch: AsyncIterator[Snapshot], right: Callable[[Snapshot], bool]) -> Snapshot:
    """The next snapshot that is right."""
    async with asyncio.timeout(10):
        async for snapshot in watch:
            if right(snapshot):
                return snapshot
    raise AssertionError("the watch ended")


def names(snapshot: Snapshot) -> list[str]:
    """The last parts of the ids."""
    return [each.id.rsplit("-", 1)[-1].split(".")[0] for each in snapshot.instances]


def fresh(*wanted: str) -> Callable[[Snapshot], bool]:
    """A snapshot of now with these instances."""
    return lambda snapshot: not snapshot.stale and names(snapshot) == list(wanted)


async def test_first_snapshot_of_nothing(rig, registry):
    """A service that nobody serves is a snapshot without instances, at once and of the first generation."""
    snapshot = await registry.get(rig.service)
    assert (snapshot.generation, snapshot.instances, snapshot.stale) == (1, (), False)


async def test_first_snapshot_is_complete(rig, registry):
    """The first snapshot has every instance, ordered by id, with the addresses of its wires."""
    for name in ("b", "a", "c"):
        await rig.put(name)
    snapshot = await anext(registry.watch(rig.service))
    assert names(snapshot) == ["a", "b", "c"]
    assert all(each.service == rig.service for each in snapshot.instances)
    assert all(each.endpoints["http"].startswith("http://") for each in snapshot.instances)
    if rig.tells:
        assert {each.version for each in snapshot.instances} == {"1.2.0"}
        assert all(each.endpoints["grpc"].endswith(":50051") for each in snapshot.instances)


async def test_changes_are_told(rig, registry):
    """Every change of the instances is a complete snapshot of a later generation."""
    watch = registry.watch(rig.service)
    first = await seen(watch, fresh())
    await rig.put("a")
    one = await seen(watch, fresh("a"))
    await rig.put("b")
    two = await seen(watch, fresh("a", "b"))
    await rig.remove("a")
    last = await seen(watch, fresh("b"))
    assert first.generation < one.generation < two.generation < last.generation


async def test_outage_keeps_the_last(rig, registry):
    """While the registry is down its last snapshot is served, marked stale, in the same generation."""
    await rig.put("a")
    watch = registry.watch(rig.service)
    before = await seen(watch, fresh("a"))
    await rig.down()
    stale = await seen(watch, lambda each: each.stale)
    assert (stale.generation, stale.instances, bool(stale.reason)) == (before.generation, before.instances, True)
    await rig.up()
    after = await seen(watch, lambda each: not each.stale)
    assert (after.generation, after.instances, after.reason) == (before.generation, before.instances, "")


async def test_down_from_the_start(rig):
    """Who asks a registry that is down gets a stale snapshot of generation 0, and the true one later."""
    await rig.put("a")
    await rig.down()
    async with rig.registry() as registry:
        watch = registry.watch(rig.service)
        snapshot = await seen(watch, lambda _: True)
        assert (snapshot.generation, snapshot.instances, snapshot.stale) == (0, (), True)
        await rig.up()
        assert (await seen(watch, fresh("a"))).generation == 1


async def test_changed_while_away(rig, registry):
    """What came and went during an outage is known after it: nothing that is gone stays."""
    await rig.put("a")
    await rig.put("b")
    watch = registry.watch(rig.service)
    before = await seen(watch, fresh("a", "b"))
    await rig.down()
    await seen(watch, lambda each: each.stale)
    await rig.remove("a")
    await rig.put("c")
    await rig.up()
    assert (await seen(watch, fresh("b", "c"))).generation > before.generation


async def test_empty_after_an_outage_is_doubted(rig, registry):
    """A registry that comes back empty is not believed for a while, and then it is."""
    await rig.put("a")
    watch = registry.watch(rig.service)
    await seen(watch, fresh("a"))
    await rig.down()
    await seen(watch, lambda each: each.stale)
    await rig.remove("a")
    await rig.up()
    told = []
    async with asyncio.timeout(10):
        async for snapshot in watch:
            told.append(snapshot)
            if not snapshot.instances:
                break
    assert not told[-1].stale
    assert all(each.stale and names(each) == ["a"] for each in told[:-1])


async def test_emptied_without_an_outage(rig, registry):
    """Without an outage the last instance's leaving is believed at once."""
    await rig.put("a")
    watch = registry.watch(rig.service)
    await seen(watch, fresh("a"))
    await rig.remove("a")
    assert (await seen(watch, lambda each: not each.instances)).stale is False


async def test_watchers_are_shared(rig, registry):
    """Many who watch a service share one watcher, which ends after the last has left; its numbers go on."""
    await rig.put("a")
    one, two = registry.watch(rig.service), registry.watch(rig.service)
    snapshot = await seen(one, fresh("a"))
    assert await seen(two, fresh("a")) is snapshot
    assert await registry.get(rig.service) is snapshot
    assert registry.watched == (rig.service,)
    await one.aclose()
    await two.aclose()
    async with asyncio.timeout(5):
        while registry.watched:
            await asyncio.sleep(0.01)
    assert (await seen(registry.watch(rig.service), fresh("a"))).generation == snapshot.generation


async def test_slow_subscribers_see_the_latest(rig, registry):
    """Who looks seldom sees the snapshot of now, not each one between."""
    slow, quick = registry.watch(rig.service), registry.watch(rig.service)
    await seen(slow, fresh())
    for position, name in enumerate("abc", 1):
        await rig.put(name)
        await seen(quick, fresh(*"abc"[:position]))
    assert names(await anext(slow)) == ["a", "b", "c"]


async def test_services_are_listed(rig, registry):
    """All services are listed with their versions, where the registry can; others say that they cannot."""
    await rig.put("a")
    if rig.lists:
        assert (await registry.services())[rig.service] == ("1.2.0",)
        return
    with pytest.raises(Unimplemented) as raised:
        await registry.services()
    assert raised.value.code == "registry_cannot_list"


async def test_listing_while_down_says_so(rig, registry):
    """Listing asks the registry itself, and says when it cannot be asked."""
    if not rig.lists:
        pytest.skip("cannot list")
    await rig.down()
    with pytest.raises(Fault) as raised:
        await registry.services()
    assert raised.value.code == "registry_unavailable"


async def test_a_lease_is_seen_by_others(rig, registry):
    """What is registered is seen by other clients as it was told, and is gone when the lease is released."""
    async with rig.registry() as other:
        watch = other.watch(rig.service)
        await seen(watch, fresh())
        told = rig.instance(
            "x",
            zone="eu-1a",
            weight=0.5,
            contract="sha256:abc",
            started=12.5,
            metadata={"team": "a", "x/y.z": "ü" * 300},
        )
        lease = await registry.register(told)
        assert lease.held
        if not rig.writes:
            await lease.release()
            return
        assert (await seen(watch, fresh("x"))).instances == (told,)
        changed = await lease.update(weight=2.0)
        assert (await seen(watch, lambda each: each.instances == (changed,))).instances[0].weight == 2.0
        await lease.release()
        await lease.release()
        assert (await seen(watch, lambda each: not each.instances)).stale is False


async def test_a_lease_stays(rig, registry):
    """A lease is renewed: the instance is there long after what it would last by itself."""
    if not rig.writes:
        pytest.skip("nothing is written")
    async with await registry.register(rig.instance("x")) as lease, rig.registry() as other:
        watch = other.watch(rig.service)
        await seen(watch, fresh("x"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen(watch, lambda each: not each.instances), 1.3)
            raise AssertionError("the instance was lost")
        assert lease.held


async def test_who_was_forgotten_comes_back(rig, registry):
    """After the registry lost everything, leases register anew by themselves."""
    if not rig.writes:
        pytest.skip("nothing is written")
    async with await registry.register(rig.instance("x")), rig.registry(empty_grace=0.0) as other:
        watch = other.watch(rig.service)
        await seen(watch, fresh("x"))
        await rig.forget()
        await seen(watch, lambda each: not each.instances)
        await seen(watch, fresh("x"))


async def test_register_while_down(rig, registry):
    """A service starts while its registry is down, and is known once that is back."""
    if not rig.writes:
        pytest.skip("nothing is written")
    await rig.down()
    lease = await registry.register(rig.instance("x"))
    assert not lease.held
    await rig.up()
    await seen(registry.watch(rig.service), fresh("x"))
    await lease.release()


async def test_release_while_down(rig, registry):
    """Releasing neither fails nor hangs while the registry is down."""
    lease = await registry.register(rig.instance("x"))
    await rig.down()
    async with asyncio.timeout(10):
        await lease.release()
    await rig.up()


async def test_close_ends_all(rig):
    """Closing releases what was registered and ends what is watched."""
    registry = rig.registry()
    await registry.register(rig.instance("x"))
    watch = registry.watch(rig.service)
    await seen(watch, lambda _: True)
    waiting = asyncio.create_task(_drained(watch))
    await registry.aclose()
    await asyncio.wait_for(waiting, 5)
    with pytest.raises(FailedPrecondition):
        await registry.get(rig.service)
    async with rig.registry() as other:
        await seen(other.watch(rig.service), fresh())


async def _drained(watch: AsyncIterator[Snapshot]) -> None:
    async for _ in watch:
        pass


async def test_bad_names_are_refused(rig, registry):
    """A name that no service can have is refused before the registry is asked."""
    for name in ("", "Orders", "../etc/passwd", "a b", "x" * 200):
        with pytest.raises(InvalidArgument) as raised:
            await registry.get(name)
        assert raised.value.code == "invalid_service_name"


async def test_watched_services_are_bounded(rig):
    """No more services are watched than the policy allows."""
    async with rig.registry(most_watched=1) as registry:
        await registry.get("one")
        with pytest.raises(ResourceExhausted):
            await registry.get("two")


class _Notes(RegistryObserver):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def changed(self, registry, snapshot):
        self.notes.append("stale" if snapshot.stale else f"{len(snapshot.instances)} instances")

    def confirmed(self, registry, service):
        self.notes.append("confirmed")

    def failed(self, registry, service, fault):
        self.notes.append(fault.code)
        raise RuntimeError("an observer that fails harms nobody")


async def test_observers_are_told(rig, registry):
    """An observer is told of snapshots, confirmations and failures; the age of a snapshot can be asked."""
    notes = _Notes()
    registry._observer._observer = notes
    await rig.put("a")
    assert registry.age(rig.service) is None
    watch = registry.watch(rig.service)
    await seen(watch, fresh("a"))
    assert registry.age(rig.service) < 5
    await rig.down()
    await seen(watch, lambda each: each.stale)
    await rig.up()
    await seen(watch, fresh("a"))
    assert {"confirmed", "1 instances", "stale", "registry_unavailable"} <= set(notes.notes)
