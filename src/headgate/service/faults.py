"""Faults on wires: one document everywhere, from which the other side makes the same fault again.

It is the problem document of HTTP (RFC 9457) with two members more, `kind` and `retry_after` in seconds. A service
declares its own by subclassing one of the kit's:

    class OutOfStock(FailedPrecondition):
        \"\"\"There is less than was asked for.\"\"\"

        default_code = "out_of_stock"

        class Details(Struct):
            left: int

    raise OutOfStock("only 2 are left", details={"left": 2})

Callers whose method declares it (`raises=[OutOfStock]`) catch that class; for others it is a FailedPrecondition.
Details are held to their type on both sides: one that raises others has a defect, and one that is sent others catches
the kit's class.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import KINDS, Fault, Internal, NotFound, Unknown, Violation
from headgate.service.types import convert, plain

LONGEST_TEXT: Final = 4_096
"""Characters that are taken over from what another service says."""
LONGEST_PATH: Final = 200


def document_of(fault: Fault, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """The fault as it is sent. What it says for the log only stays here."""
    from headgate.kit.asgi.problems import fault_document

    document = fault_document(fault, instance, request_id)
    document["kind"] = fault.kind
    if fault.retry_after is not None:
        document["retry_after"] = fault.retry_after
    return document


def fault_of(document: Any, declared: Mapping[str, type[Fault]], *, status: int = 0) -> Fault:
    """The fault that a document tells of, of the class declared for its code; `status` is HTTP's, where there is one.

    Whatever else came in place of a document makes the best of it.
    """
    if not isinstance(document, Mapping):
        document = {}
    kind = _text(document.get("kind")) or (code_of_status(status) if status else "UNKNOWN")
    base = KINDS.get(kind, Unknown)
    code = _text(document.get("code"))
    details = document["details"] if isinstance(document.get("details"), dict) else None
    made = declared.get(code, base)
    if made.kind != base.kind or not _has_details(made, details):
        made = base
    after = document.get("retry_after")
    return made(
        _text(document.get("detail")) or kind.replace("_", " ").lower(),
        code=code or None,
        hint=_text(document.get("hint")),
        violations=_violations(document.get("errors")),
        retry_after=float(after) if isinstance(after, int | float) and not isinstance(after, bool) else None,
        details=details,
        refused=document.get("refused") is True,
    )


def detailed(fault: Fault) -> Fault:
    """The fault, once its details are what its class says. Raises TypeError when they are not."""
    kind = getattr(type(fault), "Details", None)
    if kind is not None:
        try:
            fault.details = plain(convert(fault.details, kind))
        except msgspec.ValidationError as error:
            raise TypeError(f"the details of {type(fault).__name__} are not what it declares: {error}") from fault
    return fault


def _has_details(made: type[Fault], details: Any) -> bool:
    kind = getattr(made, "Details", None)
    if kind is None:
        return True
    try:
        convert(details or {}, kind)
    except msgspec.ValidationError:
        return False
    return True


def defect() -> Fault:
    """What callers are told of an exception that is no fault."""
    return Internal("something went wrong here", hint="the request id finds the reason in the server's log")


def unknown_method(path: str) -> NotFound:
    """The fault for a path at which a service has no method; over gRPC it is the kit's `no_such_method`."""
    return NotFound(f"there is no method {path[:LONGEST_PATH]}", code="unknown_method")


def _violations(listed: Any) -> list[Violation]:
    return [
        Violation(_text(each.get("pointer")), _text(each.get("message")), _text(each.get("hint")))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, Mapping)
    ]


def _text(value: Any) -> str:
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""
