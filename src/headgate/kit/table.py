"""The table of controls: which there are, in which order, and what switches each on.

One line each. A line makes its control from settings and parts, or None when these leave it out; settings
without the group of a control leave it out, too. The order matters twice: controls identify in it, then admit
in it. So limits stand behind those who find the principal and before those who refuse a stranger.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest
from random import getrandbits
from typing import Final

import orjson

from headgate.kit import policies
from headgate.kit.asgi.health import Health
from headgate.kit.controls.access import Access
from headgate.kit.controls.access_log import QUIET, AccessLog
from headgate.kit.controls.audit import Audit
from headgate.kit.controls.call import Control
from headgate.kit.controls.concurrency import Concurrency, Shedding
from headgate.kit.controls.cors import Cors, Origins, SocketOrigins
from headgate.kit.controls.deadlines import Deadlines
from headgate.kit.controls.docs import DocsGate
from headgate.kit.controls.hosts import TrustedHosts
from headgate.kit.controls.identity import Authenticator, Identity
from headgate.kit.controls.limits import RateLimit
from headgate.kit.controls.measure import Measure
from headgate.kit.controls.probes import LIVE, READY, Probes
from headgate.kit.controls.proxies import TrustedProxies
from headgate.kit.controls.rate import Rate, Store
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.controls.security_headers import SecurityHeaders
from headgate.kit.controls.trace import Trace
from headgate.kit.hardening import (
    DeadlineSettings,
    IdentitySettings,
    LimitSettings,
    ObserveSettings,
    SpendSettings,
    WebSettings,
)
from headgate.kit.observe.audit import AuditLog
from headgate.kit.observe.logs import AccessLines
from headgate.kit.observe.metrics import Metrics
from headgate.kit.observe.traces import Traces
from headgate.kit.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What controls need besides settings; a kit makes them.

    `rules` are scopes by path or RPC, `public` paths that need no identity, `report` tells of readiness.
    """

    health: Health
    metrics: Metrics
    store: Store
    audit: AuditLog | None = None
    traces: Traces | None = None
    authenticators: Sequence[Authenticator] = ()
    rules: Mapping[str, str | Iterable[str]] = field(default_factory=dict)
    public: Sequence[str] = ()


Entry = Callable[[Settings, Parts], Control | None]


def _measure(settings: Settings, parts: Parts) -> Control | None:
    return Measure(parts.metrics) if isinstance(settings, ObserveSettings) and settings.metrics_enabled else None


def _access_log(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, ObserveSettings) or not settings.access_log:
        return None
    quiet = QUIET | probe_paths(settings)
    return AccessLog(AccessLines(), quiet=quiet, mask=policies.redactor(settings).text)


def _trace(_settings: Settings, parts: Parts) -> Control | None:
    return Trace(parts.traces) if parts.traces is not None else None


def _audit(settings: Settings, parts: Parts) -> Control | None:
    if not isinstance(settings, ObserveSettings) or parts.audit is None:
        return None
    return Audit(
        parts.audit,
        calls=settings.audit_calls,
        required=settings.audit_required,
        quiet=QUIET | probe_paths(settings),
        mask=policies.redactor(settings).text,
    )


def _request_ids(_settings: Settings, _parts: Parts) -> Control:
    # An id need not be a secret: it is told to the caller.
    return RequestIds(lambda: f"{getrandbits(128):032x}")


def _proxies(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings) or not settings.trusted_proxies:
        return None
    return TrustedProxies(settings.trusted_proxies, settings.forwarded_header)


def _deadlines(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, DeadlineSettings):
        return None
    return Deadlines(
        first_byte=settings.request_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
        untimed=settings.untimed_paths,
        header=settings.timeout_header,
    )


def probe_paths(settings: Settings) -> frozenset[str]:
    """The paths that a kit with these settings answers itself, and that no limit or identity concerns."""
    if not isinstance(settings, ObserveSettings):
        return frozenset()
    probes = LIVE | READY if settings.probes else frozenset()
    return probes | ({settings.metrics_path} if settings.metrics_enabled else set())


