"""Knobs of headers, hosts, origins and sizes."""

import pytest

from headgate.kit.asgi.exchange import ResponseCutError
from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from tests.kit.knobs import Place, ask, knob, service

SHOP = "https://app.example"
CALLER = {"origin": SHOP}
PREFLIGHT = {**CALLER, "access-control-request-method": "PUT", "access-control-request-headers": "x-shop"}
OPEN = {"cors_allowed_origins": (SHOP,)}


@knob("profile")
def production_refuses_what_is_unsafe(_place: Place) -> None:
    """A kit with unsafe settings is made in development only."""
    Kit(HardeningSettings(debug=True))
    with pytest.raises(InvalidArgument, match="debug"):
        Kit(HardeningSettings(profile="production", debug=True))


@knob("debug")
async def shows_documentation(_place: Place) -> None:
    """Documentation answers in debug only."""
    assert (await ask("/docs")).status_code == 404
    assert (await ask("/docs", settings={"debug": True})).status_code == 200


@knob("docs_public")
async def opens_documentation(_place: Place) -> None:
    """Documentation answers when it is public."""
    assert (await ask("/docs", settings={"docs_public": True})).status_code == 200


@knob("docs_paths")
async def what_documentation_is(_place: Place) -> None:
    """Pages below these paths count as documentation."""
    assert (await ask("/manual")).status_code == 200
    assert (await ask("/manual", settings={"docs_paths": ("/manual",)})).status_code == 404


@knob("security_headers")
async def headers_of_answers(_place: Place) -> None:
    """Answers carry the security headers, or none."""
    assert (await ask()).headers["x-content-type-options"] == "nosniff"
    assert "x-content-type-options" not in (await ask(settings={"security_headers": False})).headers


@knob("content_security_policy")
async def policy_of_answers(_place: Place) -> None:
    """The policy given is sent in place of the built-in one."""
    answer = await ask(settings={"content_security_policy": "default-src https:"})
    assert answer.headers["content-security-policy"] == "default-src https:"


@knob("hsts_max_age")
async def told_to_stay_with_https(_place: Place) -> None:
    """Browsers are told how long to stay with HTTPS; 0 tells them nothing."""
    base = "https://shop.example"
    answer = await ask(base=base, settings={"hsts_max_age": 77})
    assert "max-age=77" in answer.headers["strict-transport-security"]
    assert "strict-transport-security" not in (await ask(base=base, settings={"hsts_max_age": 0})).headers


@knob("cors_allowed_origins")
async def origins(_place: Place) -> None:
    """Browsers may call from the origins named, and from no other."""
    assert "access-control-allow-origin" not in (await ask(headers=CALLER)).headers
    assert (await ask(headers=CALLER, settings=OPEN)).headers["access-control-allow-origin"] == SHOP


@knob("cors_allowed_methods")
async def methods(_place: Place) -> None:
    """Preflights allow the methods named."""
    for allowed in (("GET",), ("GET", "PUT")):
        settings = {**OPEN, "cors_allowed_methods": allowed, "cors_allowed_headers": ("X-Shop",)}
        answer = await ask(method="OPTIONS", headers=PREFLIGHT, settings=settings)
        assert ("PUT" in answer.headers.get("access-control-allow-methods", "")) is ("PUT" in allowed)


@knob("cors_allowed_headers")
async def request_headers(_place: Place) -> None:
    """Preflights allow the request headers named."""
    for allowed in (("X-Other",), ("X-Shop",)):
        settings = {**OPEN, "cors_allowed_methods": ("PUT",), "cors_allowed_headers": allowed}
        answer = await ask(method="OPTIONS", headers=PREFLIGHT, settings=settings)
        told = answer.headers.get("access-control-allow-headers", "").lower()
        assert ("x-shop" in told) is (allowed == ("X-Shop",))


@knob("cors_allow_credentials")
async def credentials(_place: Place) -> None:
    """Browsers may send credentials when that is allowed."""
    assert "access-control-allow-credentials" not in (await ask(headers=CALLER, settings=OPEN)).headers
    answer = await ask(headers=CALLER, settings={**OPEN, "cors_allow_credentials": True})
    assert answer.headers["access-control-allow-credentials"] == "true"


