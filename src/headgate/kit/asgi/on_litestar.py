"""Litestar's errors as problems, and its logs where those of everybody else are.

Litestar configures logging for itself when it is made, and takes the root logger with it; that is undone. On a
WebSocket an exception is left in the scope for the shell: Litestar would close the socket with its text.
"""

import atexit
import logging
import re
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.enums import RequestEncodingType, ScopeType
from litestar.exceptions import HTTPException, SerializationException, ValidationException, WebSocketException
from litestar.params import BodyKwarg
from litestar.utils.scope.state import ScopeState
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from headgate.kit.asgi.inputs import (
    REQUIRED,
    fault_of,
    invalid,
    is_json,
    msgspec_violation,
    not_json,
    not_this_type,
    of_details,
    plain,
    what_breaks,
)
from headgate.kit.asgi.problems import Rendered, answering, defect, http_problem, rendered, tell
from headgate.kit.asgi.sockets import FAILURE
from headgate.kit.controls.faults import Fault, Violation
from headgate.kit.observe.logs import current_request_id, restore_logs

_PARAMETERS: Final = frozenset(("query", "path", "header", "cookie"))
_KEY_ERROR: Final = re.compile(r"^'(?P<name>.*)'$")


def install(app: Litestar) -> None:
    """Make `app` answer every error with a problem. Its own exception handlers stay."""
    handlers: Any = app.exception_handlers
    if getattr(handlers.get(StarletteHTTPException), "__module__", "litestar").startswith("litestar"):
        handlers[StarletteHTTPException] = _on_exception
    handlers.setdefault(HTTPException, _on_exception)
    handlers.setdefault(Exception, _on_exception)
    if _leave not in app.after_exception:
        app.after_exception.append(_leave)
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            _check_type(handler)
    _release_loggers(app)


def _release_loggers(app: Litestar) -> None:
    config: Any = app.logging_config
    if config is None:
        return
    app.logging_config = None
    names = {*getattr(config, "handlers", ())}
    loggers = (logging.getLogger(), logging.getLogger("litestar"))
    for handler in {handler for logger in loggers for handler in logger.handlers if handler.name in names}:
        for logger in loggers:
            logger.removeHandler(handler)
        listener = getattr(handler, "listener", None)
        if listener is not None:  # its thread, which Litestar would stop when the process ends
            atexit.unregister(listener.stop)
            listener.stop()
    logging.getLogger("litestar").propagate = True
    restore_logs()


def _check_type(handler: Any) -> None:
    """Have a handler that takes JSON refuse what claims to be something else."""
    field = getattr(handler, "parsed_data_field", None)
    if field is None or getattr(handler.before_request, "__module__", "") == __name__:
        return
    kwarg = field.kwarg_definition
    if isinstance(kwarg, BodyKwarg) and kwarg.media_type != RequestEncodingType.JSON:
        return
    before = [layer.before_request for layer in handler.ownership_layers if getattr(layer, "before_request", None)]
    inner = before[-1] if before else None

    async def check(request: Request[Any, Any, Any]) -> Any:
        kind = request.headers.get("content-type", "")
        if not is_json(kind) and await request.body():
            raise not_this_type(kind)
        return await inner(request) if inner is not None else None

    handler.before_request = check


def _on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    path = request.scope["path"]
    fault = _fault(request, error)
    if fault is None and isinstance(error, HTTPException | StarletteHTTPException) and not _hides(error):
        return _response(_http(request, error))
    fault = fault or defect()
    answering(fault)
    tell(fault, error)
    return _response(rendered(fault, path, current_request_id()))


def _hides(error: Exception) -> bool:
    """Whether this is a defect that Litestar made an exception of HTTP of: its text is not for callers."""
    return getattr(error, "status_code", 0) == HTTPStatus.INTERNAL_SERVER_ERROR and type(error) not in {
        HTTPException,
        StarletteHTTPException,
    }


def _http(request: Request[Any, Any, Any], error: HTTPException | StarletteHTTPException) -> Rendered:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    return http_problem(error.status_code, str(error.detail), headers, request.method, request.scope["path"])


def _fault(request: Request[Any, Any, Any], error: Exception) -> Fault | None:
    cause = error.__cause__
    if isinstance(error, ValidationException):
        return _validation_fault(request, error)
    body = ScopeState.from_scope(request.scope).body
    if isinstance(cause, SerializationException):
        return not_json(body)
    if isinstance(error, SerializationException) and isinstance(body, bytes) and body and what_breaks(body):
        return not_json(body)  # read outside the handler, as Sentry's integration does
    if isinstance(error, HTTPException | StarletteHTTPException):
        return None
    return fault_of(error)


def _validation_fault(request: Request[Any, Any, Any], error: ValidationException) -> Fault | None:
    details = getattr(error.__cause__, "errors", None)
    if isinstance(details, list):
        return of_details(details, _model(request))
    if not isinstance(error.extra, list):
        return None
    return invalid(_violation(each) for each in error.extra)


def _violation(extra: Any) -> Violation:
    message, key, source = str(extra.get("message", "")), str(extra.get("key", "")), str(extra.get("source", ""))
    source = getattr(extra.get("source"), "value", source)
    missing = _KEY_ERROR.match(message)
    if source in _PARAMETERS:
        said = "is required" if missing else plain(message)
        return Violation("", f"{source} parameter '{key}' {said}")
    if missing and key == "data":
        return REQUIRED
    if missing:
        return Violation("", f"parameter '{key}' is required")
    path = "" if key == "data" else "." + key.removeprefix("data.")
    return msgspec_violation(message, path)


def _model(request: Request[Any, Any, Any]) -> type[BaseModel] | None:
    annotation = getattr(getattr(request.scope.get("route_handler"), "parsed_data_field", None), "annotation", None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


async def _leave(error: Exception, scope: Any) -> None:
    """What a socket failed with. A handler that closes it with a code of its own is no failure."""
    if scope["type"] == ScopeType.WEBSOCKET and not isinstance(error, WebSocketException):
        scope[FAILURE] = error


def _response(made: Rendered) -> Response[Any]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in made.headers}
    media_type = headers.pop("content-type", None)
    return Response(made.body, status_code=made.status, headers=headers, media_type=media_type)
