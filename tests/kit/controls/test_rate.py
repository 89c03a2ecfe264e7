"""Rates, and what the algorithm behind the limits guarantees."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.rate import Charge, Quota, Rate, charge, decide

MINUTE = Quota("requests", Rate.parse("60/minute"))
SECOND = 1_000_000

rates = st.builds(Rate, st.integers(1, 1_000), st.sampled_from([1.0, 7.0, 60.0, 3_600.0]))
requests = st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(1, 12)), max_size=60)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/minute", Rate(60, 60)),
        ("10/second", Rate(10, 1)),
        ("100/5 minutes", Rate(100, 300)),
        (" 7 / 2 days ", Rate(7, 172_800)),
        ("off", Rate(0, 1)),
        ("", Rate(0, 1)),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    """A rate is a number per so many units of time; `off` is none."""
    assert Rate.parse(text) == rate
    assert bool(rate) is (rate.count > 0)


@pytest.mark.parametrize(
    "text",
    [
        *("60", "0/minute", "-1/minute", "x/minute", "60/year", "1e3/hour", "²/day", "9999999999/second"),
        *("/minute", "60/", "60/minute/day"),
        "60/0 minutes",
        "9/400 days",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Anything else is refused with an example, and so are numbers beyond all use."""
    with pytest.raises(ValueError, match="such as 60/minute"):
        Rate.parse(text)


@pytest.mark.parametrize("text", ["60/minute", "100/5 minutes", "7/2 days", "off", "3/second"])
def test_a_rate_is_shown_as_it_is_written(text: str) -> None:
    """Reading what is shown gives the same rate."""
    assert str(Rate.parse(text)) == text


def test_a_quota_needs_a_rate() -> None:
    """No limit is no quota."""
    with pytest.raises(ValueError, match="leave it out"):
        Quota("requests", Rate.parse("off"))


def test_an_idle_caller_may_spend_it_all_at_once() -> None:
    """The whole count is admitted at one instant, and no more."""
    tat, now, decisions = 0, 5 * SECOND, []
    for _ in range(61):
        tat, decision = charge(MINUTE, tat, now, 1)
        decisions.append(decision)
    assert [decision.allowed for decision in decisions] == [True] * 60 + [False]
    assert [decision.remaining for decision in decisions[-3:]] == [1, 0, 0]
    assert (decisions[0].reset, decisions[-1].reset, decisions[-1].retry_after) == (1.0, 60.0, 1.0)
    assert decisions[-1].limit == 60


@given(rates, requests)
def test_no_window_holds_more_than_promised(rate: Rate, asked: list[tuple[int, int]]) -> None:
    """In any stretch of s seconds at most count + count * s / period units are admitted, exactly."""
    quota, tat, now = Quota("q", rate), 0, 0
    admitted: list[tuple[int, int]] = []
    for gap, cost in asked:
        now += gap
        tat, decision = charge(quota, tat, now, cost)
        if decision.allowed:
            admitted.append((now, cost))
    for first, (start, _) in enumerate(admitted):
        units = 0
        for at, cost in admitted[first:]:
            units += cost
            assert units * quota.unit <= quota.full + (at - start) * quota.count


@given(rates, st.integers(1, 200), st.integers(0, 10**15))
def test_who_keeps_to_the_rate_is_never_refused(rate: Rate, times: int, now: int) -> None:
    """A caller who leaves the period divided by the count between units always gets through."""
    quota, tat = Quota("q", rate), 0
    gap = -(-quota.unit // quota.count)
    for _ in range(times):
        tat, decision = charge(quota, tat, now, 1)
        assert decision.allowed
        now += gap


@given(rates, requests, st.integers(1, 12))
def test_retry_after_is_exact(rate: Rate, asked: list[tuple[int, int]], cost: int) -> None:
    """A refused cost is admitted when its wait is over, and not a moment before."""
    quota, tat, now = Quota("q", rate), 0, 0
    for gap, units in asked:
        now += gap
        tat, _ = charge(quota, tat, now, units)
    _, decision = charge(quota, tat, now, cost)
    if decision.allowed:
        return
    if cost > quota.count:
        assert decision.retry_after == math.inf
        return
    wait = math.ceil(decision.retry_after * SECOND - 1e-3)
    assert charge(quota, tat, now + wait, cost)[1].allowed
    assert wait < 2 or not charge(quota, tat, now + wait - 2, cost)[1].allowed


@given(rates, requests, st.integers(1, 50))
def test_what_is_given_back_was_never_taken(rate: Rate, asked: list[tuple[int, int]], cost: int) -> None:
    """A charge and its refund at the same instant leave the caller's budget as it was."""
    quota, tat, now = Quota("q", rate), 0, 0
    for gap, units in asked:
        now += gap
        tat, _ = charge(quota, tat, now, units)
    before = charge(quota, tat, now, 0)
    after, _ = charge(quota, charge(quota, tat, now, cost, True)[0], now, -cost)
    assert charge(quota, after, now, 0) == before


def test_a_refund_gives_no_more_than_the_limit() -> None:
    """Giving back more than was taken leaves a whole budget."""
    tat, decision = charge(MINUTE, 0, SECOND, -5)
    assert (decision.remaining, decision.allowed) == (60, True)
    assert charge(MINUTE, tat, SECOND, 60)[1].allowed


def test_a_cost_of_nothing_asks_and_takes_nothing() -> None:
    """A cost of 0 is admitted while one unit would be, and changes nothing."""
    tat, _ = charge(MINUTE, 0, SECOND, 59)
    assert charge(MINUTE, tat, SECOND, 0)[1].allowed
    assert charge(MINUTE, tat, SECOND, 0)[0] == tat
    tat, _ = charge(MINUTE, tat, SECOND, 1)
    assert not charge(MINUTE, tat, SECOND, 0)[1].allowed


def test_work_done_is_charged_whatever_is_left() -> None:
    """A forced charge may overdraw the budget; the caller then waits for all of it."""
    tat, decision = charge(MINUTE, 0, SECOND, 90, force=True)
    assert (decision.allowed, decision.remaining, decision.reset) == (True, 0, 90.0)
    assert charge(MINUTE, tat, SECOND, 1)[1].retry_after == 31.0


def test_a_cost_beyond_the_limit_is_never_admitted() -> None:
    """Such a cost has no time after which to try again."""
    decision = charge(MINUTE, 0, SECOND, 61)[1]
    assert (decision.allowed, decision.retry_after, decision.remaining) == (False, math.inf, 60)


def test_a_million_charges_lose_nothing_to_rounding() -> None:
    """An odd rate admits its very last unit at one instant late in a long life, and none beyond."""
    quota, tat, now = Quota("q", Rate(999_983, 7.0)), 0, 10**15 + 1
    for _ in range(999_983):
        tat, decision = charge(quota, tat, now, 1)
    assert (decision.allowed, decision.remaining) == (True, 0)
    assert not charge(quota, tat, now, 1)[1].allowed


def test_several_charges_are_decided_together() -> None:
    """Of several, each is told by itself what became of it."""
    other = Quota("tokens", Rate(10, 60))
    charges = (Charge(MINUTE), Charge(other, 5))
    taken = decide(charges, (MINUTE.unit, 5 * other.unit), True)
    assert [(each.allowed, each.remaining) for each in taken] == [(True, 59), (True, 5)]
    left = decide(charges, (0, 6 * other.unit), False)
    assert [(each.allowed, each.remaining) for each in left] == [(True, 60), (False, 4)]
