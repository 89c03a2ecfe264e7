"""Reading what a request carries: its media type, its JSON, and the shape of its outside.

PUT and PATCH take the specification itself; POST wraps it: `{"name": ..., "spec": {...}}`. Pointers in
errors go into the body as it was sent.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from headgate.controlplane.native.json_body import parse
from headgate.kit.controls.faults import Fault, InvalidArgument, Violation
from headgate.kit.controls.validation import violations_of

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

LARGE_BODY = 256 * 1024
"""Bytes from which a body is parsed in a thread, so that the event loop lives on."""

READ_ONLY = ("team", "revision", "etag", "owner", "created_at", "updated_at")

M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    """What a caller sends: unknown fields are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class NewResource(Body):
    """A resource to create."""

    name: str
    spec: dict[str, Any]


async def read_json(request: Request, *media_types: str) -> Any:
    """The JSON value of the body. Raises InvalidArgument (`unsupported_media_type`, `malformed_json`)."""
    _check_media_type(request, media_types or (JSON,))
    body = await request.body()
    return await asyncio.to_thread(parse, body) if len(body) >= LARGE_BODY else parse(body)


def _check_media_type(request: Request, allowed: Sequence[str]) -> None:
    given = request.headers.get("content-type", "")
    essence, _, parameters = given.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if essence.strip().lower() in allowed and charset in {"", "utf-8", "utf8"}:
        return
    raise InvalidArgument(
        f"content type '{given}' is not taken here" if given else "the request has no content type",
        code="unsupported_media_type",
        hint=f"send Content-Type: {' or '.join(allowed)} (UTF-8)",
    )


async def read(request: Request, model: type[M], *media_types: str) -> M:
    """The body as `model`. Raises InvalidArgument with a pointer for each thing wrong with it."""
    return checked(model, await read_json(request, *media_types))


def checked(model: type[M], value: Any) -> M:
    """A JSON value as `model`. Raises InvalidArgument with a pointer for each thing wrong with it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid([_explained(each) for each in violations_of(error, model=model)]) from None


def invalid(violations: Sequence[Violation]) -> InvalidArgument:
    """The fault for a body with these violations."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return InvalidArgument(f"{first.pointer or 'the body'}: {first.message}{more}", violations=violations)


def _explained(violation: Violation) -> Violation:
    field = violation.pointer.removeprefix("/")
    if violation.message.startswith("unknown field") and field in READ_ONLY:
        return Violation(violation.pointer, f"'{field}' is read-only", "leave it out")
    return violation


async def read_spec(request: Request, *media_types: str) -> dict[str, Any]:
    """The body as a specification (or a merge patch of one), which the use case will validate."""
    value = await read_json(request, *media_types)
    if not isinstance(value, dict):
        raise invalid([Violation("", "must be an object")])
    if "spec" in value:
        hint = "send what stands in 'spec' without what is round it"
        raise invalid([Violation("/spec", "the specification itself is the body here", hint)])
    return value


def relocated(fault: Fault, *, spec: str = "", name: str = "") -> Fault:
    """The same fault with its pointers moved to where the parts of the change stand in the body.

    `spec` and `name` are the pointers of those parts; "" when the name is in the path.
    """
    fault.violations = tuple(
        Violation(_moved(fault.code, each.pointer, spec, name), each.message, each.hint) for each in fault.violations
    )
    return fault


def _moved(code: str, pointer: str, spec: str, name: str) -> str:
    if code == "invalid_name":
        return name
    if code == "unknown_route" and pointer == "/before":
        return ""
    return spec + pointer
