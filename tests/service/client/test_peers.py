"""The instances as a client sees them: changes at once, nothing dropped, nothing left open."""

import asyncio

import pytest

from headgate.kit.controls.faults import Internal
from headgate.service.client import ClientPolicy, NoInstances, TwoChoices
from headgate.service.client.peers import Peers
from headgate.testing.clock import FakeClock
from tests.service.client.scripted import First, Shop, instance


class Made:
    """Peers on a clock of the test, with the wires they opened."""

    def __init__(self, *names: str, balancer=None, **policy) -> None:
        self.clock = FakeClock()
        self.shop = Shop(**{name: [] for name in "abcdef"})
        self.peers = Peers(
            ClientPolicy(**policy), balancer or First(), self.shop.open, clock=self.clock, jitter=lambda: 0.5
        )
        self.update(*names)

    def update(self, *names: str, **more) -> None:
        """The instances from now on."""
        self.peers.update(instance(name, **more) for name in names)

    def fail(self, name: str, times: int) -> None:
        """Let one instance fail so often."""
        for _ in range(times):
            visit = self.peers.visit(tried=[each for each in self.peers.members if each.id != name])
            visit.leave(Internal("defect"))

    @property
    def called(self) -> list[str]:
        """Who may be called now."""
        return [each.id for each in self.peers.candidates()]


async def test_a_change_takes_effect_at_once():
    """A new instance may be called, and one that is gone may not, as soon as that is told."""
    made = Made("a", "b")
    made.update("b", "c")
    assert made.called == ["b", "c"]


async def test_who_is_gone_finishes_what_it_has():
    """The connections of an instance that is gone are closed when its last call has ended, not before."""
    made = Made("a", "b")
    first, second = made.peers.visit(), made.peers.visit()
    made.update("b")
    assert made.peers.leaving == 1
    first.leave()
    await asyncio.sleep(0)
    assert not made.shop.wires["a"].closed
    second.leave()
    await asyncio.sleep(0)
    assert made.shop.wires["a"].closed
    assert made.peers.leaving == 0


async def test_who_moved_is_another():
    """An instance with another address is connected to anew, and its record is a new one."""
    made = Made("a")
    visit = made.peers.visit()
    moved = instance("a")
    made.peers.update([type(moved)(id="a", service="orders", endpoints={"http": "http://elsewhere"})])
    assert made.peers.visit().peer is not visit.peer
    visit.leave()


async def test_what_stays_keeps_its_record():
    """A change of others, or of weight and zone, does not touch an instance's connections and breaker."""
    made = Made("a", "b")
    peer = made.peers.visit().peer
    made.update("a", "c", weight=3.0, zone="z")
    assert made.peers.members[0] is peer
    assert (peer.full_weight, peer.zone) == (3.0, "z")


async def test_weight_zero_is_not_called():
    """An instance that says it wants no calls gets none."""
    made = Made("a", "b")
    made.peers.update([instance("a", weight=0.0), instance("b")])
    assert made.called == ["b"]


async def test_an_open_circuit_is_tried_when_its_time_is_up():
    """An instance whose circuit is open is held back until its time is up, and then tried with one call."""
    made = Made("a", "b", ejection=None)
    made.fail("a", 10)
    assert made.called == ["b"]
    made.clock.advance(6.0)
    assert made.called == ["a", "b"]
    probe, other = made.peers.visit(), made.peers.visit()
    assert (probe.peer.id, other.peer.id) == ("a", "b")
    probe.leave()
    assert made.called == ["a", "b"]


async def test_an_ejection_ends():
    """Who was ejected is called again when the time is up."""
    made = Made("a", "b", breaker=None)
    made.fail("a", 5)
    assert made.called == ["b"]
    made.clock.advance(30.0)
    assert made.called == ["a", "b"]


async def test_a_second_attempt_spares_who_is_held_back():
    """With one instance ejected, a second attempt goes to the one that was tried rather than to that."""
    made = Made("a", "b", breaker=None)
    made.fail("b", 5)
    first = made.peers.visit()
    assert made.peers.visit(tried=[first.peer]).peer is first.peer


async def test_when_all_are_held_back_none_is():
    """Never is everybody left out: then all are called."""
    made = Made("a", "b", ejection=None)
    made.fail("a", 10)
    made.fail("b", 10)
    assert made.called == ["a", "b"]


async def test_a_new_instance_starts_slowly():
    """One that joins others gets a small share, which grows to the full one; those of the beginning have theirs."""
    made = Made("a", slow_start=10.0)
    made.update("a", "b")
    weights = []
    for _ in range(4):
        made.peers.candidates()
        weights.append([round(each.weight, 1) for each in made.peers.members])
        made.clock.advance(5.0)
    assert weights == [[1.0, 0.1], [1.0, 0.5], [1.0, 1.0], [1.0, 1.0]]


async def test_a_slow_start_shows_in_calls():
    """While it starts, a new instance gets few of the calls."""
    made = Made("a", slow_start=10.0, balancer=TwoChoices())
    made.update("a", "b")
    called = []
    for _ in range(500):
        visit = made.peers.visit()
        called.append(visit.peer.id)
        visit.leave()
    assert called.count("b") < 150


async def test_closing_closes_everything():
    """After closing, all connections are closed and nobody is there to call."""
    made = Made("a", "b")
    visit = made.peers.visit()
    made.peers.visit(tried=[visit.peer])
    made.update("b")
    await made.peers.aclose()
    assert made.shop.wires["a"].closed
    assert made.shop.wires["b"].closed
    with pytest.raises(NoInstances, match="closed"):
        made.peers.visit()
    visit.leave()


async def test_those_who_measure_are_told():
    """The observer of breakers hears what circuits do, though the client listens too."""
    heard = []

    class Heard:
        def changed(self, target, before, after):
            heard.append((target, after))

        def rejected(self, target):
            heard.append((target, "rejected"))

        def finished(self, target, outcome, seconds):
            pass

    shop = Shop(a=[])
    peers = Peers(ClientPolicy(ejection=None), First(), shop.open, observer=Heard(), clock=FakeClock())
    peers.update([instance("a")])
    for _ in range(10):
        peers.visit().leave(Internal("defect"))
    with pytest.raises(Exception, match="does not answer"):
        peers.visit()
    assert heard == [("orders/a", "open"), ("orders/a", "rejected")]
