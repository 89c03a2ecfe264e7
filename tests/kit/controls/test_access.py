"""Who may."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.access import Access, Paths, Rules, is_ambiguous, parse_rules
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, InvalidArgument, PermissionDenied, Unauthenticated
from headgate.kit.controls.identity import Identity
from headgate.kit.controls.principal import Principal

RULES = {
    "GET /orders": ("orders:read",),
    "POST /orders": "orders:write",
    "GET /orders/{id}": "orders:read",
    "PUT|PATCH /orders/{id:int}": "orders:write",
    "GET /orders/export": ("orders:read", "orders:export"),
    "/admin/*": "admin",
    "GET /admin/status": "status",
    "/files/{rest:path}": "files",
    "/open": (),
    "/shop.v1.Orders/Create": "orders:write",
    "/shop.v1.Orders/*": "orders:read",
}


def call(path="/orders", method="GET", *, scopes=None, protocol="http"):
    """A call of a stranger, or of a principal with scopes."""
    found = Call(protocol, method, path, [], "10.0.0.9", 0.0)
    if scopes is not None:
        found.principal = Principal("ci", "api_key", frozenset(scopes))
    return found


@pytest.mark.parametrize("protocol", ["http", "websocket", "grpc", "grpc-web", "connect"])
def test_default_deny(protocol):
    """Without an identity nothing is served, over any protocol, unless anonymous callers are allowed."""
    with pytest.raises(Unauthenticated) as caught:
        Access(hint="send a key").admit(call(protocol=protocol))
    assert (caught.value.code, caught.value.hint) == ("no_credentials", "send a key")
    Access(allow_anonymous=True).admit(call(protocol=protocol))
    Access().admit(call(protocol=protocol, scopes=()))


@pytest.mark.parametrize(
    ("method", "path", "is_open"),
    [
        ("GET", "/orders/7", True),
        ("HEAD", "/orders/7", True),
        ("DELETE", "/orders/7", False),
        ("GET", "/orders/", False),
        ("GET", "/orders/7/8", False),
        ("GET", "/orders/..", False),
        ("GET", "/Orders/7", False),
        ("POST", "/files/a/b", True),
        ("POST", "/files/", False),
        ("POST", "/files/a//b", False),
        ("POST", "/shop", True),
        ("GET", "/shop", False),
    ],
)
def test_templates_open_to_the_letter(method, path, is_open):
    """A public path may name methods and parameters; it opens what it says and no other spelling."""
    access = Access(public=["GET /orders/{id}", "/files/{rest:path}", "POST /shop"])
    if is_open:
        access.admit(call(path, method))
        return
    with pytest.raises(Unauthenticated):
        access.admit(call(path, method))


def test_open_paths():
    """Probes, gRPC's health service and public paths need no identity."""
    access = Access(unasked=["/health"], public=["/docs/", "/about"])
    for path in ("/health", "/docs/a/b", "/docs/", "/about", "/grpc.health.v1.Health/Check"):
        access.admit(call(path))
    for path in (
        "/healthz",
        "/health/",
        "/docs",
        "/about/x",
        "/grpc.health.v1.Health/Other",
        "/grpc.health.v1.Health/",
    ):
        with pytest.raises(Unauthenticated):
            access.admit(call(path))


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../orders", "/docs/./orders", "/docs/..", "//docs/a", "/docs//a", "/DOCS/a", "/Docs/a", "/docs\\a",
        "/docs/%2e%2e/orders", "/docs/%2E%2e/orders", "/docs/..;/orders", "/docs/a%2fb", "/docs/a%5Cb",
        "/docs/a\\..\\b",        "/docs/a\0b", "/about/", "/About", "/docs/.;x/a",
    ],
)  # fmt: skip
def test_what_opens_is_matched_to_the_letter(path):
    """No other spelling of a public path is public, so that none leads out of it."""
    assert path not in Paths(["/docs/", "/about"])
    with pytest.raises(Unauthenticated):
        Access(public=["/docs/", "/about"]).admit(call(path))


