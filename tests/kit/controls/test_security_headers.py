"""The security headers of answers."""

from headgate.kit.controls.call import MutableHeaders
from headgate.kit.controls.security_headers import SecurityHeaders
from tests.kit.controls.calls import call_of


def answered(
    control: SecurityHeaders, path: str = "/orders", scheme: str = "http", given: MutableHeaders | None = None
) -> dict[str, str]:
    """All headers of an answer."""
    headers = list(given or [])
    control.respond(call_of(path, scheme=scheme), headers)
    assert len({name for name, _ in headers}) == len(headers), "no header twice"
    return {name.decode(): value.decode() for name, value in headers}


def test_d01_the_policy_is_quoted_and_the_server_unnamed() -> None:
    """`'none'` is the keyword, not a host of that name; `Server` is taken out, not sent empty."""
    headers = answered(SecurityHeaders(), given=[(b"server", b"uvicorn"), (b"x-powered-by", b"Python")])
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert "server" not in headers
    assert "x-powered-by" not in headers


def test_what_owasp_asks_for_is_there() -> None:
    """An answer over plain HTTP carries each header but the one for HTTPS."""
    assert answered(SecurityHeaders()) == {
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "geolocation=(), camera=(), microphone=()",
        "referrer-policy": "strict-origin-when-cross-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cache-control": "no-store",
        "content-security-policy": ("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    }


def test_https_is_remembered_over_https_only() -> None:
    """Strict-Transport-Security is sent when the client came by HTTPS, with the age that was set."""
    control = SecurityHeaders(hsts_max_age=60)
    assert answered(control, scheme="https")["strict-transport-security"] == "max-age=60; includeSubDomains"
    assert "strict-transport-security" not in answered(control)
    assert "strict-transport-security" not in answered(SecurityHeaders(hsts_max_age=0), scheme="https")


def test_the_application_knows_better() -> None:
    """A header the application set stays as it is, and appears once."""
    headers = answered(
        SecurityHeaders(), given=[(b"cache-control", b"max-age=60"), (b"x-frame-options", b"SAMEORIGIN")]
    )
    assert headers["cache-control"] == "max-age=60"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"


def test_documentation_pages_get_a_wider_policy() -> None:
    """Scripts of our own run on documentation pages; those of a CDN only in debug."""
    shown = answered(SecurityHeaders(docs=["/docs"]), "/docs/oauth2-redirect")["content-security-policy"]
    assert "script-src 'self' 'unsafe-inline';" in shown
    assert "cdn.jsdelivr.net" not in shown
    debug = SecurityHeaders(docs=["/docs"], debug=True)
    assert "https://cdn.jsdelivr.net" in answered(debug, "/docs")["content-security-policy"]
    assert "script-src" not in answered(debug, "/orders")["content-security-policy"]
    assert "script-src" not in answered(debug, "/docsets")["content-security-policy"]


def test_a_policy_of_ones_own() -> None:
    """The setting replaces the policy everywhere."""
    assert answered(SecurityHeaders(policy="default-src 'self'"))["content-security-policy"] == "default-src 'self'"
