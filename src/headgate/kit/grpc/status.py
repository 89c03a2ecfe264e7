"""Faults as gRPC says them, and back.

A fault becomes a status code, its message, and details (google.rpc) in `grpc-status-details-bin`:

    ErrorInfo           reason: the fault's code in upper case; domain: headgate; metadata: refused, when the same
                        may be sent again because none of it was done
    BadRequest          a field violation for each violation, its JSON pointer as `field`
    RetryInfo           retry_after
    LocalizedMessage    the hint
    RequestInfo         the request id
    google.protobuf.Struct   what the fault says to programs in its `details`

`fault_from_rpc_error` reads them all again, and makes the best of what other services send. The `internal`
text of a fault is never among them. Source: google/rpc/error_details.proto; AIP-193.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from headgate.kit.controls.faults import Fault, Unknown, Violation
from headgate.kit.controls.retry import is_transient

DETAILS: Final = "grpc-status-details-bin"
DOMAIN: Final = "headgate"
REFUSED: Final = "refused"
LONGEST_MESSAGE: Final = 1_024
"""Bytes of a text in UTF-8; on the wire a status message may be three times as long."""
MOST_DETAILS: Final = 3_072
"""Bytes of details: peers take 8 KiB of metadata in all, with these in base64, and drop the call beyond."""

_ENVELOPES: Final = 256
_TYPES: Final = "type.googleapis.com/"
_CLASSES: Final[dict[str, type[Message]]] = {
    each.DESCRIPTOR.full_name: each
    for each in (BadRequest, ErrorInfo, LocalizedMessage, RequestInfo, RetryInfo, Struct)
}
CODES: Final[dict[str, grpc.StatusCode]] = {each.name: each for each in grpc.StatusCode}
"""The status code of each kind of fault."""
NUMBERS: Final[dict[int, str]] = {each.value[0]: each.name for each in grpc.StatusCode}
"""The name of each code by its number."""
FAULTS: Final[dict[str, type[Fault]]] = {each.kind: each for each in Fault.__subclasses__()}
"""The fault of each kind."""


def text(value: str) -> str:
    """`value` as UTF-8 can say it, and not longer than a status message should be."""
    return value[:LONGEST_MESSAGE].encode("utf-8", "replace")[:LONGEST_MESSAGE].decode("utf-8", "ignore")


def code_name(code: Any) -> str:
    """The name of a status code given as `grpc.StatusCode`, number, or gRPC's pair of both; else UNKNOWN."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    if isinstance(code, tuple) and code:
        code = code[0]
    return NUMBERS.get(code, "UNKNOWN") if isinstance(code, int) else "UNKNOWN"


def details_of(fault: Fault, request_id: str = "") -> list[Message]:
    """The details of a fault, the most useful first."""
    info = ErrorInfo(reason=text(fault.code.upper()), domain=DOMAIN)
    if fault.refused and is_transient(fault):
        info.metadata[REFUSED] = "true"
    found: list[Message] = [info]
    if fault.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(max(0, round(fault.retry_after * 1_000_000_000)))
        found.append(retry)
    if request_id:
        found.append(RequestInfo(request_id=request_id))
    if fault.hint:
        found.append(LocalizedMessage(locale="en", message=text(fault.hint)))
    if fault.details:
        found.extend(_structure(fault.details))
    if fault.violations:
        found.append(BadRequest(field_violations=_fitting(fault.violations)))
    return found


def _structure(details: Mapping[str, Any]) -> list[Message]:
    """The details for programs, unless there is no room for them."""
    made = Struct()
    made.update(details)
    return [made] if made.ByteSize() <= MOST_DETAILS - LONGEST_MESSAGE - 512 else []


def _fitting(violations: Iterable[Violation]) -> list[BadRequest.FieldViolation]:
    """As many as there is room for."""
    found, room = [], MOST_DETAILS - LONGEST_MESSAGE - 512
    for each in violations:
        violation = BadRequest.FieldViolation(field=text(each.pointer), description=text(each.message))
        if each.hint:
            violation.localized_message.locale = "en"
            violation.localized_message.message = text(each.hint)
        room -= violation.ByteSize() + 4
        if room < 0:
            break
        found.append(violation)
    return found


def packed(detail: Message) -> AnyMessage:
    """A detail as it stands in a status."""
    return AnyMessage(type_url=_TYPES + detail.DESCRIPTOR.full_name, value=detail.SerializeToString())


def rich_status(fault: Fault, request_id: str = "") -> Status:
    """The google.rpc.Status of a fault."""
    return Status(
        code=CODES[fault.kind].value[0],
        message=text(fault.message),
        details=[packed(detail) for detail in details_of(fault, request_id)],
    )


def fault_of(kind: str, message: str, details: Iterable[AnyMessage] = ()) -> Fault:
    """The fault of a code's name, a message, and whatever details came with it."""
    found: dict[str, Any] = {}
    for detail in details:
        made = _CLASSES.get(detail.type_url.rpartition("/")[2])
        if made is None:
            continue
        try:
            _read(made.FromString(detail.value), found)
        except DecodeError:
            continue
    return FAULTS.get(kind, Unknown)(message or kind.replace("_", " ").lower(), **found)


def _read(detail: Any, found: dict[str, Any]) -> None:
    if isinstance(detail, ErrorInfo):
        found["code"] = detail.reason.lower() or None
        found["refused"] = detail.domain == DOMAIN and detail.metadata.get(REFUSED) == "true"
    elif isinstance(detail, RetryInfo):
        found["retry_after"] = detail.retry_delay.ToNanoseconds() / 1_000_000_000
    elif isinstance(detail, Struct):
        found["details"] = MessageToDict(detail)
    elif isinstance(detail, LocalizedMessage):
        found["hint"] = detail.message
    elif isinstance(detail, BadRequest):
        found["violations"] = [
            Violation(each.field, each.description, each.localized_message.message) for each in detail.field_violations
        ]


def fault_from_rpc_error(error: grpc.RpcError) -> Fault:
    """What a failed call of a client was told, as a fault; the error's own text goes to its `internal`."""
    read: Any = error
    kind, message = code_name(read.code()), read.details() or ""
    status = None
    for name, value in read.trailing_metadata() or ():
        if name == DETAILS:
            status = _status(value)
    details = status.details if status is not None and NUMBERS.get(status.code) == kind else ()
    fault = fault_of(kind, message, details)
    fault.internal = str(getattr(read, "debug_error_string", str)() or "")[:LONGEST_MESSAGE]
    return fault


def _status(value: str | bytes) -> Status | None:
    try:
        return Status.FromString(value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
    except DecodeError:
        return None