def test_the_root_alone():
    """`/` as a public path is the root page alone: opening everything is another setting."""
    assert "/" in Paths(["/"])
    assert "/orders" not in Paths(["/"])
    with pytest.raises(InvalidArgument):
        Paths(["docs/"])


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("GET", "/orders", {"orders:read"}),
        ("HEAD", "/orders", {"orders:read"}),
        ("POST", "/orders", {"orders:write"}),
        ("DELETE", "/orders", {"orders:read", "orders:write"}),
        ("OPTIONS", "/orders", {"orders:read", "orders:write"}),
        ("get", "/orders", {"orders:read", "orders:write"}),
        ("GET", "/orders/17", {"orders:read"}),
        ("HEAD", "/orders/17", {"orders:read"}),
        ("PATCH", "/orders/17", {"orders:write"}),
        ("DELETE", "/orders/17", {"orders:read", "orders:write"}),
        ("GET", "/orders/export", {"orders:read", "orders:export"}),
        ("PUT", "/orders/export", {"orders:write"}),
        ("GET", "/orders/17/items", set()),
        ("GET", "/admin", set()),
        ("GET", "/admin/", {"admin"}),
        ("GET", "/admin/a/b/c", {"admin"}),
        ("GET", "/admin/status", {"status"}),
        ("POST", "/admin/status", {"admin"}),
        ("GET", "/files/a/b", {"files"}),
        ("GET", "/open", set()),
        ("GET", "/else", set()),
        ("GET", "/", set()),
        ("OPTIONS", "*", set()),
        ("POST", "/shop.v1.Orders/Create", {"orders:write"}),
        ("POST", "/shop.v1.Orders/List", {"orders:read"}),
        ("POST", "/shop.v1.Orders", set()),
    ],
)
def test_rules(method, path, needs):
    """The most specific rule for the method counts; a method without one needs what the others of the path need."""
    assert set(Rules(RULES).needs(method, path)) == needs


@pytest.mark.parametrize(
    "path",
    ["/orders/", "//orders", "/orders//", "///orders///", "/ORDERS", "/Orders/", "//oRders", "/shop.v1.orders/create"],
)
def test_what_closes_holds_in_every_spelling(path):
    """Slashes and case do not lead round a rule."""
    assert Rules(RULES).needs("POST", path) == ("orders:write",)


def test_spellings_that_lead_elsewhere():
    """Where spellings of one path lead to different rules, all of them hold."""
    rules = Rules({"/orders/{id}": "orders:read", "/orders/public": (), "/{a}/{b}/{c}": "three"})
    assert rules.needs("GET", "/orders/public") == ()
    assert rules.needs("GET", "/orders/PUBLIC") == ("orders:read",)
    assert rules.needs("GET", "/ORDERS/public") == ()
    assert rules.needs("GET", "/orders//public") == ()
    assert rules.needs("GET", "//x/y/z") == ("three",)
    assert Rules({"/Orders/{id}": "read", "/orders/public": ()}).needs("GET", "//Orders/PUBLIC/") == ("read",)


@pytest.mark.parametrize(
    "path", ["/orders/../admin", "/./orders", "/orders/..", "/orders%2f1", "/a%5Cb", "/a\\b", "/..;/orders", "/a\0"]
)
def test_ambiguous_paths(path):
    """A path that servers may read differently is refused where there are rules."""
    assert is_ambiguous(path)
    with pytest.raises(InvalidArgument) as caught:
        Access(RULES).admit(call(path, scopes=["*"]))
    assert caught.value.code == "ambiguous_path"
    Access().admit(call(path, scopes=["*"]))


@pytest.mark.parametrize("path", ["/orders/50%25", "/a.b/c..d", "/.well-known/x", "/...", "/a;b=1", "/%"])
def test_unambiguous_paths(path):
    """Dots and percent signs that mean nothing are fine."""
    assert not is_ambiguous(path)


def test_scopes():
    """A known caller without the scope is told which; one with it, itself or by a wildcard, is let in."""
    access = Access(RULES)
    with pytest.raises(PermissionDenied) as caught:
        access.admit(call(scopes=["orders:write"]))
    assert caught.value.code == "missing_scope"
    assert "'orders:read'" in caught.value.message
    for scopes in (["orders:read"], ["*"], ["orders:*"], ["*:read"]):
        access.admit(call(scopes=scopes))
    with pytest.raises(PermissionDenied, match="orders:export"):
        access.admit(call("/orders/export", scopes=["orders:read"]))


def test_strangers_and_rules():
    """Where a rule asks for a scope, being public or allowing anonymous callers does not let strangers in."""
    for access in (Access(RULES, allow_anonymous=True), Access(RULES, public=["/orders", "/open"])):
        with pytest.raises(Unauthenticated) as caught:
            access.admit(call())
        assert caught.value.code == "no_credentials"
        access.admit(call("/open"))
    Access({"/*": "all"}, unasked=["/health"]).admit(call("/health"))


def test_wrong_credentials_where_a_rule_holds():
    """Whoever presents wrong credentials at a public path with a rule hears what was wrong with them."""

    class Expired:
        name, challenge = "expired", "Bearer"

        def __call__(self, call):
            raise Unauthenticated("the token expired", code="token_expired")

    identity, found = Identity([Expired()], public=["/orders"]), call()
    identity.identify(found)
    identity.admit(found)
    with pytest.raises(Unauthenticated) as caught:
        Access(RULES, public=["/orders"]).admit(found)
    assert caught.value.code == "token_expired"


