"""Messages of the Model Context Protocol as they come in a POST: read, checked against their headers, answered.

    message = read(body, headers)           # raises RefusedError, which is an answer too
    message.result({"tools": []})           # bytes

Two eras are spoken. Since 2026-07-28 every request carries its version and stands alone; before, clients said
`initialize` first, which needs no session here.

    RefusedError
    ├── -32700   no JSON
    ├── -32600   no request of JSON-RPC, or several
    ├── -32601   no such method
    ├── -32602   parameters that are not what the method takes
    ├── -32020   headers that say other things than the message
    └── -32022   a version that is not spoken here

Source: MCP 2026-07-28, base protocol and streamable HTTP; MCP 2025-11-25, lifecycle and transports; JSON-RPC 2.0.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MODERN: Final = ("2026-07-28",)
LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
VERSIONS: Final = (*MODERN, *LEGACY)

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

_META: Final = "io.modelcontextprotocol/"
_VERSION: Final = f"{_META}protocolVersion"
_CAPABILITIES: Final = f"{_META}clientCapabilities"
_SENTINEL: Final = ("=?base64?", "?=")
_LONGEST_SHOWN: Final = 64


class RefusedError(Exception):
    """A message that cannot be served: the answer's status and its error."""

    def __init__(self, status: int, code: int, message: str, *, about: Any = None, data: Any = None) -> None:
        super().__init__(message)
        self.status = status
        error = {"code": code, "message": message, **({"data": data} if data is not None else {})}
        answer = {"jsonrpc": "2.0", **({"id": about} if about is not None else {}), "error": error}
        self.body = msgspec.json.encode(answer)


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification when `id` is None."""

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    is_modern: bool

    def result(self, result: Mapping[str, Any], server: Mapping[str, Any], *, cacheable: int | None = None) -> bytes:
        """The answer. `cacheable` is for how many milliseconds it holds good; None for what is no list."""
        found = dict(result)
        if self.is_modern:
            found = {"resultType": "complete", **found, "_meta": {f"{_META}serverInfo": server}}
            if cacheable is not None:
                found |= {"ttlMs": cacheable, "cacheScope": "public"}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self.id, "result": found})

    def unknown(self) -> RefusedError:
        """The answer when there is no such method."""
        message = f"there is no method '{self.method[:_LONGEST_SHOWN]}'"
        return RefusedError(404 if self.is_modern else 200, METHOD_NOT_FOUND, message, about=self.id)

    def wrong(self, message: str, data: Any = None) -> RefusedError:
        """The answer when the parameters are not what the method takes."""
        return RefusedError(200, INVALID_PARAMS, message, about=self.id, data=data)


def read(body: bytes, headers: Mapping[bytes, bytes]) -> Message:
    """The message in a body. Raises RefusedError."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, PARSE_ERROR, f"the body is no JSON: {error}") from error
    if not isinstance(said, dict) or said.get("jsonrpc") != "2.0" or not isinstance(said.get("method"), str):
        raise RefusedError(400, INVALID_REQUEST, "the body is one request of JSON-RPC 2.0")
    number, params = said.get("id"), said.get("params", {})
    if "id" in said and (not isinstance(number, str | int) or isinstance(number, bool)):
        raise RefusedError(400, INVALID_REQUEST, "an id is text or a whole number")
    if not isinstance(params, dict):
        raise RefusedError(400, INVALID_PARAMS, "'params' is an object", about=number)
    meta = params.get("_meta")
    version = meta.get(_VERSION) if isinstance(meta, dict) else None
    told = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
    message = Message(number, said["method"], params, version is not None or told in MODERN)
    if number is not None:
        _check(message, version, told, headers)
    return message


def _check(message: Message, version: Any, told: str, headers: Mapping[bytes, bytes]) -> None:
    if not message.is_modern:
        if told and told not in LEGACY and message.method != "initialize":
            raise _unsupported(message, told)
        return
    if version is None:
        raise RefusedError(400, INVALID_PARAMS, f"'_meta' lacks '{_VERSION}'", about=message.id)
    if told != version:
        raise _mismatch(message, "MCP-Protocol-Version", told, version)
    if version not in MODERN:
        raise _unsupported(message, version)
    if not isinstance(message.params["_meta"].get(_CAPABILITIES), dict):
        raise RefusedError(400, INVALID_PARAMS, f"'_meta' lacks '{_CAPABILITIES}'", about=message.id)
    named = headers.get(b"mcp-method", b"").decode("latin-1")
    if named != message.method:
        raise _mismatch(message, "Mcp-Method", named, message.method)
    if message.method == "tools/call":
        named = _decoded(message, headers.get(b"mcp-name", b"").decode("latin-1"))
        if named != message.params.get("name"):
            raise _mismatch(message, "Mcp-Name", named, message.params.get("name"))


def _decoded(message: Message, value: str) -> str:
    begin, end = _SENTINEL
    if not (value.startswith(begin) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value[len(begin) : -len(end)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusedError(400, HEADER_MISMATCH, "Mcp-Name is no Base64 of UTF-8", about=message.id) from error


def _mismatch(message: Message, header: str, told: str, said: Any) -> RefusedError:
    shown = str(said)[:_LONGEST_SHOWN]
    text = f"the header {header} says '{told[:_LONGEST_SHOWN]}', the message '{shown}'"
    return RefusedError(400, HEADER_MISMATCH, text, about=message.id)


def _unsupported(message: Message, version: str) -> RefusedError:
    data = {"supported": list(VERSIONS), "requested": str(version)[:_LONGEST_SHOWN]}
    return RefusedError(400, UNSUPPORTED_VERSION, "this version is not spoken here", about=message.id, data=data)
