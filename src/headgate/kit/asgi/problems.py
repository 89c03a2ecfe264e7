"""Faults over HTTP: RFC 9457 problem documents, made in one place.

    {"type": "urn:headgate:problem:etag_mismatch", "title": "Etag mismatch", "status": 412,
     "detail": "...", "instance": "/api/v1/...", "code": "etag_mismatch", "request_id": "...",
     "hint": "...", "errors": [{"pointer": "/port", "message": "...", "hint": "..."}], "details": {...},
     "refused": true}

`hint`, `errors` and `details` are there when there is something to say; `refused` when the same may be sent again
because none of it was done. `install` makes an application answer with these for faults, refused input, unknown paths
and methods, and defects (whose text stays in the log).
"""

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

import structlog
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ExceptionHandler, Scope

from headgate.kit.asgi.inputs import (
    HTTP_CODES,
    broken_json,
    fault_of,
    invalid,
    not_json,
    not_this_type,
    of_details,
    of_status,
)
from headgate.kit.controls.faults import Fault, Internal, Violation
from headgate.kit.controls.retry import is_transient
from headgate.kit.controls.validation import violations_from
from headgate.kit.current import current_call
from headgate.kit.observe.logs import current_request_id

MEDIA_TYPE: Final = "application/problem+json"


class Rendered(NamedTuple):
    """An answer ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


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
    "message_too_large": 413,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "storage_full": 507,
    "unsupported_media_type": 415,
}
"""Codes for which HTTP has a status of its own, closer than that of their kind."""

TOLD: Final = "told"
"""Under this name a call keeps the exception which the log has been told of."""

_DEFECTS: Final = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS"))
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
    details: Mapping[str, Any] | None = None,
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
    if details:
        document["details"] = details
    return document


def rendered(fault: Fault, path: str, request_id: str) -> Rendered:
    """A fault as a problem: its status, headers (`Retry-After` and `WWW-Authenticate` where they belong) and body."""
    status = status_of(fault)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if fault.retry_after is not None:
        headers.append((b"retry-after", str(max(0, math.ceil(fault.retry_after))).encode()))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Rendered(status, headers, encoded(fault_document(fault, path, request_id)))


def fault_document(fault: Fault, path: str, request_id: str) -> dict[str, Any]:
    """The problem that a fault becomes."""
    document = problem_document(
        status=status_of(fault),
        code=fault.code,
        detail=fault.message,
        instance=path,
        hint=fault.hint,
        violations=fault.violations,
        request_id=request_id,
        details=fault.details,
    )
    if fault.refused and is_transient(fault):
        document["refused"] = True
    return document


def http_problem(status: int, detail: str, headers: Mapping[str, str], method: str, path: str) -> Rendered:
    """The problem for a refusal of a framework's own, such as an unknown path.

    `headers` are those of its exception, their names in lower case; `Allow` says which methods there are.
    """
    code = HTTP_CODES.get(status, "invalid_argument" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal")
    hint = ""
    if status == HTTPStatus.NOT_FOUND and detail in {HTTPStatus.NOT_FOUND.phrase, ""}:
        detail = f"there is nothing at {path}"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        # HEAD and OPTIONS come and go with the framework.
        named = sorted(set(headers.get("allow", "").split(", ")) - {"HEAD", "OPTIONS", ""})
        detail, hint = f"{method} is not possible at {path}", f"possible: {', '.join(named)}" if named else ""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        return Rendered(status, pairs, b"")
    pairs += [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    document = problem_document(
        status=status, code=code, detail=detail, instance=path, hint=hint, request_id=current_request_id()
    )
    return Rendered(status, pairs, encoded(document))


def answering(fault: Fault) -> None:
    """Note on the call, unless its answer has begun, that the application answers it with this fault."""
    call = current_call()
    if call is not None and not call.status:
        call.fault, call.code = fault, fault.kind


def problem_response(fault: Fault, scope: Scope) -> Response:
    """The response a fault becomes."""
    answering(fault)
    return _response(rendered(fault, scope.get("path", ""), current_request_id()))


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as JSON."""
    # ASCII with escapes: a lone surrogate out of the input cannot be encoded otherwise.
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _response(made: Rendered) -> Response:
    response = Response(made.body, status_code=made.status)
    response.raw_headers += made.headers
    return response


def defect() -> Fault:
    """What the caller is told of an error nobody foresaw."""
    return Internal("something went wrong here", hint="the request id finds the reason in the server's log")


