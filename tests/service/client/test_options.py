"""What holds for calls: sensible values are taken, others are refused and named."""

import pytest

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument
from headgate.service.client import CallOptions, ClientPolicy
from headgate.service.client.hops import UNLIMITED, allowance_of


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"stream_timeout": -1},
        {"hedge_after": 0},
        {"retry_ratio": 1.1},
        {"retry_reserve": -1},
        {"slow_start": -1},
        {"hung_after": -1},
        {"max_connections": 0},
        {"max_idle": -1},
        {"idle_time": -1},
        {"pool_timeout": 0},
        {"connect_timeout": 0},
        {"max_message": 0},
    ],
)
def test_a_policy_makes_sense(wrong):
    """What cannot be is refused, and the field is named."""
    with pytest.raises(InvalidArgument) as refused:
        ClientPolicy(**wrong)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in wrong]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"timeout": 0}, "/timeout"),
        ({"hedge_after": -1}, "/hedge_after"),
        ({"retries": -1}, "/retries"),
        ({"idempotency_key": "x" * 256}, "/idempotency_key"),
        ({"idempotency_key": "a\nb"}, "/idempotency_key"),
        ({"metadata": {"a b": "1"}}, "/metadata/a b"),
        ({"metadata": {"": "1"}}, "/metadata/"),
        ({"metadata": {"x/y": "1"}}, "/metadata/x~1y"),
        ({"metadata": {"Content-Type": "text/plain"}}, "/metadata/Content-Type"),
        ({"metadata": {"authorization": "secret\r\nx: y"}}, "/metadata/authorization"),
    ],
)
def test_what_cannot_be_sent_is_refused(wrong, pointer):
    """Options that no wire could carry are refused by name, without the value."""
    with pytest.raises(InvalidArgument) as refused:
        CallOptions(**wrong)
    assert [each.pointer for each in refused.value.violations] == [pointer]
    assert "secret" not in str(refused.value.violations)


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"123", b"1.5"])
def test_a_budget_that_makes_no_sense_limits_nothing(value):
    """A malformed retry budget of a caller is as if there were none."""
    assert allowance_of(Call("http", "POST", "/", [(b"x-retry-budget", value)], "", 0.0)) is UNLIMITED


def test_a_budget_is_shared_by_all_calls_of_one_served():
    """What one call spends another one below the same served call no longer has."""
    call = Call("http", "POST", "/", [(b"x-retry-budget", b"2")], "", 0.0)
    allowance_of(call).spend()
    assert allowance_of(call).of(5) == 1
    allowance_of(call).spend()
    allowance_of(call).spend()
    assert allowance_of(call).of(5) == 0