def _probes(settings: Settings, parts: Parts) -> Control | None:
    if not isinstance(settings, ObserveSettings) or not probe_paths(settings):
        return None
    expected = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    return Probes(
        parts.health.report,
        orjson.dumps,
        live=settings.probes,
        metrics=partial(asyncio.to_thread, parts.metrics.expose) if settings.metrics_enabled else None,
        metrics_path=settings.metrics_path,
        metrics_public=settings.metrics_public,
        scraper=lambda token: bool(expected) and compare_digest(token.encode(), expected.encode()),
    )


def _hosts(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings) or not settings.trusted_hosts:
        return None
    return TrustedHosts(settings.trusted_hosts, probe_paths(settings))


def _docs(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings) or settings.debug or settings.docs_public:
        return None
    return DocsGate(settings.docs_paths)


def _cors(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings):
        return None
    origins = Origins(settings.cors_allowed_origins, loopback=settings.debug)
    if not origins:
        return None
    return Cors(
        origins,
        methods=settings.cors_allowed_methods,
        headers=settings.cors_allowed_headers,
        credentials=settings.cors_allow_credentials,
        max_age=settings.cors_max_age,
    )


def _socket_origins(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings):
        return None
    return SocketOrigins(Origins(settings.cors_allowed_origins, loopback=settings.debug))


def _rate_limit(settings: Settings, parts: Parts) -> Control | None:
    if not isinstance(settings, LimitSettings):
        return None
    requests = Rate.parse(settings.rate_limit_default)
    tokens = Rate.parse(settings.rate_limit_tokens) if isinstance(settings, SpendSettings) else Rate(0, 1.0)
    if not requests.count and not tokens.count:
        return None
    return RateLimit(
        parts.store,
        requests=requests if requests.count else None,
        tokens=tokens if tokens.count else None,
        exempt=probe_paths(settings) | set(settings.exempt_paths),
        headers=settings.rate_limit_headers,
    )


def _concurrency(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, LimitSettings) or not (settings.max_concurrent or settings.max_concurrent_per_caller):
        return None
    most = settings.max_concurrent
    return Concurrency(
        total=most,
        per_caller=settings.max_concurrent_per_caller,
        shedding=Shedding(most) if settings.load_shedding and most else None,
        exempt=probe_paths(settings) | set(settings.exempt_paths),
    )


def _identity(settings: Settings, parts: Parts) -> Identity | None:
    if not parts.authenticators:
        return None
    return Identity(parts.authenticators, unasked=_unasked(settings), public=parts.public)


def _access(settings: Settings, parts: Parts) -> Control | None:
    if not parts.authenticators and not parts.rules:
        return None
    anonymous = isinstance(settings, IdentitySettings) and settings.allow_anonymous
    identity = _identity(settings, parts)
    return Access(
        parts.rules,
        allow_anonymous=anonymous,
        unasked=_unasked(settings),
        public=parts.public,
        hint=identity.hint if identity else "",
    )


def _unasked(settings: Settings) -> frozenset[str]:
    """Paths that need no identity whatever the rules say: the probes, but not the metrics."""
    return probe_paths(settings) & (LIVE | READY)


def _security_headers(settings: Settings, _parts: Parts) -> Control | None:
    if not isinstance(settings, WebSettings) or not settings.security_headers:
        return None
    shown = settings.docs_paths if settings.debug or settings.docs_public else ()
    return SecurityHeaders(
        policy=settings.content_security_policy,
        hsts_max_age=settings.hsts_max_age,
        docs=shown,
        debug=settings.debug,
    )


CONTROLS: Final[tuple[Entry, ...]] = (
    _measure,
    _request_ids,
    _proxies,
    _trace,
    _deadlines,
    _probes,
    _hosts,
    _docs,
    _cors,
    _socket_origins,
    _rate_limit,
    _concurrency,
    _identity,
    _access,
    _security_headers,
    _access_log,
    _audit,
)
"""Every control of the kit."""


def controls(settings: Settings, parts: Parts, more: Iterable[Control] = ()) -> list[Control]:
    """The controls that settings and parts switch on, and `more` of one's own behind them."""
    made = (entry(settings, parts) for entry in CONTROLS)
    return [*(control for control in made if control is not None), *more]
