"""Faults cross a wire and are the same on the other side."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import DebugInfo, ErrorInfo
from google.rpc.status_pb2 import Status

from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, Unavailable, Violation
from headgate.kit.grpc.status import (
    CODES,
    DETAILS,
    MOST_DETAILS,
    code_name,
    fault_from_rpc_error,
    fault_of,
    packed,
    rich_status,
)
from tests.kit.grpc.echo import SECRET, sample_fault


def error_of(code, message="no", details=b"", debug="debug"):
    """An error as a client gets it."""
    metadata = grpc.aio.Metadata((DETAILS, details)) if details else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, message, debug)


@pytest.mark.parametrize("kind", sorted(each.kind for each in Fault.__subclasses__()))
def test_every_kind_of_fault_survives_the_way(kind):
    """A fault of any kind, sent as a status and read again, says the same."""
    [made] = [each for each in Fault.__subclasses__() if each.kind == kind]
    details = {"sku": "tea", "left": 2, "seen": ["a", None, {"b": True}]}
    violations = [Violation("/a", "odd", "even")]
    fault = made("no", code="a_code", hint="do this", violations=violations, retry_after=0.5, details=details)
    back = fault_from_rpc_error(error_of(CODES[kind], "no", rich_status(fault, "id").SerializeToString()))
    assert type(back) is made
    assert (back.message, back.code, back.hint, back.retry_after) == ("no", "a_code", "do this", 0.5)
    assert (back.violations, back.details) == (fault.violations, details)


def test_a_refusal_is_told_as_one():
    """That none of a call was done is told with faults that may pass, and believed of us alone."""

    def back(fault):
        return fault_from_rpc_error(error_of(CODES[fault.kind], "no", rich_status(fault).SerializeToString()))

    assert back(Unavailable("no", refused=True)).refused
    assert not back(Unavailable("no")).refused
    assert not back(NotFound("no", refused=True)).refused
    strange = ErrorInfo(reason="NO", domain="elsewhere", metadata={"refused": "true"})
    assert not fault_of("UNAVAILABLE", "no", [packed(strange)]).refused


def test_internal_texts_stay():
    """What a fault says for the log only is in none of the bytes sent."""
    assert SECRET.encode() not in rich_status(sample_fault(), "id").SerializeToString()


def test_errors_of_other_services_are_read_too():
    """A bare status, unknown details, and details that contradict the status make a fault all the same."""
    bare = fault_from_rpc_error(error_of(grpc.StatusCode.NOT_FOUND, "gone"))
    assert (type(bare), bare.message, bare.code, bare.internal) == (NotFound, "gone", "not_found", "debug")
    strange = Status(
        code=5, message="gone", details=[packed(DebugInfo(detail="x")), AnyMessage(type_url="a", value=b"\xff")]
    )
    assert (
        fault_from_rpc_error(error_of(grpc.StatusCode.NOT_FOUND, "", strange.SerializeToString())).message
        == "not found"
    )
    other = rich_status(InvalidArgument("no", code="mine")).SerializeToString()
    assert fault_from_rpc_error(error_of(grpc.StatusCode.NOT_FOUND, "gone", other)).code == "not_found"
    damaged = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    assert fault_of("UNAVAILABLE", "later", [damaged]).code == "unavailable"
    assert isinstance(fault_from_rpc_error(error_of(grpc.StatusCode.UNAVAILABLE, "x", b"\xff\xff")), Unavailable)


def test_details_stay_within_what_peers_take():
    """Hundreds of violations and endless texts are cut: a peer drops calls with too much metadata."""
    fault = InvalidArgument(
        "é" * 10_000,
        hint="h" * 10_000,
        violations=[Violation(f"/field/{number}", "must be small" * 20) for number in range(500)],
    )
    status = rich_status(fault, "i" * 128)
    assert sum(detail.ByteSize() for detail in status.details) <= MOST_DETAILS
    assert len(status.message.encode()) == 1_024
    assert fault_of("INVALID_ARGUMENT", "no", status.details).violations[0].pointer == "/field/0"


def test_texts_that_utf8_cannot_say():
    """A lone surrogate out of somebody's input does not keep a fault from being sent."""
    status = rich_status(InvalidArgument("odd \ud800", code="odd", violations=[Violation("/\udfff", "\ud800")]))
    assert status.message == "odd ?"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (grpc.StatusCode.ABORTED, "ABORTED"),
        (5, "NOT_FOUND"),
        ((3, "x"), "INVALID_ARGUMENT"),
        (99, "UNKNOWN"),
        (None, "UNKNOWN"),
    ],
)
def test_codes_in_every_form(code, name):
    """Handlers may name a code as gRPC's constant, as a number or as both; nonsense is UNKNOWN."""
    assert code_name(code) == name
