"""Whole systems that fail on purpose: breakers, retries, keys, leases, hedges, partitions, stops."""

import asyncio
import os
import subprocess
import sys

import pytest

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import DeadlineExceeded, FailedPrecondition, Fault, Unauthenticated, Unavailable
from headgate.kit.controls.retry import RetryPolicy
from headgate.service import AUTHENTICATED, App, Context, Service, ServiceSettings, Struct, Topic, on, rpc
from headgate.service.broker import Broker
from headgate.service.client import ClientPolicy
from headgate.testing.world import StuckError, World

ONCE = RetryPolicy(attempts=1)
PAID = Topic("payments.settled", str)


class Receipt(Struct):
    """What a payment leaves."""

    number: int
    by: str


class Payments(Service, name="payments", version="1.0.0", public=True):
    """Takes money, and must not take it twice."""

    broker: Broker

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.taken = 0
        self.asked = 0
        self.heard: list[str] = []
        self.wait = 0.0

    @rpc(idempotent="key")
    async def pay(self, amount: int) -> Receipt:
        """Take money."""
        self.taken += 1
        await asyncio.sleep(self.wait)
        return Receipt(self.taken, self.name)

    @rpc
    async def careless(self, amount: int) -> Receipt:
        """Take money without asking for a key."""
        self.taken += 1
        return Receipt(self.taken, self.name)

    @rpc(idempotent=True)
    async def ask(self) -> Receipt:
        """How much there is."""
        self.asked += 1
        await asyncio.sleep(self.wait)
        return Receipt(self.taken, self.name)

    @rpc
    async def settle(self, order: str, key: str = "") -> None:
        """Tell others that an order is paid."""
        await self.broker.publish(PAID, order, key=key or None)

    @on(PAID, retries=5, backoff=0.1)
    async def settled(self, event: str) -> None:
        """An order is paid."""
        self.heard.append(event)


class Shop(Service, name="shop", public=True):
    """Calls payments."""

    payments: Payments

    @rpc
    async def buy(self) -> Receipt:
        """Pay."""
        return await self.payments.pay(1)


def two(world: World) -> tuple[Payments, Payments]:
    """Two nodes with payments."""
    first, second = Payments("payments-1"), Payments("payments-2")
    world.add(first, at="payments-1")
    world.add(second, at="payments-2")
    return first, second


@pytest.fixture(params=["virtual", "real"])
def world(request) -> World:
    """A world on a virtual clock, and one of real servers."""
    return World(seed=11) if request.param == "virtual" else World.real(seed=11)


def test_a_call_crosses_the_network(world):
    """The same story is told in one loop and by real servers."""
    one = Payments("payments-1")
    world.add(one, at="payments-1")

    async def story():
        return await world.client(Payments, at="shop-1").pay(3)

    assert world.run(story) == Receipt(1, "payments-1")
    assert [(each.kind, each.source, each.target) for each in world.trace] == [
        ("sent", "shop-1", "payments-1"),
        ("answered", "payments-1", "shop-1"),
    ]


def test_services_call_each_other_by_the_same_network(world):
    """A service's own clients are found in the registry, and the network is between them too."""
    world.add(Payments("payments-1"), at="payments-1")
    world.add(Shop(), at="shop-1")

    async def story():
        return await world.client(Shop, at="desk").buy()

    assert world.run(story).by == "payments-1"
    assert world.count("sent", source="shop-1", target="payments-1") == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_tells_the_same_story(seed):
    """What happened once happens again, to the millisecond."""

    def once(seed):
        world = World(seed)
        two(world)

        async def story():
            payments = world.client(Payments, at="shop-1", policy=ClientPolicy(hedge_after=0.2))
            world.network.delay(0.05, jitter=0.3)
            world.network.drop(0.2)
            world.network.duplicate(0.2)
            for _ in range(20):
                await asyncio.gather(payments.ask(), payments.pay(1), return_exceptions=True)

        world.run(story)
        return world.told()

    assert once(seed) == once(seed)
    assert once(seed) != once(seed + 100)


