"""Faults over HTTP: RFC 9457 problem documents, made in one place.

    {"type": "urn:headgate:problem:etag_mismatch", "title": "Etag mismatch", "status": 412,
     "detail": "...", "instance": "/api/v1/...", "code": "etag_mismatch", "request_id": "...",
     "hint": "...", "errors": [{"pointer": "/port", "message": "...", "hint": "..."}]}

`hint` and `errors` are there when there is something to say. `install` makes an application answer with
these for faults, refused input, unknown paths and methods, and defects (whose text stays in the log).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ExceptionHandler, Scope

from headgate.kit.controls.faults import Fault, Internal, InvalidArgument, Violation
from headgate.kit.controls.validation import violations_from, violations_of
from headgate.kit.observe.logs import current_request_id

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[str, int]] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each kind of fault."""

STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "body_too_large": 413,
    "etag_mismatch": 412,
    "storage_full": 507,
    "unsupported_media_type": 415,
}
"""Codes for which HTTP has a status of its own, closer than that of their kind."""

HTTP_CODES: Final[Mapping[int, str]] = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "path_not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "already_exists",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_argument",
    429: "resource_exhausted",
    501: "unimplemented",
    503: "unavailable",
    504: "deadline_exceeded",
}
"""The code of a refusal that HTTP itself makes: an unknown path, a method that is not possible."""

_log = structlog.get_logger("headgate.http")


def status_of(fault: Fault) -> int:
    """The HTTP status a fault is answered with."""
    return STATUS_OF_CODE.get(fault.code) or STATUS[fault.kind]


def problem_document(
    *,
    status: int,
    code: str,
    detail: str,
    instance: str = "",
    hint: str = "",
    violations: Sequence[Violation] = (),
    request_id: str = "",
) -> dict[str, Any]:
    """The members of a problem, in the order they are sent."""
    document: dict[str, Any] = {
        "type": f"urn:headgate:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
    }
    if hint:
        document["hint"] = hint
    if violations:
        document["errors"] = [
            {"pointer": each.pointer, "message": each.message} | ({"hint": each.hint} if each.hint else {})
            for each in violations
        ]
    return document


def problem_response(fault: Fault, scope: Scope) -> Response:
    """The response a fault becomes, with `Retry-After` and `WWW-Authenticate` where they belong."""
    status = status_of(fault)
    headers = {}
    if fault.retry_after is not None:
        headers["retry-after"] = str(max(0, math.ceil(fault.retry_after)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return _response(
        problem_document(
            status=status,
            code=fault.code,
            detail=fault.message,
            instance=scope.get("path", ""),
            hint=fault.hint,
            violations=fault.violations,
            request_id=current_request_id(),
        ),
        headers,
    )


def _response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # ASCII with escapes: a lone surrogate out of the input cannot be encoded otherwise.
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return Response(
        body,
        status_code=document["status"],
        media_type=MEDIA_TYPE,
        headers={**(headers or {}), "cache-control": "no-store"},
    )


def defect() -> Fault:
    """What the caller is told of an error nobody foresaw."""
    return Internal("something went wrong here", hint="the request id finds the reason in the server's log")


def install(app: Starlette) -> None:
    """Make `app` (Starlette or FastAPI) answer every error with a problem."""
    handlers: dict[Any, Any] = {
        Fault: _on_fault,
        ValidationError: _on_validation_error,
        HTTPException: _on_http_exception,
        Exception: _on_defect,
    }
    for base in type(app).__mro__:
        if base.__module__.partition(".")[0] == "fastapi":
            from fastapi.exceptions import RequestValidationError

            handlers[RequestValidationError] = _on_request_validation_error
            break
    for exception, handler in handlers.items():
        app.add_exception_handler(exception, cast("ExceptionHandler", handler))


async def _on_fault(request: Request, fault: Fault) -> Response:
    status = status_of(fault)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request failed", code=fault.code, reason=fault.message, internal=fault.internal, exc_info=fault)
    elif fault.internal:
        _log.info("request refused", code=fault.code, reason=fault.message, internal=fault.internal)
    return problem_response(fault, request.scope)


async def _on_validation_error(request: Request, error: ValidationError) -> Response:
    return problem_response(_invalid(violations_of(error)), request.scope)


async def _on_request_validation_error(request: Request, error: Any) -> Response:
    """FastAPI's errors: `loc` starts with the part of the request it speaks of."""
    model = _body_model(request.scope.get("route"))
    violations: list[Violation] = []
    for detail in error.errors():
        part, *loc = detail["loc"] or ("body",)
        if detail["type"] == "json_invalid":
            reason = (detail.get("ctx") or {}).get("error", "malformed")
            violations.append(Violation("", f"the body is not JSON: {reason} at character {(loc or [0])[0]}"))
        elif part == "body":
            violations += violations_from([{**detail, "loc": tuple(loc)}], model=model)
        else:
            found = violations_from([{**detail, "loc": ()}])
            violations += [Violation("", f"{part} parameter '{loc[0]}' {each.message}", each.hint) for each in found]
    return problem_response(_invalid(violations), request.scope)


def _body_model(route: object) -> type[BaseModel] | None:
    annotation = getattr(getattr(getattr(route, "body_field", None), "field_info", None), "annotation", None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _invalid(violations: Iterable[Violation]) -> InvalidArgument:
    listed = list(violations)
    first = f"{listed[0].pointer} {listed[0].message}".strip() if listed else "the input is not valid"
    more = f", and {len(listed) - 1} more" if len(listed) > 1 else ""
    return InvalidArgument(first + more, violations=listed)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    status, path = error.status_code, request.scope.get("path", "")
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    code = HTTP_CODES.get(status, "invalid_argument" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal")
    detail, hint = str(error.detail), ""
    if status == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is nothing at {path}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = _allowed(request, headers.get("allow", ""))
        detail, hint = f"{request.method} is not possible at {path}", f"possible: {headers['allow']}"
    if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        return Response(status_code=status, headers=headers)
    document = problem_document(
        status=status, code=code, detail=detail, instance=path, hint=hint, request_id=current_request_id()
    )
    return _response(document, headers)


def _allowed(request: Request, told: str) -> str:
    """The methods of every route that the path leads to. The one that refused `told` its own only."""
    methods = {method.strip() for method in told.split(",") if method.strip()}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


async def _on_defect(request: Request, error: Exception) -> Response:
    _log.error("request failed", code="internal", exc_info=error)
    return problem_response(defect(), request.scope)
