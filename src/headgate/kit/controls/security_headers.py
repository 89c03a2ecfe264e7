"""The headers that keep browsers safe from an answer, precomputed: adding them costs one list extension.

After OWASP's HTTP Headers Cheat Sheet and REST Security Cheat Sheet. An application's own header wins over
ours of the same name, except that `Server` and `X-Powered-By` are always taken out.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from headgate.kit.controls.call import OVER_HTTP, Call, Control, MutableHeaders, Protocol

STRICT_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'{cdn}; style-src 'self' 'unsafe-inline'{cdn}; "
    "img-src 'self' data:{images}; font-src 'self' data:{cdn}; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CDN: Final = " https://cdn.jsdelivr.net"
_IMAGES: Final = " https://fastapi.tiangolo.com https://cdn.jsdelivr.net"
_ALWAYS: Final = (
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), camera=(), microphone=()"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
_HSTS: Final = b"strict-transport-security"
_TELLTALES: Final = frozenset((b"server", b"x-powered-by"))

Block = tuple[tuple[bytes, bytes], ...]


class SecurityHeaders(Control):
    """Adds the headers. `docs` are paths whose pages need scripts: they get a wider policy, with CDNs in debug."""

    name: ClassVar[str] = "security_headers"
    protocols: ClassVar[frozenset[Protocol]] = OVER_HTTP

    def __init__(
        self,
        *,
        policy: str = "",
        hsts_max_age: int = 31_536_000,
        docs: Iterable[str] = (),
        debug: bool = False,
    ) -> None:
        strict = (*_ALWAYS, (b"content-security-policy", (policy or STRICT_POLICY).encode("latin-1")))
        wide = DOCS_POLICY.format(cdn=_CDN if debug else "", images=_IMAGES if debug else "")
        relaxed = (*_ALWAYS, (b"content-security-policy", (policy or wide).encode("latin-1")))
        hsts: Block = ((_HSTS, f"max-age={hsts_max_age}; includeSubDomains".encode()),) if hsts_max_age else ()
        self._strict = {"http": strict, "https": (*strict, *hsts)}
        self._relaxed = {"http": relaxed, "https": (*relaxed, *hsts)}
        self._docs = tuple(f"{path.rstrip('/')}/" for path in docs)
        self._names = frozenset(name for name, _ in (*strict, (_HSTS, b""))) | _TELLTALES

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Add what the application did not set itself."""
        blocks = self._relaxed if self._docs and f"{call.path}/".startswith(self._docs) else self._strict
        block = blocks.get(call.scheme, blocks["http"])
        if self._names.isdisjoint([name for name, _ in headers]):
            headers.extend(block)
            return
        headers[:] = [each for each in headers if each[0] not in _TELLTALES]
        present = {name for name, _ in headers}
        headers.extend(each for each in block if each[0] not in present)
