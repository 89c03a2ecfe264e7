"""Request ids and trace contexts."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.call import MutableHeaders
from headgate.kit.controls.request_ids import LONGEST_ID, RequestIds, parse_traceparent, well_formed
from tests.kit.controls.calls import call_of

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
control = RequestIds(lambda: "made")


def identified(headers: list[tuple[str, str]]) -> str:
    """The id of a call with these headers."""
    call = call_of(headers=headers)
    control.identify(call)
    return call.request_id


def test_a_good_id_is_kept() -> None:
    """A caller's well-formed id is taken over and told back."""
    call = call_of(headers={"X-Request-ID": "order-7.a_B"})
    control.identify(call)
    headers: MutableHeaders = [(b"x-request-id", b"the application's")]
    control.respond(call, headers)
    assert headers == [(b"x-request-id", b"order-7.a_B")]


def test_d06_only_a_well_formed_request_id_is_echoed() -> None:
    """An id that is too long, empty, repeated or of other characters is replaced, never reflected."""
    bad = ["a" * (LONGEST_ID + 1), "", "a b", "a\r\nset-cookie: x=1", "é", "a" * 9_000, "<script>"]
    assert {identified([("x-request-id", each)]) for each in bad} == {"made"}
    assert identified([("x-request-id", "one"), ("x-request-id", "two")]) == "made"
    assert identified([]) == "made"


@given(st.binary(max_size=200))
def test_only_harmless_bytes_pass(value: bytes) -> None:
    """What passes is short and made of letters, digits, dot, underscore and hyphen."""
    harmless = all(chr(each).isascii() and (chr(each).isalnum() or chr(each) in "._-") for each in value)
    assert well_formed(value) == (0 < len(value) <= LONGEST_ID and harmless)


def test_a_trace_is_read() -> None:
    """The W3C example is understood, with its state."""
    call = call_of(headers={"traceparent": GOOD, "tracestate": "rojo=00f067aa0ba902b7"})
    control.identify(call)
    assert call.trace is not None
    assert call.trace.traceparent == GOOD
    assert call.trace.state == "rojo=00f067aa0ba902b7"


def test_a_malformed_trace_counts_as_absent() -> None:
    """Version ff, zero ids, capitals, wrong lengths and extra fields in version 00 are not followed."""
    zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32)
    zero_span = GOOD.replace("00f067aa0ba902b7", "0" * 16)
    for bad in ("", "00", GOOD[:-1], GOOD.upper(), "ff" + GOOD[2:], f"{GOOD}-x", zero_trace, zero_span):
        assert parse_traceparent(bad.encode()) is None, bad
    later = parse_traceparent(f"01{GOOD[2:]}-more".encode())
    assert later is not None
    assert later.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


@given(st.binary(max_size=80))
def test_any_bytes_may_be_presented(value: bytes) -> None:
    """Reading a traceparent never raises, and what it yields is well formed."""
    found = parse_traceparent(value, value)
    assert found is None or parse_traceparent(found.traceparent.encode()) is not None
