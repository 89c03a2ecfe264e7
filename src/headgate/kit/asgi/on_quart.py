"""Quart's errors as problems, never as pages of HTML.

Unforeseen exceptions are caught here, with the others: what reaches Quart's own handling becomes a page. On a
WebSocket they are left in the scope for the shell, because Quart would close the socket as if all were well.
"""

import json
from http import HTTPStatus
from typing import Any, Final, cast

from quart import Quart, Request, Response, has_websocket_context, request, websocket
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from headgate.kit.asgi.inputs import fault_of, is_json, not_json, not_this_type
from headgate.kit.asgi.problems import Rendered, answering, defect, http_problem, rendered, tell
from headgate.kit.asgi.sockets import FAILURE
from headgate.kit.controls.faults import Fault
from headgate.kit.observe.logs import current_request_id

_THEIR_TIMEOUT: Final = 60


def install(app: Quart) -> None:
    """Make `app` answer every error with a problem. Its own error handlers stay."""
    handlers: Any = app.error_handler_spec[None][None]
    handlers.setdefault(HTTPException, _on_http_exception)
    handlers.setdefault(Exception, _on_exception)
    if app.config["PROPAGATE_EXCEPTIONS"] is None:
        app.config["PROPAGATE_EXCEPTIONS"] = False
    for name in ("BODY_TIMEOUT", "RESPONSE_TIMEOUT"):
        # These cut streams off without a word; the shell's deadlines are in their place.
        if app.config[name] == _THEIR_TIMEOUT:
            app.config[name] = None
    if app.request_class.get_json is Request.get_json:
        app.request_class = cast("type[Request]", type("CheckedRequest", (_Checked, app.request_class), {}))


class _Checked(Request):
    """Tells a body that is not JSON apart from no body at all."""

    async def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        if not (force or silent or is_json(self.mimetype)) and await self.get_data(cache=True):
            raise not_this_type(self.mimetype)
        return await super().get_json(force=force, silent=silent, cache=cache)

    def on_json_loading_failed(self, error: Exception | None) -> Any:
        raise not_json(error.doc if isinstance(error, json.JSONDecodeError) else None)


async def _on_http_exception(error: HTTPException) -> Any:
    if has_websocket_context():
        return _leave(error)
    original = getattr(error, "original_exception", None)
    if original is not None:
        return await _on_exception(original)
    if error.response is not None:
        return error.response
    described = error.description if error.description != type(error).description else None
    status = error.code or 500
    detail = described or (HTTPStatus(status).phrase if status in set(HTTPStatus) else "refused")
    headers = {
        name.lower(): value for name, value in error.get_headers() if name.lower() not in {"content-type", "allow"}
    }
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["allow"] = ", ".join(sorted(error.valid_methods))
    return _response(http_problem(status, detail, headers, request.method, request.scope["path"]))


async def _on_exception(error: Exception) -> Any:
    if has_websocket_context():
        return _leave(error)
    fault = fault_of(error) or _decoding_fault(error, await request.get_data(as_text=False)) or defect()
    answering(fault)
    tell(fault, error)
    return _response(rendered(fault, request.scope["path"], current_request_id()))


def _decoding_fault(error: Exception, body: str | bytes) -> Fault | None:
    """The fault for JSON that the application failed to decode itself, when it is the caller's."""
    if isinstance(error, UnicodeDecodeError) and error.object == body:
        return not_json(body)
    if isinstance(error, json.JSONDecodeError) and error.doc.encode("utf-8", "surrogatepass") == body:
        return not_json(body)
    return None


def _leave(error: Exception) -> None:
    scope: Any = websocket.scope
    scope[FAILURE] = error


def _response(made: Rendered) -> Response:
    response = Response(made.body, status=made.status)
    response.headers.clear()
    for name, value in made.headers:
        response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    response.headers["content-length"] = str(len(made.body))
    return response
