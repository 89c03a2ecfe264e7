"""Cross-origin callers."""

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from headgate.kit.controls.call import Answer, MutableHeaders
from headgate.kit.controls.cors import Cors, Origins, SocketOrigins
from headgate.kit.controls.faults import PermissionDenied
from tests.kit.controls.calls import call_of

SHOP = "https://shop.example"
CHOICE = {"methods": ("GET", "PUT"), "headers": ("Authorization", "X-Request-ID")}


def preflight(control: Cors, origin: str = SHOP, method: str = "PUT", headers: str = "") -> dict[str, str]:
    """The headers a preflight is answered with."""
    asked = {"origin": origin, "access-control-request-method": method}
    call = call_of(method="OPTIONS", headers=asked | ({"access-control-request-headers": headers} if headers else {}))
    answer = control.admit(call)
    assert answer is not None
    sent = list(answer.headers)
    control.respond(call, sent)
    return {name.decode(): value.decode() for name, value in sent}


def marked(control: Cors, origin: str = SHOP, given: MutableHeaders | None = None) -> dict[str, str]:
    """The headers an ordinary answer gets."""
    headers = list(given or [])
    control.respond(call_of(headers={"origin": origin}), headers)
    return {name.decode(): value.decode() for name, value in headers}


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("allowed", [[SHOP], ["*"]])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_it_allows_what_starlette_allows(allowed: list[str], method: str, credentials: bool) -> None:
    """For an allowed origin the headers that browsers decide by are those of Starlette's middleware."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse(""))])
    app.add_middleware(
        CORSMiddleware,
        allow_origins=allowed,
        allow_methods=["GET", "PUT"],
        allow_headers=["Authorization", "X-Request-ID"],
        allow_credentials=credentials,
    )
    asked = {"origin": SHOP}
    if method == "OPTIONS":
        asked |= {"access-control-request-method": "PUT", "access-control-request-headers": "authorization"}
    theirs = TestClient(app).request(method, "/", headers=asked).headers
    control = Cors(Origins(allowed), credentials=credentials, **CHOICE)
    ours = preflight(control, headers="authorization") if method == "OPTIONS" else marked(control)
    for name in ("access-control-allow-origin", "access-control-allow-credentials", "access-control-max-age"):
        assert ours.get(name) == theirs.get(name), name
    assert "PUT" in ours.get("access-control-allow-methods", "PUT")
    assert "authorization" in ours.get("access-control-allow-headers", "authorization")


@pytest.mark.parametrize(
    "asked", [{"origin": "https://evil.example"}, {"method": "DELETE"}, {"headers": "x-evil"}, {"origin": "null"}]
)
def test_a_preflight_for_more_is_refused(asked: dict[str, str]) -> None:
    """A foreign origin, method or header is told what to change."""
    with pytest.raises(PermissionDenied) as refused:
        preflight(Cors(Origins([SHOP]), **CHOICE), **asked)
    assert refused.value.code == "origin_not_allowed"
    assert "cors_allowed_" in refused.value.hint


def test_a_foreign_origin_gets_no_permission() -> None:
    """Its call is answered, but the browser is not told that the page may read the answer."""
    assert marked(Cors(Origins([SHOP]), **CHOICE), "https://evil.example") == {"vary": "Origin"}
    assert marked(Cors(Origins([SHOP]), **CHOICE), f"{SHOP}.evil.example") == {"vary": "Origin"}


def test_caches_are_told_that_the_origin_matters() -> None:
    """`Vary` gains Origin once, unless everybody gets the same answer."""
    listed = Cors(Origins([SHOP]), **CHOICE)
    assert marked(listed, given=[(b"vary", b"Accept-Encoding")])["vary"] == "Accept-Encoding, Origin"
    assert marked(listed, given=[(b"vary", b"origin")])["vary"] == "origin"
    assert marked(listed, given=[(b"vary", b"X-Origin-Host")])["vary"] == "X-Origin-Host, Origin"
    assert "vary" not in marked(Cors(Origins(["*"]), **CHOICE))


def test_an_options_request_is_no_preflight() -> None:
    """Without the preflight's headers OPTIONS goes to the application."""
    assert Cors(Origins([SHOP]), **CHOICE).admit(call_of(method="OPTIONS", headers={"origin": SHOP})) is None


def test_loopback_pages_may_call_in_debug() -> None:
    """A front end on another port of this machine is allowed when told so, a look-alike is not."""
    control = Cors(Origins([], loopback=True), **CHOICE)
    assert marked(control, "http://localhost:5173")["access-control-allow-origin"] == "http://localhost:5173"
    assert "access-control-allow-origin" not in marked(control, "http://localhost.evil.example")


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://api.example:80", "host": "API.example:80"}, {"origin": SHOP}]
)
def test_sockets_open_for_the_same_origin(headers: dict[str, str]) -> None:
    """No browser, a page of this host, and a page of an allowed origin may open a WebSocket."""
    SocketOrigins(Origins([SHOP])).admit(call_of(protocol="websocket", headers=headers))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "https://api.example.evil"])
def test_sockets_stay_shut_for_other_sites(origin: str) -> None:
    """A page of another site cannot open one with its visitor's cookies."""
    with pytest.raises(PermissionDenied):
        SocketOrigins(Origins([])).admit(
            call_of(protocol="websocket", headers={"origin": origin, "host": "api.example"})
        )


def test_any_method_may_be_allowed() -> None:
    """`*` among the methods allows whichever a preflight asks for, by its name, which credentials need."""
    control = Cors(Origins([SHOP]), methods=["*"], headers=[], credentials=True)
    headers = {"origin": SHOP, "access-control-request-method": "PURGE"}
    answered = control.admit(call_of(method="OPTIONS", headers=headers))
    assert isinstance(answered, Answer)
    assert (b"access-control-allow-methods", b"PURGE") in answered.headers
