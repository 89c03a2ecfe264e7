"""What the profiles refuse, and what they warn about."""

from pathlib import Path
from typing import Any

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.hardening import HardeningSettings, LimitSettings, WebSettings
from headgate.kit.profile import RULES, refuse_unsafe

STRONG = "ci=3hX9vQ2mK7pL0wZsT4bN"
PLAIN: dict[str, Any] = {
    "profile": "production",
    "api_key": STRONG,
    "trusted_hosts": ("shop.example",),
}
"""A production service that nothing is said against."""

ISSUER = {"jwt_issuer": "https://id.example", "jwt_audience": "shop"}

ALWAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "credentials for any origin": (
        {"cors_allowed_origins": ("*",), "cors_allow_credentials": True},
        ["/cors_allow_credentials"],
    ),
    "a certificate without a key": ({"tls_certificate": Path("c.pem")}, ["/tls_key"]),
    "a key without a certificate": ({"tls_key": Path("k.pem")}, ["/tls_certificate"]),
    "authorities without TLS": ({"tls_client_ca": Path("a.pem")}, ["/tls_certificate"]),
    "tokens of any issuer": ({"jwt_jwks_url": "https://id.example/keys"}, ["/jwt_issuer", "/jwt_audience"]),
}
PRODUCTION: dict[str, tuple[dict[str, Any], list[str]]] = {
    "debug": ({"debug": True}, ["/debug"]),
    "nobody has an identity": ({"api_key": None}, ["/api_key"]),
    "certificates that make no identity": (
        {
            "api_key": None,
            "mtls_identity": False,
            "tls_certificate": Path("c"),
            "tls_key": Path("k"),
            "tls_client_ca": Path("a"),
        },
        ["/api_key"],
    ),
    "a key that can be guessed": ({"api_key": f"{STRONG},weak=hunter2hunter2"}, ["/api_key"]),
    "keys of the issuer in the clear": ({"jwt_jwks_url": "http://id.example/keys", **ISSUER}, ["/jwt_jwks_url"]),
    "metrics for all": ({"metrics_public": True}, ["/metrics_public"]),
    "no limit": ({"rate_limit_default": "off"}, ["/rate_limit_default"]),
}
WARNED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "any host": ({"trusted_hosts": ()}, ["/trusted_hosts"]),
    "public documentation": ({"docs_public": True}, ["/docs_public"]),
    "any origin": ({"cors_allowed_origins": ("*",)}, ["/cors_allowed_origins"]),
    "no security headers": ({"security_headers": False}, ["/security_headers"]),
    "reached without TLS": ({"host": "0.0.0.0"}, ["/host"]),
    "a limit that may go": (
        {"rate_limit_redis_url": "redis://h", "rate_limit_store_down": "open"},
        ["/rate_limit_store_down"],
    ),
    "a gate that may open": (
        {"content_filter_scorers": ("builtin",), "content_filter_on_error": "open"},
        ["/content_filter_on_error"],
    ),
    "traces in the clear": (
        {"otel_exporter_otlp_endpoint": "http://otel.example:4318"},
        ["/otel_exporter_otlp_endpoint"],
    ),
}
FINE: dict[str, dict[str, Any]] = {
    "as it is": {},
    "hashed keys": {"api_key": f"ci=sha256:{'a1' * 32}"},
    "anonymous on purpose": {"api_key": None, "allow_anonymous": True},
    "tokens": {"api_key": None, "jwt_jwks_url": "https://id.example/keys", **ISSUER},
    "keys from a neighbour on this machine": {"jwt_jwks_url": "http://127.0.0.1:9000/keys", **ISSUER},
    "mutual TLS": {
        "api_key": None,
        "host": "0.0.0.0",
        "tls_certificate": Path("c"),
        "tls_key": Path("k"),
        "tls_client_ca": Path("a"),
    },
    "behind a proxy": {"host": "::", "trusted_proxies": ("10.0.0.0/8",)},
    "loopback of IPv6": {"host": "::1"},
    "a collector on this machine": {"otel_exporter_otlp_endpoint": "http://localhost:4318"},
    "a collector with TLS": {"otel_exporter_otlp_endpoint": "https://otel.example"},
    "traces are off": {"otel_exporter_otlp_endpoint": "http://otel.example", "telemetry_disabled": True},
    "no gate to open": {"content_filter_on_error": "open"},
    "a policy that is never asked": {"rate_limit_store_down": "open"},
    "an address that is none": {"otel_exporter_otlp_endpoint": "http://[nowhere"},
}


