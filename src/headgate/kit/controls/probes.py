"""Is it alive, is it ready, how is it doing: answers to probes and scrapers, before anything else is asked.

    GET /health   200 {"status": "ok"} while the process can answer at all        (also /healthz)
    GET /ready    200 or 503 {"status": "ready" | "not ready" | "draining", "checks": {...}}   (also /readyz)
    GET /metrics  Prometheus; needs the scraper's token or the scope metrics:read, unless public

What the application itself serves at these paths is not reached; a service with probes of its own switches
this control off.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from headgate.kit.controls.call import Answer, Call, Control, Protocol
from headgate.kit.controls.faults import PermissionDenied, Unauthenticated

LIVE: Final = frozenset(("/health", "/healthz"))
READY: Final = frozenset(("/ready", "/readyz"))
SCOPE: Final = "metrics:read"
"""What a principal needs to read the metrics."""

Report = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
Render = Callable[[str], Awaitable[tuple[bytes, str]]]

_JSON: Final = ((b"content-type", b"application/json"),)
_ALIVE: Final = Answer(200, _JSON, b'{"status":"ok"}')
_READS: Final = frozenset(("GET", "HEAD"))


class Probes(Control):
    """`ready` runs the readiness checks; `metrics` renders the exposition for an `Accept` header.

    `scraper` tells whether a presented bearer token is the scraper's; `encode` makes JSON of a document. Without
    `live` only the metrics are answered.
    """

    name: ClassVar[str] = "probes"
    protocols: ClassVar[frozenset[Protocol]] = frozenset(("http",))

    def __init__(
        self,
        ready: Report,
        encode: Callable[[Any], bytes],
        *,
        live: bool = True,
        metrics: Render | None = None,
        metrics_path: str = "/metrics",
        metrics_public: bool = False,
        scraper: Callable[[str], bool] = lambda _token: False,
    ) -> None:
        self._ready = ready
        self._encode = encode
        self._metrics = metrics or _no_figures
        self._public = metrics_public
        self._scraper = scraper
        self._metrics_path = metrics_path
        self._mine = (LIVE | READY if live else frozenset()) | (frozenset((metrics_path,)) if metrics else frozenset())

    def admit(self, call: Call) -> Answer | Awaitable[Answer] | None:
        """Answer a probe; let everything else pass."""
        path = call.path
        if path not in self._mine or call.method not in _READS:
            return None
        call.route = path
        if path == self._metrics_path:
            return self._exposition(call)
        return _ALIVE if path in LIVE else self._readiness()

    async def _readiness(self) -> Answer:
        passed, document = await self._ready()
        return Answer(200 if passed else 503, _JSON, self._encode(document))

    def _exposition(self, call: Call) -> Awaitable[Answer]:
        """Refuse strangers at once; the figures take a while."""
        scheme, _, token = call.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        is_scraper = self._public or (scheme.lower() == "bearer" and self._scraper(token.strip()))
        if not is_scraper and not call.principal:
            raise Unauthenticated(
                "the metrics need a token", code="no_credentials", hint="send the bearer token in metrics_token"
            )
        if not is_scraper and not call.principal.may(SCOPE):
            raise PermissionDenied(
                f"this needs the scope '{SCOPE}'", code="missing_scope", hint=f"use credentials with '{SCOPE}'"
            )
        return self._figures(call.headers.get(b"accept", b"").decode("latin-1"))

    async def _figures(self, accept: str) -> Answer:
        body, content_type = await self._metrics(accept)
        return Answer(200, ((b"content-type", content_type.encode()),), body)


async def _no_figures(_accept: str) -> tuple[bytes, str]:
    return b"", "text/plain"
