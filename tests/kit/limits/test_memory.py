"""Limits counted in this process, and how little it remembers for that."""

import psutil
import pytest

from headgate.kit.controls.concurrency import Concurrency
from headgate.kit.controls.faults import ResourceExhausted
from headgate.kit.controls.limits import RateLimit
from headgate.kit.controls.rate import Charge, Quota, Rate
from headgate.kit.limits.memory import MemoryStore
from headgate.testing.clock import FakeClock
from tests.kit.controls.calls import call_of

QUOTA = Quota("requests", Rate.parse("60/minute"))
TOKENS = Quota("tokens", Rate.parse("100/hour"))
ONE = (Charge(QUOTA),)


def address(number: int) -> str:
    """A different one for each number."""
    return f"{number >> 24 & 255}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def test_d09_addresses_do_not_pile_up() -> None:
    """However many callers come at one instant, no more than the most are remembered."""
    store = MemoryStore(max_keys=1_000, clock=FakeClock())
    control = RateLimit(store, requests=Rate.parse("60/minute"), tokens=Rate.parse("1/minute"))
    for number in range(100_000):
        control.admit(call_of(peer=address(number)))
    assert store.callers == 1_000


def test_callers_whose_debt_has_drained_are_forgotten() -> None:
    """A store that was full once shrinks to the callers of late, far below its most."""
    clock = FakeClock()
    store = MemoryStore(max_keys=100_000, clock=clock)
    for number in range(5_000):
        store.take(str(number), ONE)
    assert store.callers == 5_000
    clock.advance(2)
    for number in range(5_000, 12_000):
        store.take(str(number), ONE)
        clock.advance(0.01)
    assert store.callers <= 101


def test_the_longest_unseen_is_forgotten_first() -> None:
    """A caller that is being refused is not forgotten, however many others come between."""
    store = MemoryStore(max_keys=10, clock=FakeClock())
    for _ in range(60):
        store.take("busy", ONE)
    for number in range(100):
        store.take(f"other {number}", ONE)
        assert not store.take("busy", ONE)[0].allowed


def test_all_charges_or_none() -> None:
    """When one quota refuses, nothing is taken from the other."""
    store = MemoryStore(clock=FakeClock())
    both = (Charge(QUOTA), Charge(TOKENS, 60))
    assert [each.allowed for each in store.take("k", both)] == [True, True]
    assert [(each.allowed, each.remaining) for each in store.take("k", both)] == [(True, 59), (False, 40)]
    assert store.take("k", ONE)[0].remaining == 58


def test_one_after_the_other_or_together() -> None:
    """Charging two quotas in one go decides as charging each by itself."""
    together, apart = MemoryStore(clock=FakeClock()), MemoryStore(clock=FakeClock())
    for cost in (5, 30, 0, -4, 20, 7):
        pair = together.take("k", (Charge(QUOTA, cost), Charge(TOKENS, cost)))
        assert pair == (*apart.take("k", (Charge(QUOTA, cost),)), *apart.take("k", (Charge(TOKENS, cost),)))


def test_a_budget_comes_back_with_time() -> None:
    """An exhausted caller gets a unit back with each part of the period."""
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    store.take("k", (Charge(QUOTA, 60),))
    assert not store.take("k", ONE)[0].allowed
    clock.advance(1.0)
    assert store.take("k", ONE)[0].allowed
    assert not store.take("k", ONE)[0].allowed
    clock.advance(600)
    assert store.take("k", ONE)[0].remaining == 59


def test_asking_remembers_nobody() -> None:
    """A charge that takes nothing, or gives everything back, leaves nothing behind."""
    store = MemoryStore(clock=FakeClock(0.0))
    store.take("k", (Charge(QUOTA, 0),))
    store.take("l", (Charge(QUOTA, 5),))
    store.take("l", (Charge(QUOTA, -5),))
    assert store.callers == 0


def test_quotas_of_one_name_and_rate_are_one() -> None:
    """Two quotas made alike share their callers' budgets; another rate is another budget."""
    store = MemoryStore(clock=FakeClock())
    store.take("k", (Charge(QUOTA, 60),))
    assert not store.take("k", (Charge(Quota("requests", Rate.parse("60/minute"))),))[0].allowed
    assert store.take("k", (Charge(Quota("requests", Rate.parse("61/minute"))),))[0].allowed


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_million_clients_leave_memory_flat() -> None:
    """After the first tenth of a million clients, each with a limit and a place, memory grows no more."""
    control = RateLimit(MemoryStore(max_keys=50_000), requests=Rate.parse("2/day"), tokens=Rate.parse("10/day"))
    places = Concurrency(total=10_000, per_caller=10)
    process, resident = psutil.Process(), 0
    for number in range(1_000_000):
        call = call_of(peer=address(number) if number % 2 else f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1")
        places.admit(call)
        control.admit(call)
        places.settle(call)
        if number == 100_000:
            resident = process.memory_info().rss
    assert process.memory_info().rss < resident + 16_000_000
    assert places.callers == 0
    for _ in range(2):
        control.admit(call_of(peer="192.0.2.1"))
    with pytest.raises(ResourceExhausted):
        control.admit(call_of(peer="192.0.2.1"))