def refused(settings: Any) -> InvalidArgument:
    """The fault that checking raises."""
    with pytest.raises(InvalidArgument) as caught:
        refuse_unsafe(settings)
    return caught.value


@pytest.mark.parametrize("profile", ["development", "production"])
@pytest.mark.parametrize("case", ALWAYS)
def test_what_no_profile_allows(case: str, profile: str) -> None:
    """What would be wrong anywhere is refused in development, too, with what to change."""
    given, pointers = ALWAYS[case]
    fault = refused(HardeningSettings(**{**PLAIN, **given, "profile": profile}))
    assert (fault.code, [violation.pointer for violation in fault.violations]) == ("unsafe_settings", pointers)
    assert all(violation.hint for violation in fault.violations)


@pytest.mark.parametrize("case", PRODUCTION)
def test_what_production_refuses(case: str) -> None:
    """What only a development machine may do is refused in production, and no word is said of it elsewhere."""
    given, pointers = PRODUCTION[case]
    fault = refused(HardeningSettings(**{**PLAIN, **given}))
    assert [violation.pointer for violation in fault.violations] == pointers
    assert all(violation.hint for violation in fault.violations)
    assert refuse_unsafe(HardeningSettings(**{**PLAIN, **given, "profile": "development"})) == []


@pytest.mark.parametrize("case", WARNED)
def test_what_production_warns_about(case: str) -> None:
    """What is unwise is a warning that says what to do; it does not keep the service from starting."""
    given, pointers = WARNED[case]
    warnings = refuse_unsafe(HardeningSettings(**{**PLAIN, **given}))
    assert [warning.pointer for warning in warnings] == pointers
    assert all(warning.hint for warning in warnings)


@pytest.mark.parametrize("case", FINE)
def test_what_is_fine(case: str) -> None:
    """Nothing is said against combinations that are safe."""
    assert refuse_unsafe(HardeningSettings(**{**PLAIN, **FINE[case]})) == []


def test_the_defaults_are_for_development() -> None:
    """Out of the box a service starts on a development machine, and production asks for what it needs."""
    assert refuse_unsafe(HardeningSettings()) == []
    assert [violation.pointer for violation in refused(HardeningSettings(profile="production")).violations] == [
        "/api_key"
    ]


def test_everything_is_told_at_once() -> None:
    """All that is unsafe is told together, each with its variable."""
    every = {name: value for given, _ in PRODUCTION.values() for name, value in given.items()}
    fault = refused(HardeningSettings(**{**PLAIN, **every, "jwt_issuer": "", "tls_key": None}))
    pointers = {violation.pointer for violation in fault.violations}
    assert pointers >= {"/tls_key", "/jwt_issuer", "/debug", "/jwt_jwks_url", "/metrics_public", "/rate_limit_default"}
    assert "DEBUG=false" in fault.hint
    assert "HEADGATE_" not in fault.hint


def test_no_secret_is_told() -> None:
    """A refused key is named, not shown."""
    fault = refused(HardeningSettings(**{**PLAIN, "api_key": "weak=hunter2hunter2"}))
    assert "weak" in fault.message
    assert "hunter2" not in repr((fault.message, fault.hint, fault.violations))


def test_groups_that_are_not_there_are_not_judged() -> None:
    """Settings without a group are not judged by its rules, and hints follow the class's prefix."""

    class Few(WebSettings, LimitSettings):
        """Two groups."""

    fault = refused(Few(profile="production", rate_limit_default="off", trusted_hosts=("a",)))
    assert [violation.pointer for violation in fault.violations] == ["/rate_limit_default"]
    assert "HEADGATE_RATE_LIMIT_DEFAULT" in fault.hint


def test_rules_tell_of_the_settings_they_name() -> None:
    """What a rule is said to concern, in the reference, is what it finds: no more, and nothing less."""
    told: dict[str, set[str]] = {rule.told: set() for rule in RULES}
    named: dict[str, set[str]] = {rule.told: set() for rule in RULES}
    for rule in RULES:
        named[rule.told].update(rule.settings)
        for given, _ in (*ALWAYS.values(), *PRODUCTION.values(), *WARNED.values()):
            found = {name for name, _, _ in rule.find(HardeningSettings(**{**PLAIN, **given}))}
            assert found <= set(rule.settings)
            told[rule.told] |= found
    assert told == named
    assert all(set(rule.settings) <= set(HardeningSettings.model_fields) for rule in RULES)
