"""Outlier ejection: who fails is left out, for a while, and never too many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.client.ejection import EjectionPolicy, Outliers


def outliers(count: int = 4, **policy) -> Outliers:
    """Instances `0`, `1`, and so on."""
    made = Outliers(EjectionPolicy(**policy))
    made.keep([str(number) for number in range(count)])
    return made


def fail(watched: Outliers, name: str, now: float, times: int = 5) -> None:
    """Let it fail so often."""
    for _ in range(times):
        watched.failed(name, now)


def test_failures_in_a_row_eject():
    """The fifth failure in a row ejects, the fourth does not."""
    watched = outliers()
    fail(watched, "1", 0.0, 4)
    assert not watched.is_ejected("1", 0.0)
    assert watched.failed("1", 0.0)
    assert watched.ejected(0.0) == ["1"]


def test_a_success_ends_the_row():
    """Failures with a success between them are not in a row."""
    watched = outliers()
    fail(watched, "1", 0.0, 4)
    watched.succeeded("1", 0.0)
    fail(watched, "1", 0.0, 4)
    assert not watched.ejected(0.0)


def test_each_ejection_in_a_row_is_longer():
    """The second ejection lasts twice as long as the first, up to the longest."""
    watched = outliers(first_time=10.0, longest_time=25.0, interval=1_000.0)
    now, lengths = 0.0, []
    for _ in range(4):
        fail(watched, "1", now)
        lengths.append(watched.until("1") - now)
        now = watched.until("1")
        assert not watched.is_ejected("1", now)
    assert lengths == [10.0, 20.0, 25.0, 25.0]


def test_a_calm_interval_takes_a_step_back():
    """After intervals without failures the next ejection is short again."""
    watched = outliers(first_time=1.0, longest_time=100.0, interval=10.0)
    now = 0.0
    for _ in range(3):
        fail(watched, "1", now)
        now = watched.until("1")
    for _ in range(4):
        now += 11.0
        watched.succeeded("1", now)
    fail(watched, "1", now)
    assert watched.until("1") - now == 1.0


@settings(deadline=None)
@given(st.lists(st.sampled_from("01234567"), max_size=200), st.sampled_from([0.0, 25.0, 50.0, 100.0]))
def test_never_too_many_are_out(failing, percent):
    """Whoever fails, no more than the share allowed is left out."""
    watched = outliers(8, most_percent=percent, consecutive=2)
    for moment, name in enumerate(failing):
        watched.failed(name, float(moment) / 10)
        assert len(watched.ejected(float(moment) / 10)) <= 8 * percent / 100


def test_the_only_one_is_never_out():
    """A service of one instance keeps it, whatever it does."""
    watched = outliers(1)
    fail(watched, "0", 0.0, 50)
    assert not watched.ejected(0.0)


def test_a_low_success_rate_ejects():
    """At the end of an interval, an instance far below the others is left out."""
    watched = outliers(6, minimum_calls=10, interval=10.0, consecutive=1_000)
    watched.succeeded("0", 0.0)
    for number in range(6):
        for turn in range(20):
            if number == 3 and turn % 2:
                watched.failed("3", 1.0)
            else:
                watched.succeeded(str(number), 1.0)
    assert watched.succeeded("0", 11.0)
    assert watched.ejected(11.0) == ["3"]


def test_few_instances_are_not_compared():
    """With fewer instances than the policy wants, rates eject nobody."""
    watched = outliers(4, minimum_calls=1, interval=10.0, consecutive=1_000)
    for number in range(4):
        watched.succeeded(str(number), 0.0)
    fail(watched, "3", 1.0, 50)
    watched.succeeded("0", 11.0)
    assert not watched.ejected(11.0)


def test_who_is_gone_is_forgotten():
    """Instances that left are not remembered, and calls of theirs that end late change nothing."""
    watched = outliers(2)
    fail(watched, "1", 0.0)
    watched.keep(["0"])
    fail(watched, "1", 0.0)
    assert not watched.ejected(0.0)
    assert watched.until("1") == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"consecutive": 0},
        {"interval": 0},
        {"minimum_instances": 1},
        {"minimum_calls": 0},
        {"deviations": -1},
        {"first_time": 0},
        {"longest_time": 1},
        {"most_percent": 101},
    ],
)
def test_a_policy_makes_sense(wrong):
    """What cannot be is refused, and the field is named."""
    with pytest.raises(InvalidArgument) as refused:
        EjectionPolicy(**wrong)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in wrong]
