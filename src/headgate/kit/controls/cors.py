"""Cross-origin callers: which browsers' pages may call, and how. Same-origin only unless told otherwise.

Without allowed origins no CORS header is ever sent, so browsers keep other sites out. WebSockets know no
CORS: their `Origin` is compared with the host instead. Source: the Fetch standard, section 3.2.

Starlette's middleware would leave refusals made before it without these headers, and browsers could not read
them; that is why this is a control of its own.
"""

from collections.abc import Collection, Iterable
from typing import ClassVar, Final

from headgate.kit.controls.call import Answer, Call, Control, MutableHeaders, Protocol
from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.controls.hosts import without_port

SAFE_HEADERS: Final = frozenset(("accept", "accept-language", "content-language", "content-type", "range"))
RPC_HEADERS: Final = frozenset(("x-grpc-web", "x-user-agent", "grpc-timeout", "connect-protocol-version"))
RPC_TIMEOUT: Final = "connect-timeout-ms"
EXPOSED: Final = b"x-request-id, retry-after, ratelimit, ratelimit-policy, grpc-status, grpc-message"
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def origin_host(origin: str) -> str:
    """The host in an origin such as `https://shop.example:8443`, without its port."""
    return without_port(origin.partition("://")[2])


class Origins:
    """A set of origins: exact ones, `*` for any, and loopback ones at any port when `loopback`."""

    def __init__(self, allowed: Iterable[str], *, loopback: bool = False) -> None:
        self._exact = frozenset(each.rstrip("/").lower() for each in allowed)
        self.any = "*" in self._exact
        self._loopback = loopback

    def __bool__(self) -> bool:
        return bool(self._exact) or self._loopback

    def __contains__(self, origin: str) -> bool:
        origin = origin.lower()
        return self.any or origin in self._exact or (self._loopback and origin_host(origin) in _LOOPBACK)


class Cors(Control):
    """Answers preflights and marks answers. Only for services with allowed origins."""

    name: ClassVar[str] = "cors"
    protocols: ClassVar[frozenset[Protocol]] = frozenset(("http", "grpc-web", "connect"))

    def __init__(
        self,
        origins: Origins,
        *,
        methods: Collection[str],
        headers: Iterable[str],
        credentials: bool = False,
        max_age: int = 600,
        rpc: bool = True,
    ) -> None:
        self._origins = origins
        self._any_method = "*" in methods
        self._methods = tuple(dict.fromkeys((*(each.upper() for each in methods), *(("POST",) if rpc else ()))))
        given = tuple(each.lower() for each in headers)
        self._any_header = "*" in given
        extra = (*sorted(RPC_HEADERS), RPC_TIMEOUT) if rpc else ()
        self._headers = frozenset(given) | SAFE_HEADERS | frozenset(extra)
        self._always = (
            (b"access-control-expose-headers", EXPOSED),
            *(((b"access-control-allow-credentials", b"true"),) if credentials else ()),
        )
        self._listed = ", ".join(self._methods).encode()
        self._max_age = (b"access-control-max-age", str(max_age).encode())
        self._allowed = ", ".join(sorted(self._headers)).encode()
        self._one_for_all = origins.any and not credentials

    def admit(self, call: Call) -> Answer | None:
        """Answer a preflight; anything else goes on, for the browser itself enforces the rest."""
        wanted = call.headers.get(b"access-control-request-method")
        if call.method != "OPTIONS" or wanted is None or b"origin" not in call.headers:
            return None
        if self._origin(call) is None:
            raise _refused("this origin may not call from a browser", "add it to cors_allowed_origins")
        if not self._any_method and wanted.decode("latin-1") not in self._methods:
            raise _refused("this method may not be used from another origin", "add it to cors_allowed_methods")
        # With credentials, browsers take `*` for a name: what was asked for is spelled out.
        methods = (b"access-control-allow-methods", wanted if self._any_method else self._listed)
        return Answer(204, (methods, self._max_age, (b"access-control-allow-headers", self._allowed_headers(call))))

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Tell the browser that the page may read the answer."""
        if not self._one_for_all:
            _vary_by_origin(headers)
        origin = self._origin(call)
        if origin is None or any(name == b"access-control-allow-origin" for name, _ in headers):
            return
        headers.append((b"access-control-allow-origin", b"*" if self._one_for_all else origin))
        headers.extend(self._always)

    def _origin(self, call: Call) -> bytes | None:
        origin = call.headers.get(b"origin")
        return origin if origin is not None and origin.decode("latin-1") in self._origins else None

    def _allowed_headers(self, call: Call) -> bytes:
        asked = call.headers.get(b"access-control-request-headers", b"")
        if self._any_header:
            return asked or self._allowed
        names = [name.strip() for name in asked.decode("latin-1").lower().split(",")]
        if not all(name in self._headers for name in names if name):
            raise _refused("this header may not be sent from another origin", "add it to cors_allowed_headers")
        return self._allowed


class SocketOrigins(Control):
    """Keeps pages of other sites from opening WebSockets with the visitor's cookies. No `Origin` is no browser."""

    name: ClassVar[str] = "cors"
    protocols: ClassVar[frozenset[Protocol]] = frozenset(("websocket",))

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def admit(self, call: Call) -> None:
        """Refuse a page from elsewhere."""
        origin = call.headers.get(b"origin")
        if origin is None:
            return
        text = origin.decode("latin-1").lower()
        authority = text.partition("://")[2]
        if authority and authority == call.headers.get(b"host", b"").decode("latin-1").lower():
            return
        if text not in self._origins:
            raise _refused("this origin may not open a WebSocket here", "add it to cors_allowed_origins")


def _refused(message: str, hint: str) -> PermissionDenied:
    return PermissionDenied(message, code="origin_not_allowed", hint=hint)


def _vary_by_origin(headers: MutableHeaders) -> None:
    for position, (name, value) in enumerate(headers):
        if name == b"vary":
            if {b"origin", b"*"}.isdisjoint(each.strip() for each in value.lower().split(b",")):
                headers[position] = (name, value + b", Origin")
            return
    headers.append((b"vary", b"Origin"))
