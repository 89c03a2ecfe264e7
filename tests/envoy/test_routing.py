"""What a document says is what a real Envoy does: matches, actions, headers, and the hardened edge."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from headgate.testing.envoy import RealEnvoy
from headgate.testing.server import free_port
from tests.envoy.gateway import ask, echo_upstream, gateway

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]


def answer(name, match, **more):
    """A route that answers with its own name."""
    return {"name": name, "match": match, "direct_response": {"status": 200, "body": name}, **more}


def only(headers=(), query=(), **path):
    """A match on a path, headers and a query."""
    return {"path": path, "headers": list(headers), "query": list(query)}


ROUTES = [
    answer("methods", only(exact="/methods") | {"methods": ["POST", "PUT"]}),
    answer("one-method", only(exact="/methods") | {"methods": ["DELETE"]}),
    answer("case", only(prefix="/case") | {"case_sensitive": False}),
    answer("not-beta", only([{"name": "x-user", "exact": "beta", "invert": True}], exact="/invert")),
    answer("absent", only([{"name": "x-user", "present": False}], exact="/absent")),
    answer("contains", only([{"name": "x-user", "contains": "et"}], exact="/contains")),
    answer("no-debug", only(query=[{"name": "debug", "present": False}], exact="/query")),
    answer("debug", only(query=[{"name": "debug", "prefix": "t"}], exact="/query")),
    answer("regex", only(regex="/re/[0-9]+")),
    answer("separated", only(path_separated_prefix="/separated")),
    answer("grpc", only(exact="/grpc") | {"grpc": True}),
    {
        "name": "json",
        "match": only(exact="/json"),
        "direct_response": {"status": 201, "body": "{}", "content_type": "application/json; q=100%"},
        "response_headers": {"set": [{"name": "x-level", "value": "route"}, {"name": "x-empty", "value": ""}]},
    },
    {
        "name": "strip",
        "match": only(path_separated_prefix="/strip"),
        "forward": {"cluster": "echo", "prefix_rewrite": "/"},
        "request_headers": {"set": [{"name": "x-level", "value": "route"}], "remove": ["x-secret"]},
    },
    {
        "name": "strip-redirect",
        "match": only(path_separated_prefix="/old"),
        "redirect": {"prefix_rewrite": "/", "host": "new.example", "https": True, "status": 308},
    },
    {
        "name": "beyond-ascii",
        "match": only(prefix="/caf\u00e9"),
        "forward": {"cluster": "echo", "prefix_rewrite": "/th\u00e9"},
    },
    {
        "name": "hash",
        "match": only(prefix="/retry"),
        "forward": {
            "weighted_clusters": [{"cluster": "echo", "weight": 1}],
            "retry": {"retriable_status_codes": [404], "attempts": 2},
            "mirrors": [{"cluster": "echo", "percent": 0}],
            "host_rewrite": "2001:db8::1",
        },
    },
]
CONFIG = {
    "virtual_hosts": [
        {
            "name": "all",
            "domains": ["*"],
            "routes": ROUTES,
            "response_headers": {"set": [{"name": "x-level", "value": "host"}]},
            "request_headers": {"set": [{"name": "x-level", "value": "host"}]},
        },
        {"name": "named", "domains": ["named.example"], "routes": [answer("named", only(prefix="/"))]},
    ],
    "response_headers": {"set": [{"name": "x-level", "value": "config"}, {"name": "x-config", "value": "1"}]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory) -> AsyncIterator[int]:
    """The port of a gateway with ROUTES."""
    number = free_port()
    with echo_upstream() as upstream:
        bootstrap = gateway(number, CONFIG, upstream=upstream, max_request_headers_count=30)
        async with RealEnvoy(bootstrap, tmp_path_factory.mktemp("envoy")) as envoy:
            await envoy.wait_live()
            yield number


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"path": "/methods", "method": "PUT"}, "methods"),
        ({"path": "/methods", "method": "DELETE"}, "one-method"),
        ({"path": "/methods", "method": "GET"}, None),
        ({"path": "/CaSe/x"}, "case"),
        ({"path": "/invert"}, "not-beta"),
        ({"path": "/invert", "headers": {"x-user": "alpha"}}, "not-beta"),
        ({"path": "/invert", "headers": {"x-user": "beta"}}, None),
        ({"path": "/absent"}, "absent"),
        ({"path": "/absent", "headers": {"x-user": ""}}, None),
        ({"path": "/contains", "headers": {"x-user": "beta"}}, "contains"),
        ({"path": "/query"}, "no-debug"),
        ({"path": "/query?debug=true"}, "debug"),
        ({"path": "/query?debug=false"}, None),
        ({"path": "/re/12"}, "regex"),
        ({"path": "/re/12/x"}, None),
        ({"path": "/separated"}, "separated"),
        ({"path": "/separated/x?y"}, "separated"),
        ({"path": "/separatedx"}, None),
        ({"path": "/grpc"}, None),
        ({"path": "/x", "host": "named.example"}, "named"),
        ({"path": "/x", "host": "NAMED.example.:8443"}, "named"),
    ],
)
async def test_matches(port, request_, wanted):
    """A request gets the first route whose every condition holds, or 404."""
    got = await asyncio.to_thread(ask, port, **request_)
    assert (got.status, got.body) == ((200, wanted) if wanted else (404, ""))


@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip/a/b?c=/strip/d", "/a/b?c=/strip/d"),
        ("/caf%C3%A9/x", "/th%C3%A9/x"),
    ],
)
async def test_prefix_rewrites(port, path, upstream_path):
    """A rewritten prefix leaves no double slash and no query behind."""
    assert (await asyncio.to_thread(ask, port, path)).body == upstream_path


async def test_redirect_strips_the_prefix(port):
    """A redirect's prefix rewrite is as clean as a forward's."""
    got = await asyncio.to_thread(ask, port, "/old/a?b")
    assert (got.status, got["location"]) == (308, "https://new.example/a?b")


async def test_the_route_wins_over_its_virtual_host(port):
    """Where several levels set a header, the most specific wins, and the others' own headers stay."""
    got = await asyncio.to_thread(ask, port, "/json")
    assert (got["x-level"], got["x-config"], got["x-empty"]) == ("route", "1", "")
    upstream = await asyncio.to_thread(ask, port, "/strip/", headers={"x-secret": "s"})
    assert upstream["echo-x-level"] == "route"
    assert "echo-x-secret" not in upstream


