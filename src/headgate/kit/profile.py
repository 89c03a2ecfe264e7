"""What a combination of settings makes unsafe, said before anything listens.

    for warning in refuse_unsafe(settings):
        log.warning(warning.message)

A rule that would be wrong anywhere is refused in every profile; what only a development machine may do is refused
with `profile = "production"`; what is unwise there is a warning. Settings without the group of a rule are not
judged by it. All that is refused is told at once, each with what to change.

    InvalidArgument
    └── unsafe_settings   one violation for each combination; the pointer is the setting to change
"""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from headgate.kit.controls.api_keys import STRONG, ApiKeys
from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.hardening import (
    IdentitySettings,
    LimitSettings,
    ObserveSettings,
    ProfileSettings,
    SafetySettings,
    ServeSettings,
    WebSettings,
)
from headgate.kit.settings import Settings, variable_of

Found = Iterator[tuple[str, str, str]]
"""The setting to change, what is unsafe, and what to do."""


class Rule(NamedTuple):
    """What is unsafe, in words for the reference, the settings it is told of, and what finds it.

    `told` is `refused` in every profile, `refused in production`, or a `warning in production`.
    """

    told: Literal["refused", "refused in production", "warning in production"]
    when: str
    settings: tuple[str, ...]
    find: Callable[[Settings], Found]


def refuse_unsafe(settings: Settings) -> list[Violation]:
    """The warnings. Raises InvalidArgument (`unsafe_settings`) when something must not be started with."""
    production = isinstance(settings, ProfileSettings) and settings.profile == "production"
    refused = [*_found(settings, "refused"), *(_found(settings, "refused in production") if production else ())]
    if refused:
        raise InvalidArgument(
            "; ".join(violation.message for violation in refused),
            code="unsafe_settings",
            hint="; ".join(dict.fromkeys(violation.hint for violation in refused)),
            violations=refused,
        )
    return list(_found(settings, "warning in production")) if production else []


def _found(settings: Settings, told: str) -> Iterator[Violation]:
    kind = type(settings)
    for rule in RULES:
        for name, message, hint in rule.find(settings) if rule.told == told else ():
            yield Violation(f"/{name}", f"{name}: {message}", hint.replace("@", variable_of(name, kind)))


def _credentials_for_all(settings: Settings) -> Found:
    if isinstance(settings, WebSettings) and settings.cors_allow_credentials and "*" in settings.cors_allowed_origins:
        yield (
            "cors_allow_credentials",
            "any site may use the credentials of whoever visits it, as cors_allowed_origins is '*'",
            "name the origins, or set @=false",
        )


def _half_of_tls(settings: Settings) -> Found:
    if not isinstance(settings, ServeSettings):
        return
    if settings.tls_certificate and not settings.tls_key:
        yield "tls_key", "tls_certificate is set without it", "set @ to the private key of the certificate"
    if settings.tls_key and not settings.tls_certificate:
        yield "tls_certificate", "tls_key is set without it", "set @ to the certificate chain of the key"
    if settings.tls_client_ca and not settings.tls_certificate:
        yield "tls_certificate", "tls_client_ca has no effect without it", "set @ and the key, or drop the authorities"


def _tokens_for_anybody(settings: Settings) -> Found:
    if isinstance(settings, IdentitySettings) and settings.jwt_jwks_url:
        for name in ("jwt_issuer", "jwt_audience"):
            if not getattr(settings, name):
                yield name, "jwt_jwks_url is set without it, so tokens meant for others would be accepted", "set @"


def _debug(settings: Settings) -> Found:
    if isinstance(settings, ProfileSettings) and settings.debug:
        yield "debug", "documentation and reflection would be open", "set @=false"


def _nobody_is_known(settings: Settings) -> Found:
    if isinstance(settings, IdentitySettings) and not settings.allow_anonymous and not _identified(settings):
        yield (
            "api_key",
            "nobody could prove who they are, so everybody would be served",
            "set @, or jwt_jwks_url, or tls_client_ca; or say that it is meant: allow_anonymous = true",
        )


def _identified(settings: IdentitySettings) -> bool:
    by_certificate = isinstance(settings, ServeSettings) and settings.tls_client_ca and settings.mtls_identity
    return bool(settings.api_key or settings.jwt_jwks_url or by_certificate)


def _short_keys(settings: Settings) -> Found:
    if not isinstance(settings, IdentitySettings) or not settings.api_key:
        return
    weak = ApiKeys.parse(settings.api_key.get_secret_value()).weak
    if weak:
        named = ", ".join(weak)
        yield "api_key", f"short enough to be guessed: {named}", f"use keys of at least {STRONG} characters in @"


def _keys_in_the_clear(settings: Settings) -> Found:
    if isinstance(settings, IdentitySettings) and _in_the_clear(settings.jwt_jwks_url):
        yield "jwt_jwks_url", "the issuer's keys would be fetched without TLS", "use https in @"