def test_the_same_seed_tells_the_same_story_in_another_process():
    """Nothing of the process, such as the order of sets, is in it."""
    script = (
        "from tests.testing.world.test_world import *\n"
        "world = World(4); two(world)\n"
        "async def story():\n"
        "    world.network.drop(0.3); world.network.delay(0.1, jitter=0.2)\n"
        "    payments = world.client(Payments, at='shop-1')\n"
        "    for _ in range(20): await asyncio.gather(payments.ask(), payments.pay(1), return_exceptions=True)\n"
        "world.run(story); import hashlib; print(hashlib.sha256(world.told().encode()).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout.split()[-1]
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_breaker_opens_and_closes():
    """A circuit opens when its node fails, spares it, and closes after it is well again."""
    world = World(seed=1)
    world.add(Payments("payments-1"), at="payments-1")
    policy = ClientPolicy(
        retry=ONCE, ejection=None, breaker=BreakerPolicy(minimum_calls=5, open_time=10.0, longest_open_time=10.0)
    )

    async def story():
        payments = world.client(Payments, at="shop-1", policy=policy)
        with world.network.drop(target="payments-1"):
            for _ in range(5):
                with pytest.raises(Unavailable):
                    await payments.ask()
            sent = world.count("sent")
            with pytest.raises(Unavailable) as raised:
                await payments.ask()
            assert raised.value.code == "circuit_open"
            assert world.count("sent") == sent
        await world.sleep(30)
        for _ in range(10):
            await payments.ask()

    world.run(story)
    assert [each.what for each in world.trace if each.kind == "circuit"] == [
        "closed to open",
        "open to half_open",
        "half_open to closed",
    ]


def test_a_budget_bounds_retries():
    """When everything fails, retries add no more than their budget, whatever each call may do."""
    world = World(seed=1)
    two(world)
    policy = ClientPolicy(retry_ratio=0.1, retry_reserve=5, breaker=None, ejection=None)

    async def story():
        payments = world.client(Payments, at="shop-1", policy=policy)
        world.network.drop()
        for _ in range(100):
            with pytest.raises(Unavailable):
                await payments.ask()

    world.run(story)
    assert 100 <= world.count("sent") <= 100 * 1.1 + 5


@pytest.mark.parametrize("real", [False, True])
def test_a_key_makes_doubles_harmless(real):
    """A request that comes twice is done once when it has a key, and twice when it has none."""
    world = World.real(seed=3) if real else World(seed=3)
    payments = Payments("payments-1")
    world.add(payments, at="payments-1")

    async def story():
        stub = world.client(Payments, at="shop-1")
        world.network.duplicate(target="payments-1")
        await stub.pay(1)
        assert payments.taken == 1
        await stub.careless(1)
        await world.until(lambda: payments.taken == 3, within=10)

    world.run(story)


def test_a_lost_answer_is_asked_for_again_and_done_once():
    """When the answer is lost the call is sent again with its key, and the node that did it does it no more."""
    world = World(seed=5)
    payments = Payments("payments-1")
    world.add(payments, at="payments-1")

    async def story():
        world.network.drop(source="payments-1", times=1)
        return await world.client(Payments, at="shop-1").pay(1)

    assert world.run(story).number == 1
    assert payments.taken == 1
    assert world.count("sent") == 2


def test_what_is_kept_by_key_ends_with_its_time():
    """An outcome is given again until `keys_kept` is over, on the world's clock."""
    world = World(seed=5)
    payments = Payments("payments-1")
    world.add(payments, at="payments-1", settings=ServiceSettings(keys_kept=3600))

    async def story():
        client = world.connect(Payments, at="shop-1")
        for seconds in (0, 3000, 3000):
            await world.sleep(seconds)
            await client.using(idempotency_key="once").pay(1)

    world.run(story)
    assert payments.taken == 2


def test_a_lease_ends_under_a_partition():
    """A node that is cut off from the registry is forgotten there, comes back by itself, and is served meanwhile."""
    world = World(seed=2, lease_ttl=5)
    two(world)

    async def story():
        client = world.connect(Payments, at="shop-1")
        known = lambda: {each.id for each in client.snapshot.instances}  # noqa: E731
        await client.stub.ask()
        assert known() == {"payments-1-payments", "payments-2-payments"}
        with world.network.partition("payments-1", "registry"):
            await world.until(lambda: known() == {"payments-2-payments"}, within=6)
            assert [(await client.stub.ask()).by for _ in range(5)] == ["payments-2"] * 5
        await world.until(lambda: len(known()) == 2, within=60)

    world.run(story)


def test_a_registry_that_is_cut_off_is_remembered():
    """Who cannot reach the registry goes on with what it told last, and knows that it is old."""
    world = World(seed=2)
    two(world)

    async def story():
        client = world.connect(Payments, at="shop-1")
        await client.stub.ask()
        with world.network.partition("shop-1", "registry"):
            await world.sleep(3600)
            assert client.snapshot.stale
            await client.stub.ask()
        await world.until(lambda: not client.snapshot.stale)

    world.run(story)


def test_a_hedge_beats_a_slow_node():
    """A call that may be repeated is sent to a second node when the first takes long, and the faster answer wins."""
    world = World(seed=2)
    first, _ = two(world)
    first.wait = 60.0

    async def story():
        payments = world.client(Payments, at="shop-1", policy=ClientPolicy(hedge_after=0.2))
        answers = [(await payments.ask()).by for _ in range(5)]
        assert answers == ["payments-2"] * 5

    world.run(story)
    assert first.asked > 0
    assert world.trace[-1].time - world.trace[0].time <= 5 * 0.2 + 0.001


def test_a_partition_keeps_calls_until_it_heals():
    """What is under way when the network is cut arrives when it is whole again, unless time is up before."""
    world = World(seed=2)
    payments = Payments("payments-1")
    payments.wait = 1.0
    world.add(payments, at="payments-1")

    async def story():
        stub = world.client(Payments, at="shop-1", policy=ClientPolicy(timeout=20, retry=ONCE))
        for heals_after, ended in ((5, False), (60, True)):
            asking = asyncio.create_task(stub.ask())
            await world.sleep(0.5)
            with world.network.partition("shop-1", {"payments-1", "registry"}):
                await world.sleep(heals_after)
                assert asking.done() is ended
            if ended:
                with pytest.raises(DeadlineExceeded):
                    await asking
            else:
                await asking

    world.run(story)


def test_a_node_without_a_network_is_passed_by():
    """Connections to a node that is unplugged are refused, and its calls go to another."""
    world = World(seed=2)
    two(world)

    async def story():
        payments = world.client(Payments, at="shop-1")
        world.network.unplug("payments-1")
        assert {(await payments.careless(1)).by for _ in range(10)} == {"payments-2"}
        world.network.plug("payments-1")
        await world.until(lambda: world.network.reaches("shop-1", "payments-1"))

    world.run(story)


@pytest.mark.parametrize("seed", range(3))
def test_events_come_through_a_bad_network(seed):
    """Events that are lost on their way to a node are handed out again until they come through."""
    world = World(seed)
    first, second = two(world)

    async def story():
        world.network.drop(0.3, source="broker")
        world.network.delay(0.0, jitter=0.5)
        for number in range(10):
            await world.broker.publish(PAID, f"order-{number}")
        await world.until(lambda: len(set(first.heard)) == len(set(second.heard)) == 10, within=600)

    world.run(story)
    assert world.count("dropped", source="broker") > 0


def test_an_event_that_is_published_twice_is_handled_once():
    """An event with a key that comes to the broker twice is handed out once."""
    world = World(seed=1)
    first, second = two(world)

    async def story():
        world.network.duplicate(target="broker")
        await world.client(Payments, at="shop-1").settle("order-1", "key-1")
        await world.sleep(60)

    world.run(story)
    assert first.heard == second.heard == ["order-1"]


@pytest.mark.parametrize("seed", range(20))
def test_a_rolling_restart_fails_no_call(seed):
    """Nodes are stopped and started one after the other under load, with an uneven network, and no call fails."""
    world = World(seed)
    two(world)
    failed: list[BaseException] = []

    async def story():
        payments = world.client(Payments, at="shop-1", policy=ClientPolicy(timeout=10))
        world.network.delay(0.01, jitter=0.05)
        over = asyncio.Event()

        async def load():
            while not over.is_set():
                try:
                    await payments.careless(1)
                except Exception as error:  # noqa: BLE001 - none is to fail
                    failed.append(error)

        loads = [asyncio.create_task(load()) for _ in range(8)]
        for node in ("payments-1", "payments-2") * 3:
            await world.sleep(1)
            await world.stop(node)
            await world.sleep(1)
            await world.start(node)
        over.set()
        await asyncio.gather(*loads)

    world.run(story)
    assert failed == []


class Vault(Service, guard=AUTHENTICATED):
    """Not for strangers."""

    @rpc
    async def open(self, context: Context) -> str:
        """Who opened it."""
        return context.principal.id


def test_applications_keep_their_identity():
    """An application is taken as it is: keys, guards and settings hold in a world."""
    world = World()
    app = App(Vault(), settings=ServiceSettings(api_key="ada=key-of-ada-0123456789", rate_limit_default="off"))
    world.add(app, at="vault-1")

    async def story():
        client = world.connect(Vault, at="desk")
        with pytest.raises(Unauthenticated):
            await client.stub.open()
        return await client.using(metadata={"x-api-key": "key-of-ada-0123456789"}).open()

    assert world.run(story) == "ada"


def test_a_story_that_waits_for_nothing_is_told():
    """A story that can never end is an error, not a hanging test."""
    world = World()

    async def story():
        await asyncio.Event().wait()

    with pytest.raises(StuckError):
        world.run(story)


def test_what_does_not_happen_is_told_with_the_trace():
    """`until` gives up, and shows what happened instead."""
    world = World()
    world.add(Payments("payments-1"), at="payments-1")

    async def story():
        await world.client(Payments, at="shop-1").ask()
        await world.until(lambda: False, within=5)

    with pytest.raises(AssertionError, match=r"within 5 s:[\s\S]*shop-1 -> payments-1"):
        world.run(story)


def test_a_node_that_does_not_start_ends_the_world():
    """What a service raises when it starts is what `run` raises."""

    class Broken(Payments):
        async def on_start(self):
            raise FailedPrecondition("no disk", code="no_disk")

    world = World()
    world.add(Broken(), at="payments-1")

    async def story():
        raise AssertionError

    with pytest.raises(Fault) as raised:
        world.run(story)
    assert raised.value.code == "no_disk"