@pytest.mark.parametrize(
    "rule",
    [
        "", "orders", "GET orders", "get /orders", "GET, POST /orders", "GET| /orders", "/a//b", "//a", "/a/./b",
        "/../a", "/a/*/b", "/a/{rest:path}/b", "/a/{id}.json", "/a/x*",
        "/a/{}", "/a/{id", "/a%2fb", "shop.v1.Orders/Create",
    ],
)  # fmt: skip
def test_rules_that_cannot_be(rule):
    """A rule that cannot be read is refused when the service starts, with the rule."""
    with pytest.raises(InvalidArgument) as caught:
        Rules({rule: "x"})
    assert caught.value.code == "invalid_access_rules"
    assert f"'{rule}'" in caught.value.message


@pytest.mark.parametrize(
    "rules",
    [
        {"/orders": "a", "/orders/": "b"},
        {"/orders": "a", "/Orders": "b"},
        {"GET /orders/{id}": "a", "GET /orders/{number}": "b"},
        {"GET|PUT /orders": "a", "PUT /orders": "b"},
        {"/a/*": "a", "/a/{rest:path}": "b"},
        {"/a": ""},
    ],
)
def test_rules_that_contradict(rules):
    """Two rules for one place are refused: which of them holds would depend on their order."""
    with pytest.raises(InvalidArgument):
        Rules(rules)


def test_rules_as_a_setting():
    """Rules are read from entries of a setting."""
    assert parse_rules(["GET /orders=orders:read", " POST /orders/{id} = orders:write | orders:admin"]) == {
        "GET /orders": ("orders:read",),
        "POST /orders/{id}": ("orders:write", "orders:admin"),
    }
    for entries in (["/orders"], ["/orders="], ["=a"], ["/a=b", "/a=c"]):
        with pytest.raises(InvalidArgument):
            Rules(parse_rules(entries))


SEGMENTS = st.sampled_from(["orders", "ORDERS", "export", "17", "admin", "", "status", "Create", "shop.v1.Orders", "x"])


@given(st.lists(SEGMENTS, max_size=5), st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]))
def test_no_spelling_needs_less(segments, method):
    """A path with more slashes or other case never needs less than the plain spelling of it."""
    rules = Rules(RULES)
    path = "/" + "/".join(segments)
    plain = "/" + "/".join(each for each in segments if each)
    assert set(rules.needs(method, plain)) <= set(rules.needs(method, path))
    assert set(rules.needs("GET", path)) == set(rules.needs("HEAD", path))


def frameworks():
    """The same two operations in each framework; the handler answers 299."""
    import litestar
    import quart
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    plain = Starlette(
        routes=[
            Route("/orders", lambda _request: Response(status_code=299), methods=["GET"]),
            Route("/orders/{id}", lambda _request: Response(status_code=299), methods=["GET"]),
        ]
    )

    @litestar.get("/orders", status_code=299, sync_to_thread=False)
    def orders() -> None: ...

    @litestar.get("/orders/{order:str}", status_code=299, sync_to_thread=False)
    def order(request: litestar.Request) -> None: ...

    pages = quart.Quart("pages")
    pages.add_url_rule("/orders", "orders", lambda: ("", 299))
    pages.add_url_rule("/orders/<order>", "order", lambda order: (order, 299))
    return {
        "starlette": plain,
        "litestar": litestar.Litestar([orders, order], openapi_config=None, logging_config=None),
        "quart": pages,
    }


async def reached(app, method, path):
    """Whether the application's handler ran."""
    sent, requests = [], [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return requests.pop() if requests else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", b"x")],
        "client": ("10.0.0.9", 1), "server": ("x", 80), "extensions": {}, "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"] == 299


@pytest.mark.parametrize("framework", ["starlette", "litestar", "quart"])
async def test_no_spelling_reaches_a_handler_without_its_scope(framework):
    """Whatever spelling of a path a framework serves, the rule of the route has held before."""
    app = frameworks()[framework]
    access = Access({"GET /orders": "orders:read", "GET /orders/{id}": "orders:read"})
    parts = ["/", "orders", "ORDERS", "17", ".", "..", "%2f", "\\", "//", ";a"]
    served = 0
    for length in range(1, 5):
        for chosen in itertools.product(parts, repeat=length):
            path = "/" + "".join(chosen)
            for method in ("GET", "HEAD"):
                try:
                    access.admit(call(path, method, scopes=()))
                except Fault:
                    continue
                assert not await reached(app, method, path), path
                served += 1
    assert served
    assert await reached(app, "GET", "/orders")