def _open_metrics(settings: Settings) -> Found:
    if isinstance(settings, ObserveSettings) and settings.metrics_enabled and settings.metrics_public:
        yield "metrics_public", "anybody could read the metrics", "set @=false with metrics_token, or use metrics_port"


def _no_limit(settings: Settings) -> Found:
    if isinstance(settings, LimitSettings) and settings.rate_limit_default in {"", "off"}:
        yield "rate_limit_default", "callers would not be limited", "set @, generously if a gateway limits them already"


def _limit_may_go(settings: Settings) -> Found:
    if (
        isinstance(settings, LimitSettings)
        and settings.rate_limit_redis_url
        and settings.rate_limit_store_down == "open"
    ):
        yield "rate_limit_store_down", "nobody is limited while the store is down", "set @=local"


def _any_host(settings: Settings) -> Found:
    if isinstance(settings, WebSettings) and not settings.trusted_hosts:
        yield "trusted_hosts", "requests for any host are served", "set @ to the names of this service, or '*'"


def _public_documentation(settings: Settings) -> Found:
    if isinstance(settings, WebSettings) and settings.docs_public:
        yield "docs_public", "anybody can read the documentation", "set @=false unless that is meant"


def _any_origin(settings: Settings) -> Found:
    if isinstance(settings, WebSettings) and "*" in settings.cors_allowed_origins:
        yield "cors_allowed_origins", "browsers may call from any site", "name the origins in @"


def _no_headers(settings: Settings) -> Found:
    if isinstance(settings, WebSettings) and not settings.security_headers:
        yield "security_headers", "answers carry no security headers", "set @=true"


def _in_the_open(settings: Settings) -> Found:
    if not isinstance(settings, ServeSettings) or settings.tls_certificate or _is_loopback(settings.host):
        return
    if not (isinstance(settings, WebSettings) and settings.trusted_proxies):
        yield (
            "host",
            f"{settings.host} is reached without TLS, and no proxy in front of it is known",
            "set tls_certificate and tls_key, or trusted_proxies",
        )


def _gate_may_open(settings: Settings) -> Found:
    if (
        isinstance(settings, SafetySettings)
        and settings.content_filter_scorers
        and settings.content_filter_on_error == "open"
    ):
        yield "content_filter_on_error", "text passes unjudged when a scorer fails", "set @=closed"


def _traces_in_the_clear(settings: Settings) -> Found:
    if (
        isinstance(settings, ObserveSettings)
        and not settings.telemetry_disabled
        and _in_the_clear(settings.otel_exporter_otlp_endpoint)
    ):
        yield "otel_exporter_otlp_endpoint", "traces leave this machine without TLS", "use https in @"


def _in_the_clear(url: str) -> bool:
    """Whether a URL leads away from this machine without TLS."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


_REFUSED: Final = "refused"
_PRODUCTION: Final = "refused in production"
_WARNED: Final = "warning in production"

RULES: Final[tuple[Rule, ...]] = (
    Rule(_REFUSED, "`true` while `cors_allowed_origins` is `*`", ("cors_allow_credentials",), _credentials_for_all),
    Rule(
        _REFUSED,
        "one is set without the other, or `tls_client_ca` without both",
        ("tls_certificate", "tls_key"),
        _half_of_tls,
    ),
    Rule(_REFUSED, "not set although `jwt_jwks_url` is", ("jwt_issuer", "jwt_audience"), _tokens_for_anybody),
    Rule(_PRODUCTION, "`true`", ("debug",), _debug),
    Rule(
        _PRODUCTION,
        "not set, nor `jwt_jwks_url`, nor `tls_client_ca` with `mtls_identity`, nor `allow_anonymous`",
        ("api_key",),
        _nobody_is_known,
    ),
    Rule(_PRODUCTION, f"a key of fewer than {STRONG} characters", ("api_key",), _short_keys),
    Rule(_PRODUCTION, "`http:` to another machine", ("jwt_jwks_url",), _keys_in_the_clear),
    Rule(_PRODUCTION, "`true`", ("metrics_public",), _open_metrics),
    Rule(_PRODUCTION, "`off`", ("rate_limit_default",), _no_limit),
    Rule(_WARNED, "not set", ("trusted_hosts",), _any_host),
    Rule(_WARNED, "`true`", ("docs_public",), _public_documentation),
    Rule(_WARNED, "`*`", ("cors_allowed_origins",), _any_origin),
    Rule(_WARNED, "`false`", ("security_headers",), _no_headers),
    Rule(_WARNED, "not loopback, with neither TLS nor `trusted_proxies`", ("host",), _in_the_open),
    Rule(_WARNED, "`open` while `rate_limit_redis_url` is set", ("rate_limit_store_down",), _limit_may_go),
    Rule(_WARNED, "`open` while there are scorers", ("content_filter_on_error",), _gate_may_open),
    Rule(_WARNED, "`http:` to another machine", ("otel_exporter_otlp_endpoint",), _traces_in_the_clear),
)
"""All there is to say against settings; their page in the reference is made of it."""