async def test_a_direct_response_has_its_content_type(port):
    """The content type is as written, even with Envoy's own sign in it."""
    got = await asyncio.to_thread(ask, port, "/json")
    assert (got.status, got.body, got["content-type"]) == (201, "{}", "application/json; q=100%")


async def test_an_address_as_host_gets_its_brackets(port):
    """An IPv6 address written as host stands in the Host header as it must."""
    assert (await asyncio.to_thread(ask, port, "/retry"))["echo-host"] == "[2001:db8::1]"


async def test_the_edge_normalises_paths(port):
    """Dot segments and repeated slashes are resolved before a route is chosen, escaped slashes refused."""
    assert (await asyncio.to_thread(ask, port, "/x/../separated//a")).body == "separated"
    assert (await asyncio.to_thread(ask, port, "/separated%2Fa")).status == 400


async def test_the_edge_believes_nobody(port):
    """Envoy's own headers and the request id are not taken from a client; X-Forwarded-For names the peer."""
    sent = {"x-envoy-retry-on": "5xx", "x-request-id": "mine", "x-forwarded-for": "192.0.2.1"}
    got = await asyncio.to_thread(ask, port, "/strip/", headers=sent)
    assert "echo-x-envoy-retry-on" not in got
    assert got["echo-x-request-id"] != "mine"
    assert got["x-request-id"] == got["echo-x-request-id"]
    assert got["echo-x-forwarded-for"].startswith("192.0.2.1,"), "what the client claims comes before what is known"
    assert got["server"] == "headgate"


async def test_the_edge_limits_headers(port):
    """A request with more headers than allowed is refused."""
    many = {f"x-{index}": "1" for index in range(31)}
    assert (await asyncio.to_thread(ask, port, "/json", headers=many)).status == 431


async def test_the_access_log_tells_a_request_without_its_query(tmp_path):
    """The default line is JSON, has the path the client asked for, and nothing of what may be secret in it."""
    number = free_port()
    route = {"name": "r", "match": {"path": {"prefix": "/a"}}, "forward": {"cluster": "echo", "prefix_rewrite": "/b"}}
    config = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    with echo_upstream() as upstream:
        bootstrap = gateway(number, config, upstream=upstream, access_logs=[{}])
        async with RealEnvoy(bootstrap, tmp_path) as envoy:
            await envoy.wait_live()
            await asyncio.to_thread(ask, number, "/a/x?token=secret")
            await asyncio.to_thread(ask, number, "/none?token=secret")
    lines = [json.loads(line) for line in envoy.log.splitlines() if line.startswith('{"')]
    assert [(line["path"], line["status"], line["route"]) for line in lines] == [
        ("/a/x", 200, "r"),
        ("/none", 404, None),
    ]
    assert lines[0]["cluster"] == "team/echo"
    assert "secret" not in json.dumps(lines)