def tell(fault: Fault, error: BaseException | None) -> None:
    """Log what went wrong: a defect with its traceback, a refusal when there is more to it than its caller learns."""
    call = current_call()
    if call is not None:
        call.keep(TOLD, error)
    shown: dict[str, Any] = {"reason": fault.message, "internal": fault.internal} if error is fault else {}
    if fault.kind in _DEFECTS:
        _log.error("request failed", code=fault.code, exc_info=error, **shown)
    elif status_of(fault) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", code=fault.code, **shown)
    elif fault.internal:
        _log.info("request refused", code=fault.code, **shown)


def install(app: Starlette) -> None:
    """Make `app` (Starlette or FastAPI) answer every error with a problem. Handlers of the application's own stay."""
    handlers: dict[Any, Any] = {
        Fault: _on_fault,
        ValidationError: _on_fault,
        json.JSONDecodeError: _on_undecodable,
        UnicodeDecodeError: _on_undecodable,
        HTTPException: _on_http_exception,
        Exception: _on_defect,
    }
    if any(base.__module__.partition(".")[0] == "fastapi" for base in type(app).__mro__):
        from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError

        handlers[RequestValidationError] = _on_request_validation_error
        handlers[WebSocketRequestValidationError] = _on_request_validation_error
    for exception, handler in handlers.items():
        present = app.exception_handlers.get(exception)
        if present is None or present.__module__.partition(".")[0] in {"fastapi", "starlette"}:
            app.add_exception_handler(exception, cast("ExceptionHandler", handler))
    app.debug = False  # its pages show tracebacks
    app.middleware_stack = None


async def _on_fault(request: Request, error: Exception) -> Response:
    fault = fault_of(error) or defect()
    if request.scope["type"] != "http":
        raise fault from error
    tell(fault, error)
    return problem_response(fault, request.scope)


async def _on_undecodable(request: Request, error: json.JSONDecodeError | UnicodeDecodeError) -> Response:
    """What cannot be decoded is the caller's fault only if it is what the caller sent."""
    body = getattr(request, "_body", None)
    text = error.object if isinstance(error, UnicodeDecodeError) else error.doc.encode("utf-8", "surrogatepass")
    if not isinstance(body, bytes) or text != body:
        raise error
    return problem_response(not_json(body), request.scope)


async def _on_request_validation_error(request: Request, error: Any) -> Response:
    """FastAPI's errors: `loc` starts with the part of the request it speaks of."""
    fault = _request_fault(request, error)
    if request.scope["type"] != "http":
        raise fault from error
    return problem_response(fault, request.scope)


def _request_fault(request: Request, error: Any) -> Fault:
    model = _body_model(request.scope.get("route"))
    body = getattr(error, "body", None)
    violations: list[Violation] = []
    for detail in error.errors():
        part, *loc = detail["loc"] or ("body",)
        if detail["type"] == "json_invalid":
            reason = (detail.get("ctx") or {}).get("error", "malformed")
            return broken_json(f"{reason} at character {(loc or [0])[0]}")
        if part == "body":
            if not loc and isinstance(body, bytes):  # FastAPI decodes JSON only
                return not_this_type(request.headers.get("content-type", ""))
            violations += of_details([{**detail, "loc": tuple(loc)}], model).violations
        else:
            found = violations_from([{**detail, "loc": ()}])
            violations += [Violation("", f"{part} parameter '{loc[0]}' {each.message}", each.hint) for each in found]
    return invalid(violations)


def _body_model(route: object) -> type[BaseModel] | None:
    annotation = getattr(getattr(getattr(route, "body_field", None), "field_info", None), "annotation", None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    if request.scope["type"] != "http":
        raise of_status(error.status_code, str(error.detail)) from error
    if isinstance(error.__cause__, UnicodeDecodeError | RecursionError):  # FastAPI's way with a body it cannot decode
        return problem_response(not_json(getattr(error.__cause__, "object", None)), request.scope)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = _allowed(request, headers.get("allow", ""))
    path = request.scope.get("path", "")
    return _response(http_problem(error.status_code, str(error.detail), headers, request.method, path))


def _allowed(request: Request, told: str) -> str:
    """The methods of every route that the path leads to. The one that refused `told` its own only."""
    methods = {method.strip() for method in told.split(",") if method.strip()}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


async def _on_defect(request: Request, error: Exception) -> Response:
    """Starlette raises the error again once this is sent; the shell knows that it was told."""
    fault = fault_of(error) or defect()
    tell(fault, error)
    return problem_response(fault, request.scope)