@knob("cors_max_age")
async def preflights_are_remembered(_place: Place) -> None:
    """Browsers are told how long a preflight holds."""
    settings = {**OPEN, "cors_allowed_methods": ("PUT",), "cors_allowed_headers": ("X-Shop",), "cors_max_age": 77}
    answer = await ask(method="OPTIONS", headers=PREFLIGHT, settings=settings)
    assert answer.headers["access-control-max-age"] == "77"


@knob("trusted_hosts")
async def hosts(_place: Place) -> None:
    """Hosts that are not trusted are refused."""
    for host, status in (("shop.example", 200), ("other.example", 400)):
        assert (await ask(settings={"trusted_hosts": (host,)})).status_code == status


@knob("trusted_proxies")
async def proxies(_place: Place) -> None:
    """The client a trusted proxy names is believed."""
    forwarded = {"x-forwarded-for": "198.51.100.7"}
    for networks, client in (((), "203.0.113.9"), (("203.0.113.0/24",), "198.51.100.7")):
        assert (await ask("/who", headers=forwarded, settings={"trusted_proxies": networks})).json()["client"] == client


@knob("forwarded_header")
async def which_header_proxies_write(_place: Place) -> None:
    """Only the header named is believed."""
    both = {"x-forwarded-for": "198.51.100.7", "forwarded": "for=198.51.100.8"}
    for header, client in (("x-forwarded-for", "198.51.100.7"), ("forwarded", "198.51.100.8")):
        settings = {"trusted_proxies": ("203.0.113.0/24",), "forwarded_header": header}
        assert (await ask("/who", headers=both, settings=settings)).json()["client"] == client


@knob("max_body_size")
async def bodies(_place: Place) -> None:
    """A longer body is refused."""
    for most, status in ((10, 413), (100, 200)):
        answer = await ask("/echo", method="POST", content=b"x" * 50, settings={"max_body_size": most})
        assert answer.status_code == status


@knob("gzip_min_size")
async def compression(_place: Place) -> None:
    """Answers from that size on are compressed."""
    for least, coding in ((500, "gzip"), (5_000, None), (0, None)):
        answer = await ask("/large", headers={"accept-encoding": "gzip"}, settings={"gzip_min_size": least})
        assert answer.headers.get("content-encoding") == coding


@knob("request_timeout")
async def until_the_first_byte(_place: Place) -> None:
    """An answer that does not begin in time is 504."""
    assert (await ask("/pause", settings={"request_timeout": 0.05})).status_code == 504
    assert (await ask("/pause", settings={"request_timeout": 30})).status_code == 200


@knob("idle_timeout")
async def between_parts(_place: Place) -> None:
    """A stream that pauses longer is cut short."""
    assert "end" not in await streamed(idle_timeout=0.05)
    assert "end" in await streamed(idle_timeout=30)


@knob("total_timeout")
async def in_all(_place: Place) -> None:
    """A stream that takes longer is cut short."""
    assert "end" not in await streamed(total_timeout=0.45)
    assert "end" in await streamed(total_timeout=30)


@knob("untimed_paths")
async def without_time(_place: Place) -> None:
    """Paths named have all the time they want."""
    assert (await ask("/pause", settings={"request_timeout": 0.05, "untimed_paths": ("/pause",)})).status_code == 200


@knob("timeout_header")
async def callers_ask_for_less(_place: Place) -> None:
    """A caller may ask for less time in the header named."""
    headers = {"x-patience": "50"}
    assert (await ask("/pause", headers=headers)).status_code == 200
    assert (await ask("/pause", headers=headers, settings={"timeout_header": "x-patience"})).status_code == 504


async def streamed(**settings: float) -> str:
    """What a caller gets of a stream."""
    async with service(**settings) as made:
        try:
            return (await made.ask("/stream")).text
        except ResponseCutError:
            return "cut short"
