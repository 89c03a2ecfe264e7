"""Faults in documents: the problem document as a schema, and which answers an operation may be refused with.

    problem_schemas(service)        # one schema for each fault the service declares, by name
    refusals(operation)             # {409: ["out_of_stock"], 503: []}: codes declared, by status; [] for any

Source: RFC 9457; `headgate.service.faults`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from headgate.kit.asgi.problems import STATUS, STATUS_OF_CODE
from headgate.service.docs.described import Described, FaultTold, Operation

PROBLEM: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "Why a call failed (RFC 9457), on every wire.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "A URN that ends in the code."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What went wrong this time, for people."},
        "instance": {"type": "string", "description": "The path that was called."},
        "code": {"type": "string", "description": "What went wrong, for programs; it stays the same."},
        "kind": {"enum": sorted(STATUS), "description": "The canonical code of gRPC that it belongs to."},
        "request_id": {"type": "string", "description": "The id under which logs speak of the call."},
        "hint": {"type": "string", "description": "What to do about it."},
        "retry_after": {"type": "number", "minimum": 0, "description": "Seconds after which to try again."},
        "refused": {"type": "boolean", "description": "None of it was done: the same may be sent again."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "Where in the request, as a JSON pointer."},
                    "message": {"type": "string"},
                    "hint": {"type": "string"},
                },
                "required": ["pointer", "message"],
            },
        },
        "details": {"type": "object", "description": "What the code tells programs besides."},
    },
    "required": ["type", "title", "status", "detail", "code", "kind"],
}

_ALWAYS: Final = (400, 429, 500, 503, 504)
_WHEN_GUARDED: Final = (401, 403)

DESCRIPTIONS: Final[Mapping[int, str]] = {
    400: "The request is not what the method takes; `errors` says where.",
    401: "Nobody knows who calls.",
    403: "The caller may not do this.",
    429: "Too many calls; `Retry-After` says when to call again.",
    500: "Something went wrong here; the request id finds the reason in the log.",
    503: "Not possible now; try again later.",
    504: "It took too long.",
}
"""What the refusals mean that every operation may answer with."""


def status_of(fault: FaultTold) -> int:
    """The HTTP status of a declared fault."""
    return STATUS_OF_CODE.get(fault.code) or STATUS.get(fault.kind, 500)


def refusals(operation: Operation) -> dict[int, list[FaultTold]]:
    """The faults declared for each status; none for those that any operation may answer with."""
    usual = (*_ALWAYS, *(_WHEN_GUARDED if operation.is_guarded else ()))
    found: dict[int, list[FaultTold]] = {status: [] for status in usual}
    for fault in operation.faults:
        found.setdefault(status_of(fault), []).append(fault)
    return dict(sorted(found.items()))


def is_usual(status: int) -> bool:
    """Whether any operation may be refused with it, whatever it declares."""
    return status in DESCRIPTIONS


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Closed Request" if status == 499 else "Refused"


def faults_of(service: Described) -> dict[str, FaultTold]:
    """All faults that a service declares, by their codes."""
    return {fault.code: fault for operation in service.operations for fault in operation.faults}


def schema_name(code: str) -> str:
    """What the schema of a declared fault is called: `out_of_stock` is `OutOfStockProblem`."""
    words = "".join(part[:1].upper() + part[1:] for part in code.replace("-", "_").replace(".", "_").split("_"))
    return f"{words}Problem"


def problem_schemas(service: Described, problem: str) -> dict[str, Any]:
    """The schemas of the faults a service declares, by name. `problem` is where the one of all is found."""
    found: dict[str, Any] = {}
    for code, fault in sorted(faults_of(service).items()):
        own: dict[str, Any] = {"code": {"enum": [code]}, "kind": {"enum": [fault.kind]}}
        if fault.details is not None:
            own["details"] = fault.details
        found[schema_name(code)] = {
            **({"description": fault.description} if fault.description else {}),
            "allOf": [{"$ref": problem}, {"type": "object", "properties": own, "required": ["code"]}],
        }
    return found
