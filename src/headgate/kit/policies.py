"""Settings as the policies that rooms understand: one small function for each."""

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.redaction import Redactor
from headgate.kit.controls.retry import RetryPolicy
from headgate.kit.hardening import IdentitySettings, ObserveSettings, ResilienceSettings, ServeSettings
from headgate.kit.identity import Authenticator, authenticators
from headgate.kit.resilience.cache import CachePolicy
from headgate.kit.resilience.http import HttpPolicy
from headgate.kit.resilience.shared import SharedStore
from headgate.kit.resilience.stream_cache import StreamPolicy
from headgate.kit.tls.files import TlsFiles

AT_ONCE = 1e-9
"""Seconds after which what was never to be kept is forgotten."""

NEVER_OPENS = BreakerPolicy(minimum_calls=2**62, slow_call=None)


def redactor(settings: ObserveSettings) -> Redactor:
    """What is masked in all that is written about calls."""
    return Redactor(settings.redact_names, settings.redact_patterns)


def breaker_policy(settings: ResilienceSettings) -> BreakerPolicy:
    """When circuits open."""
    if not settings.cb_enabled:
        return NEVER_OPENS
    return BreakerPolicy(
        window=settings.cb_window,
        minimum_calls=settings.cb_failure_threshold,
        failure_rate=settings.cb_failure_rate,
        slow_call=settings.cb_slow_call or None,
        slow_rate=settings.cb_slow_rate,
        open_time=settings.cb_recovery_timeout,
        longest_open_time=max(settings.cb_recovery_max, settings.cb_recovery_timeout),
    )


def retry_policy(settings: ResilienceSettings) -> RetryPolicy:
    """How often failed calls are tried again."""
    return RetryPolicy(attempts=settings.retry_attempts, longest_retry_after=settings.retry_after_max)


def http_policy(settings: ResilienceSettings) -> HttpPolicy:
    """The pool of the shared HTTP client."""
    return HttpPolicy(
        max_connections=settings.httpx_pool_max,
        max_idle=settings.httpx_pool_max_keepalive,
        read_timeout=settings.httpx_timeout,
        retry_ratio=settings.retry_budget,
    )


def cache_policy(settings: ResilienceSettings) -> CachePolicy:
    """How long and how much is cached. Switched off, callers at the same time still share one call."""
    return CachePolicy(
        seconds=settings.cache_ttl if settings.cache_enabled else AT_ONCE,
        stale_seconds=settings.cache_stale if settings.cache_enabled else 0.0,
        error_seconds=settings.cache_error_ttl if settings.cache_enabled else 0.0,
        entries=settings.cache_max_size,
        size=settings.cache_max_bytes,
        largest=min(settings.cache_max_bytes, settings.cache_max_item),
    )


def stream_policy(settings: ResilienceSettings) -> StreamPolicy:
    """The same for streams."""
    return StreamPolicy(
        seconds=settings.cache_ttl if settings.cache_enabled else AT_ONCE,
        entries=settings.cache_max_size,
        size=settings.cache_max_bytes,
        largest=min(settings.cache_max_bytes, settings.cache_max_item),
    )


def tls_files(settings: ServeSettings) -> TlsFiles | None:
    """The files of TLS; None without."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def known_authenticators(settings: IdentitySettings, *, mtls: bool) -> tuple[Authenticator, ...]:
    """How callers prove who they are; with `mtls`, by the certificates that TLS verifies, too."""
    return authenticators(
        api_keys=settings.api_key.get_secret_value() if settings.api_key else "",
        jwks_url=settings.jwt_jwks_url,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        algorithms=settings.jwt_algorithms,
        leeway=settings.jwt_leeway,
        tenant_claim=settings.jwt_tenant_claim,
        jwks_ttl=settings.jwks_ttl,
        jwks_max_age=settings.jwks_max_age,
        certificates=mtls and settings.mtls_identity,
        trust_domains=settings.mtls_trust_domains,
        certificate_scopes=settings.mtls_scopes,
    )


def shared_store(settings: ResilienceSettings) -> SharedStore | None:
    """Where replicas share results; None without."""
    url = settings.cache_redis_url
    return SharedStore(url.get_secret_value()) if url is not None and settings.cache_enabled else None
