"""Replay of imported operations: every one is asked through a gateway, and an `Echo` says what arrived.

    exchanges = [exchange(operation, host="shop.test") for operation in report["operations"] if operation["routed"]]
    failures = await replay("127.0.0.1", 10000, exchanges)

What is sent is worked out from the path as the document has it, the way a client would: variables filled
in, the rest percent-encoded. The route that took a request is read from the response header `x-route`, which
the route config must set to `%ROUTE_NAME%` (see `ROUTE_HEADER`).
"""

import asyncio
import json
import posixpath
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

ROUTE_HEADER: Final = {"set": [{"name": "x-route", "value": "%ROUTE_NAME%"}]}
"""`response_headers` of the route config under test."""

_SAFE: Final = "/!$&'()*+,;=:@-._~%"
_QUERY_SAFE: Final = _SAFE + "?"
_UNRESERVED: Final = {f"%{ord(letter):02X}": letter for letter in string.ascii_letters + string.digits + "-._~"}
_LONGEST: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, the route that must take it, and the path and query that must arrive."""

    method: str
    host: str
    path: str
    query: str
    route: str
    arriving_path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exchange that went otherwise, and how."""

    exchange: Exchange
    how: str


def exchange(operation: Mapping[str, Any], *, host: str) -> Exchange:
    """A request for an operation that an import report calls routed."""
    key = re.split(r"[?#](?![^{]*\})", operation["path"])[0]
    own = normalised("/" + _filled(re.sub(r"\{[?&][^{}]*\}", "", key)).removeprefix("/"))
    # What stands in front of the document's path at either end: base path, mount, path of the upstream.
    depth = own.count("/")
    above = "/".join(_filled(operation["gateway_path"]).split("/")[:-depth])
    above_arriving = "/".join(_filled(operation["upstream_path"]).split("/")[:-depth])
    conditions = operation["conditions"]
    query = [f"{part['name']}={part['value'] or 'zq'}" for part in conditions if part["where"] == "query"]
    headers = {part["name"]: part["value"] or "zq" for part in conditions if part["where"] == "header"}
    if operation["method"] == "QUERY":
        headers.setdefault("content-type", "text/plain")
    return Exchange(
        operation["method"],
        host,
        above + own,
        "&".join([*query, "sample=%20x"]),
        operation["route"],
        above_arriving + own,
        headers,
    )


def _filled(path: str) -> str:
    numbers = iter(range(1, 1000))
    filled = re.sub(r"\{(?:[^{}]|\{[^{}]*\})*\}", lambda _: f"zq{next(numbers)}", path)
    return quote(filled, safe=_SAFE)


def normalised(path: str) -> str:
    """The path as Envoy passes it on: dot segments resolved, slashes merged, unreserved characters decoded."""
    path = re.sub(r"%[0-9A-Fa-f]{2}", lambda found: _UNRESERVED.get(found.group().upper(), found.group()), path)
    bare = posixpath.normpath(re.sub(r"/{2,}", "/", path))
    ends = path.endswith(("/", "/.", "/.."))
    return bare + "/" if ends and bare != "/" else bare


async def replay(host: str, port: int, exchanges: Sequence[Exchange], *, connections: int = 8) -> list[Failure]:
    """Send every request over a few connections that are kept alive; return those that went wrong."""
    waiting = list(reversed(exchanges))
    failures: list[Failure] = []

    async def work() -> None:
        line = _Line(host, port)
        try:
            while waiting:
                wanted = waiting.pop()
                how = await line.ask(wanted)
                if how:
                    failures.append(Failure(wanted, how))
        finally:
            line.close()

    await asyncio.gather(*(work() for _ in range(min(connections, len(exchanges)))))
    return failures


class _Line:
    """One connection, opened again when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._writer = self._reader = None

    async def ask(self, wanted: Exchange) -> str:
        """What went wrong; "" when nothing did."""
        try:
            async with asyncio.timeout(15):
                status, headers, body = await self._send(wanted)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.close()
            return f"no answer: {type(error).__name__} {error}"
        if headers.get("connection", "").lower() == "close":
            self.close()
        if status != 200:
            return f"status {status} {headers.get('x-route', '')}"
        return _difference(wanted, headers, body)

    async def _send(self, wanted: Exchange) -> tuple[int, dict[str, str], bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address, limit=_LONGEST)
        target = wanted.path + (f"?{wanted.query}" if wanted.query else "")
        fields = {"host": wanted.host, "content-length": "0", **wanted.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"{wanted.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)}
        size = 0 if wanted.method == "HEAD" else int(headers.get("content-length", "0"))
        return int(line.split(" ")[1]), headers, await self._reader.readexactly(size)


def _difference(wanted: Exchange, headers: Mapping[str, str], body: bytes) -> str:
    if headers.get("x-route") != wanted.route:
        return f"taken by the route '{headers.get('x-route')}'"
    seen = json.loads(body) if body else {name: headers.get(f"x-echo-{name}") for name in ("method", "path", "query")}
    arrived = (seen["method"], seen["path"], seen["query"])
    hoped = (wanted.method, wanted.arriving_path, wanted.query)
    return "" if arrived == hoped else f"arrived as {arrived}, not {hoped}"
