"""Budgets, and callers who ask for less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.call import Budget
from headgate.kit.controls.deadlines import Deadlines, parse_grpc_timeout, parse_milliseconds
from headgate.kit.controls.faults import InvalidArgument
from tests.kit.controls.calls import call_of

control = Deadlines(first_byte=10, idle=0, total=60, untimed=["/watch"])


def test_the_budget_is_the_services_own() -> None:
    """Zero is without limit; without a request for less there is no deadline of the caller's."""
    call = call_of()
    control.identify(call)
    assert call.budget == Budget(10, None, 60)
    assert call.deadline is None


def test_a_path_may_be_untimed() -> None:
    """Streams that live for ever are named by their path."""
    call = call_of("/watch/orders", headers={"x-request-timeout-ms": "5"})
    control.identify(call)
    assert (call.budget, call.deadline) == (Budget(), None)


@pytest.mark.parametrize(
    ("protocol", "header", "value", "seconds"),
    [
        ("http", "x-request-timeout-ms", "250", 0.25),
        ("http", "x-request-timeout-ms", "999999", 60),
        ("http", "grpc-timeout", "1S", None),
        ("connect", "connect-timeout-ms", "250", 0.25),
        ("grpc-web", "grpc-timeout", "250m", 0.25),
        ("grpc-web", "grpc-timeout", "1H", 60),
    ],
)
def test_a_caller_may_ask_for_less(protocol: str, header: str, value: str, seconds: float | None) -> None:
    """Each protocol has its header, and none can ask for more than the service gives."""
    call = call_of(protocol=protocol, headers={header: value})  # type: ignore[arg-type]
    control.identify(call)
    assert call.deadline == (None if seconds is None else call.started + seconds)


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "1" * 30])
def test_a_malformed_request_is_refused(value: str) -> None:
    """A timeout that cannot be read is not ignored."""
    with pytest.raises(InvalidArgument) as refused:
        control.identify(call_of(headers={"x-request-timeout-ms": value}))
    assert refused.value.code == "malformed_timeout"


@given(st.binary(max_size=14))
def test_reading_never_raises(value: bytes) -> None:
    """Any bytes are a timeout of at least zero seconds, or none."""
    for parse in (parse_grpc_timeout, parse_milliseconds):
        seconds = parse(value)
        assert seconds is None or seconds >= 0
