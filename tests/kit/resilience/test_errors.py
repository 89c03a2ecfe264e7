"""Errors as bytes, for other processes."""

import subprocess
import sys

import pytest

from headgate.kit.controls.faults import Internal, ResourceExhausted, Violation
from headgate.kit.resilience.errors import decode_error, encode_error


def test_faults_come_back():
    """A fault keeps what its caller may see, and nothing that is for the log."""
    fault = ResourceExhausted(
        "too many",
        code="quota",
        hint="wait",
        retry_after=2.5,
        details={"left": 3},
        violations=[Violation("/a", "b", "c")],
        internal="key=abc",
    )
    data = encode_error(fault)
    told = decode_error(data)
    assert (type(told), told.message, told.code, told.hint) == (ResourceExhausted, "too many", "quota", "wait")
    assert (told.retry_after, told.details, told.violations) == (2.5, {"left": 3}, (Violation("/a", "b", "c"),))
    assert b"key=abc" not in data


def test_other_errors_say_nothing():
    """Of an error that is no fault only its type is told: its text may hold a secret."""
    data = encode_error(RuntimeError("password=hunter2"))
    told = decode_error(data)
    assert isinstance(told, Internal)
    assert b"hunter2" not in data
    assert "RuntimeError" in told.internal


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"kind": "INTERNAL"}', b"\xff"])
def test_unreadable_errors_are_errors(data):
    """Bytes that tell nothing are still an error."""
    assert isinstance(decode_error(data), Internal)


OWN_FIRST = """
from headgate.kit.controls.faults import Fault, Unavailable

class Own(Fault):
    kind = "UNAVAILABLE"

    def __init__(self, door):
        super().__init__(door)

from headgate.kit.resilience.errors import decode_error, encode_error
told = decode_error(encode_error(Own("closed")))
assert type(told) is Unavailable, told
"""


def test_faults_of_ones_own_stand_in_for_none():
    """What a service derives from the base of faults does not take the place of one of the sixteen."""
    subprocess.run([sys.executable, "-c", OWN_FIRST], check=True, timeout=60)
