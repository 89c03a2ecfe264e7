"""When to retry: the decisions alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import (
    Aborted,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from headgate.kit.controls.retry import RetryBudget, RetryPolicy, delay, is_transient

POLICY = RetryPolicy(attempts=4, first_pause=1, growth=2, longest_pause=3, longest_retry_after=10)


@given(attempt=st.integers(1, 3), spread=st.floats(0, 0.999))
def test_pauses_grow_with_full_jitter(attempt, spread):
    """A pause lies anywhere between nothing and a bound that doubles up to the longest pause."""
    assert delay(POLICY, attempt=attempt, spread=spread) == pytest.approx(spread * [1, 2, 3][attempt - 1])


def test_attempts_are_bounded():
    """After the last attempt there is no other."""
    assert delay(POLICY, attempt=4, spread=0) is None


def test_retry_after_is_honoured():
    """The pause is never shorter than what the other side asked for."""
    assert delay(POLICY, attempt=1, spread=0.5, retry_after=4) == 4.5


def test_too_long_a_retry_after_is_not_waited_for():
    """Asked for more patience than the policy has, the call fails rather than come back early."""
    assert delay(POLICY, attempt=1, spread=0.5, retry_after=11) is None


@given(remaining=st.floats(-1, 10), spread=st.floats(0, 0.999), retry_after=st.none() | st.floats(0, 12))
def test_the_deadline_is_never_passed(remaining, spread, retry_after):
    """No pause lasts until the deadline or past it."""
    wait = delay(POLICY, attempt=2, spread=spread, retry_after=retry_after, remaining=remaining)
    assert wait is None or 0 <= wait < remaining


@given(st.lists(st.booleans(), max_size=300))
def test_retries_stay_within_the_budget(steps):
    """However calls and failures alternate, retries are at most the ratio of the calls, plus the reserve."""
    budget, calls, retries = RetryBudget(ratio=0.2, most=5), 0, 0
    for is_call in steps:
        if is_call:
            budget.deposit()
            calls += 1
        else:
            retries += budget.withdraw()
        assert retries <= 5 + 0.2 * calls + 1e-6
        assert 0 <= budget.tokens <= 5


def test_ten_tenths_are_one():
    """The rounding of floats does not cost a retry."""
    budget = RetryBudget(ratio=0.1, most=1)
    assert budget.withdraw()
    for _ in range(10):
        assert not budget.withdraw()
        budget.deposit()
    assert budget.withdraw()


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (Unavailable("x"), True),
        (Aborted("x"), True),
        (ResourceExhausted("x", retry_after=1), True),
        (ResourceExhausted("x"), False),
        (Unavailable("x", code="circuit_open", retry_after=1), False),
        (InvalidArgument("x"), False),
        (DeadlineExceeded("x"), False),
        (Internal("x"), False),
        (ConnectionResetError(), True),
        (ConnectionRefusedError(), True),
        (RuntimeError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_may_pass_is_retried(error, transient):
    """Only what may pass by itself is worth another try, and an open circuit is not asked again."""
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    "fields",
    [{"attempts": 0}, {"first_pause": -1}, {"growth": 0.5}, {"longest_pause": 0.01}, {"longest_retry_after": -1}],
)
def test_impossible_policies_are_refused(fields):
    """A policy that cannot work is refused with a pointer to the field."""
    with pytest.raises(InvalidArgument) as refused:
        RetryPolicy(**fields)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in fields]


@pytest.mark.parametrize("arguments", [(-0.1, 1), (1.1, 1), (0.1, -1)])
def test_impossible_budgets_are_refused(arguments):
    """A budget that cannot work is refused."""
    with pytest.raises(InvalidArgument):
        RetryBudget(*arguments)
