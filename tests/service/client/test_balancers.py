"""Balancers: fair, by weight and load, and steady where they say so."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.client.balancers import Balancer, Random, RingHash, RoundRobin, TwoChoices, ZoneAware


@dataclass
class Some:
    """A candidate."""

    id: str
    weight: float = 1.0
    outstanding: int = 0
    zone: str = ""

    @property
    def full_weight(self) -> float:
        """The same."""
        return self.weight


def some(*weights: float, zone: str = "") -> tuple[Some, ...]:
    """A candidate of each weight."""
    return tuple(Some(f"{zone}{number}", weight, zone=zone) for number, weight in enumerate(weights))


def shares(balancer: Balancer, candidates, calls: int = 4_000, everyone=None) -> dict[str, float]:
    """What share of calls each one gets while none has anything else to do."""
    everyone = candidates if everyone is None else everyone
    counted = Counter(balancer.pick(candidates, "", everyone).id for _ in range(calls))
    return {each.id: counted[each.id] / calls for each in candidates}


def seeded() -> random.Random:
    """The same numbers each time."""
    return random.Random(7)


BALANCERS = [
    lambda: Random(seeded().random),
    lambda: TwoChoices(seeded().random),
    RoundRobin,
    lambda: RingHash(randomness=seeded().random),
    lambda: ZoneAware("a", randomness=seeded().random),
]


@pytest.mark.parametrize("make", BALANCERS)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_equals_get_equal_shares(make, count):
    """Instances of the same weight and load get the same share of the calls."""
    found = shares(make(), some(*[1.0] * count))
    assert all(abs(share - 1 / count) < 0.05 for share in found.values())


@pytest.mark.parametrize("make", BALANCERS)
def test_weights_are_proportions(make):
    """An instance of three times the weight gets three times the calls."""
    found = shares(make(), some(3.0, 1.0, 1.0, 1.0))
    assert abs(found["0"] - 0.5) < (0.06 if make is not BALANCERS[1] else 0.1)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=9),
    st.lists(st.integers(0, 50), min_size=9, max_size=9),
    st.integers(0, 2**32),
    st.text(max_size=5),
)
def test_the_chosen_is_a_candidate(weights, loads, seed, key):
    """Whatever the weights, the loads and the key, one of the candidates is chosen, never one held back."""
    everyone = some(*weights)
    for each, load in zip(everyone, loads, strict=False):
        each.outstanding = load
    candidates = everyone[: max(1, len(everyone) // 2)]
    rand = random.Random(seed).random
    for balancer in (Random(rand), TwoChoices(rand), RoundRobin(), RingHash(10, rand), ZoneAware("0", randomness=rand)):
        for _ in range(5):
            assert balancer.pick(candidates, key, everyone) in candidates


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2**32))
def test_two_choices_takes_the_less_loaded(first, second, seed):
    """Of two instances the one with less to do gets the call."""
    candidates = some(1.0, 1.0)
    candidates[0].outstanding, candidates[1].outstanding = first, second
    chosen = TwoChoices(random.Random(seed).random).pick(candidates, "", candidates)
    assert chosen.outstanding == min(first, second)


def test_two_choices_minds_the_weight():
    """Ten calls at weight 10 are less than two at weight 1."""
    candidates = some(10.0, 1.0)
    candidates[0].outstanding, candidates[1].outstanding = 10, 2
    balancer = TwoChoices(seeded().random)
    assert {balancer.pick(candidates, "", candidates).id for _ in range(50)} == {"0"}


def test_two_choices_keeps_loads_level():
    """Calls that never end are spread so that no instance has many more than another."""
    candidates = some(*[1.0] * 10)
    balancer = TwoChoices(seeded().random)
    for _ in range(1_000):
        balancer.pick(candidates, "", candidates).outstanding += 1
    loads = [each.outstanding for each in candidates]
    assert max(loads) - min(loads) <= 8


def test_round_robin_does_not_bunch():
    """With weights 2 and 1 the heavier is never called three times in a row."""
    candidates = some(2.0, 1.0)
    balancer = RoundRobin()
    assert "".join(balancer.pick(candidates, "", candidates).id for _ in range(6)) == "010010"


def test_round_robin_forgets_who_is_gone():
    """What is remembered of instances does not grow with those that come and go."""
    balancer = RoundRobin()
    for number in range(100):
        candidates = (Some(f"i{number}"), Some("stays"))
        balancer.pick(candidates, "", candidates)
    assert len(balancer._credit) == 2


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 11), st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20))
def test_a_ring_moves_only_the_keys_of_the_one_that_goes(count, gone, keys):
    """When an instance goes, keys of the others stay where they are; when it is back, so are its keys."""
    everyone = some(*[1.0] * count)
    lost = everyone[gone % count]
    left = tuple(each for each in everyone if each is not lost)
    ring = RingHash(20)
    before = {key: ring.pick(everyone, key, everyone).id for key in keys}
    for key in keys:
        for after in (ring.pick(left, key, everyone), RingHash(20).pick(left, key, left)):
            assert after.id == before[key] or before[key] == lost.id
    assert {key: ring.pick(everyone, key, everyone).id for key in keys} == before


def test_a_ring_spreads_keys():
    """Many keys are spread evenly, as far as chance allows."""
    everyone = some(*[1.0] * 5)
    ring = RingHash(200)
    counted = Counter(ring.pick(everyone, f"key-{number}", everyone).id for number in range(5_000))
    assert all(700 < count < 1_300 for count in counted.values())


def test_a_ring_needs_points():
    """A ring without points, or with more than memory should hold, is refused."""
    for points in (0, 2_001):
        with pytest.raises(InvalidArgument):
            RingHash(points)


def test_the_own_zone_is_preferred():
    """While all of the own zone take calls, none goes elsewhere."""
    everyone = (*some(1.0, 1.0, zone="a"), *some(1.0, 1.0, zone="b"))
    found = shares(ZoneAware("a", randomness=seeded().random), everyone)
    assert found["a0"] + found["a1"] == 1


def test_a_zone_that_lost_much_spills_over():
    """With half of a zone held back, it takes what it can, and the rest goes elsewhere."""
    everyone = (*some(1.0, 1.0, zone="a"), *some(1.0, 1.0, zone="b"))
    candidates = everyone[1:]
    found = shares(ZoneAware("a", randomness=seeded().random), candidates, everyone=everyone)
    assert abs(found["a1"] - 0.7) < 0.05


def test_a_zone_with_all_hands_full_spills_over():
    """Over its capacity, a zone shares what comes with the others."""
    everyone = (*some(1.0, zone="a"), *some(1.0, zone="b"))
    everyone[0].outstanding = 4
    balancer = ZoneAware("a", capacity=4, randomness=seeded().random)
    assert balancer.pick(everyone, "", everyone).zone == "b"


def test_without_anybody_here_others_are_called():
    """A zone without instances calls those of other zones."""
    everyone = some(1.0, zone="b")
    assert ZoneAware("a").pick(everyone, "", everyone).zone == "b"


@pytest.mark.parametrize("wrong", [{"reserve": 0.9}, {"capacity": 0}])
def test_a_zone_needs_sense(wrong):
    """A reserve below what is needed, and no capacity, are refused."""
    with pytest.raises(InvalidArgument):
        ZoneAware("a", **wrong)
