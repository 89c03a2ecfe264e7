"""The plan: clusters and routes, and an account of every operation."""

import re
from typing import Any

import pytest

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.route_config import Route
from headgate.controlplane.openapi.document import read_document
from headgate.controlplane.openapi.naming import api_name, cluster_names, route_names
from headgate.controlplane.openapi.plan import Plan, Target, make_plan
from headgate.controlplane.openapi.text import parse_text
from headgate.kit.controls.faults import InvalidArgument
from tests.corpus import DOCUMENTS, read

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def plan_of(paths: dict[str, Any], target: Target | None = None, **root: Any) -> Plan:
    """The plan of a 3.1 document with these paths, on https://api.example.com/v1 unless told otherwise."""
    document = {"openapi": "3.1.0", "servers": [{"url": "https://api.example.com/v1"}], **root, "paths": paths}
    return make_plan(read_document(document), target or Target("shop"))


def test_an_operation_becomes_a_route():
    """Server base path and path make the gateway's path; the cluster speaks TLS under the server's name."""
    plan = plan_of({"/orders/{id}": {"get": {"operationId": "getOrder"}}})
    assert plan.clusters == {
        "shop": {
            "discovery": "strict_dns",
            "endpoints": [{"address": "api.example.com", "port": 443}],
            "dns_family": "v4_preferred",
            "tls": {"sni": "api.example.com"},
        }
    }
    (route,) = plan.routes
    assert route.document == {
        "name": "shop:getOrder",
        "match": {"path": {"template": "/v1/orders/{id}"}, "methods": ["GET"]},
        "forward": {"cluster": "shop", "auto_host_rewrite": True},
    }
    (account,) = plan.accounts
    assert (account.route, account.cluster, account.code) == ("shop:getOrder", "shop", "")
    assert (account.gateway_path, account.upstream_path) == ("/v1/orders/{id}", "/v1/orders/{id}")


@pytest.mark.parametrize(
    ("url", "cluster", "rewrite"),
    [
        (
            "http://127.0.0.1:3001",
            {"endpoints": [{"address": "127.0.0.1", "port": 3001}]},
            {"host_rewrite": "127.0.0.1"},
        ),
        ("http://[::1]:3001", {"endpoints": [{"address": "::1", "port": 3001}]}, {}),
        (
            "https://192.0.2.1",
            {"endpoints": [{"address": "192.0.2.1", "port": 443}], "tls": {"subject_alt_names": ["192.0.2.1"]}},
            {"host_rewrite": "192.0.2.1"},
        ),
        (
            "http://localhost:3001",
            {
                "discovery": "strict_dns",
                "endpoints": [{"address": "localhost", "port": 3001}],
                "dns_family": "v4_preferred",
            },
            {"auto_host_rewrite": True},
        ),
    ],
)
def test_upstreams(url, cluster, rewrite):
    """An address makes a static cluster and a name one that is looked up; the upstream sees its own host."""
    plan = plan_of({"/a": {"get": {}}}, Target("shop", url))
    assert plan.clusters == {"shop": cluster}
    Cluster.model_validate(plan.clusters["shop"])
    assert plan.routes[0].document["forward"] == {"cluster": "shop", **rewrite}


@pytest.mark.parametrize(
    ("mount", "upstream", "gateway", "arriving", "rewrite"),
    [
        ("", "", "/v1/a/{id}", "/v1/a/{id}", None),
        ("/shop", "", "/shop/v1/a/{id}", "/v1/a/{id}", ("^/shop/", "/")),
        ("/shop/", "http://127.0.0.1:1/", "/shop/v1/a/{id}", "/v1/a/{id}", ("^/shop/", "/")),
        ("", "http://127.0.0.1:1/base", "/v1/a/{id}", "/base/v1/a/{id}", ("^/", "/base/")),
        ("/s.p", "http://127.0.0.1:1/base/", "/s.p/v1/a/{id}", "/base/v1/a/{id}", (r"^/s\.p/", "/base/")),
        ("/same", "http://127.0.0.1:1/same", "/same/v1/a/{id}", "/same/v1/a/{id}", None),
    ],
)
def test_mounts_and_upstream_paths(mount, upstream, gateway, arriving, rewrite):
    """The mount is taken off and the path of the upstream put in front; equal ones need no rewrite."""
    plan = plan_of({"/a/{id}": {"get": {}}}, Target("shop", upstream, mount))
    (account,) = plan.accounts
    assert (account.gateway_path, account.upstream_path) == (gateway, arriving)
    found = plan.routes[0].document["forward"].get("regex_rewrite")
    assert (found and (found["pattern"], found["substitution"])) == rewrite
    if rewrite:
        assert re.sub(rewrite[0], rewrite[1], gateway) == arriving


@pytest.mark.parametrize("path", ["shop", "//shop", "/a/../b", "/a?b", "/{id}", "/a%20b", "/a b", "/" + "a" * 300])
def test_mounts_that_cannot_be(path):
    """A mount is plain text between slashes."""
    with pytest.raises(InvalidArgument) as caught:
        plan_of({}, Target("shop", mount=path))
    assert (caught.value.code, caught.value.violations[0].pointer) == ("invalid_path", "/path")


@pytest.mark.parametrize(
    "url", ["x", "ftp://a", "//a.example", "http://", "http://a.example?x", "http://u:p@a.example", "http://a/{x}"]
)
def test_upstreams_that_cannot_be(url):
    """An upstream is a URL with a scheme and a host, and nothing that would be ignored."""
    with pytest.raises(InvalidArgument) as caught:
        plan_of({}, Target("shop", url))
    assert (caught.value.code, caught.value.violations[0].pointer) == ("invalid_upstream", "/upstream")
    assert "u:p" not in caught.value.message


def test_every_server_is_told():
    """The first usable server is used; the others are alternatives or unusable, and an upstream replaces all."""
    servers = [{"url": "/"}, {"url": "https://a.example"}, {"url": "https://b.example"}]
    paths = {"/a": {"get": {}, "put": {"servers": [{"url": "https://c.example"}]}}}
    used = plan_of(paths, servers=servers)
    assert [(server.url, server.status, server.cluster) for server in used.servers] == [
        ("/", "unusable", ""),
        ("https://a.example", "used", "shop"),
        ("https://b.example", "alternative", ""),
        ("https://c.example", "used", "shop-2"),
    ]
    assert [account.cluster for account in used.accounts] == ["shop", "shop-2"]
    replaced = plan_of(paths, Target("shop", "http://127.0.0.1:1"), servers=servers)
    assert {server.status for server in replaced.servers} == {"replaced"}


def test_an_origin_keeps_its_cluster():
    """A cluster keeps its name while its origin is in the document, whatever comes before it."""

    def clusters(*urls, previous=None):
        paths = {f"/{n}": {"get": {}, "servers": [{"url": url}]} for n, url in enumerate(urls)}
        document = read_document({"openapi": "3.1.0", "paths": paths})
        made = make_plan(document, Target("shop"), previous_clusters=previous).clusters
        return made, {name: cluster["endpoints"][0]["address"] for name, cluster in made.items()}

    first, names = clusters("http://a.example", "http://b.example")
    assert names == {"shop": "a.example", "shop-2": "b.example"}
    second, names = clusters("http://c.example", "http://b.example", "http://a.example/x", previous=first)
    assert names == {"shop": "a.example", "shop-2": "b.example", "shop-3": "c.example"}
    assert clusters("http://d.example", "http://b.example", previous=second)[1] == {
        "shop": "d.example",
        "shop-2": "b.example",
    }


def test_no_server_no_route():
    """Without a server to connect to, operations are accounted for with a hint."""
    plan = plan_of({"/a": {"get": {}}}, servers=[{"url": "/v1"}])
    (account,) = plan.accounts
    assert (account.code, plan.routes, plan.clusters) == ("no_upstream", (), {})
    assert "--upstream" in account.hint


def test_repeats_are_refused():
    """Of operations with the same requests the first is routed; one told apart by a fragment only comes last."""
    paths = {
        "/a/{id}#odd": {"get": {}},
        "/a/{id}": {"get": {}},
        "/a/{name}": {"get": {}, "put": {}},
        "/a/%7Bx": {"get": {}},
        "/b?x=1": {"get": {}},
        "/b?x=2": {"get": {}},
    }
    plan = plan_of(paths)
    assert [(account.path, account.method, account.code) for account in plan.accounts] == [
        ("/a/{id}#odd", "GET", "same_as_other"),
        ("/a/{id}", "GET", ""),
        ("/a/{name}", "GET", "same_as_other"),
        ("/a/{name}", "PUT", ""),
        ("/a/%7Bx", "GET", ""),
        ("/b?x=1", "GET", ""),
        ("/b?x=2", "GET", ""),
    ]
    assert "GET /a/{id} (/paths/~1a~1{id}/get)" in plan.accounts[0].reason


def test_routes_are_tried_in_order_of_specificity():
    """Text before variables, more conditions before fewer, exact ones first."""
    paths = {
        "/{x}": {"get": {}},
        "/a": {"get": {}},
        "/a?k": {"get": {}},
        "/a?k=1": {"get": {}},
        "/{rest+}": {"get": {}},
        "/a/{y}": {"get": {}},
    }
    plan = plan_of(paths)
    assert [plan.accounts[route.account].path for route in plan.routes] == [
        "/a?k=1",
        "/a?k",
        "/a",
        "/a/{y}",
        "/{x}",
        "/{rest+}",
    ]


def test_methods():
    """Envoy's further methods are matched as the pseudo-header; what it does not take is accounted for."""
    item = {"query": {}, "trace": {}, "additionalOperations": {"COPY": {}, "copy": {}, "FROB": {}, "CONNECT": {}}}
    plan = plan_of({"/a": item}, openapi="3.2.0")
    assert {account.method: account.code for account in plan.accounts} == {
        "QUERY": "",
        "TRACE": "",
        "COPY": "",
        "copy": "method_not_routable",
        "FROB": "method_not_routable",
        "CONNECT": "method_not_routable",
    }
    copy = next(route.document for route in plan.routes if "headers" in route.document["match"])
    assert copy["match"]["headers"] == [{"name": ":method", "exact": "COPY"}]


def test_what_no_route_can_say():
    """What the model refuses is accounted for, and takes nothing else down."""
    plan = plan_of({f"/a?{'n' * 300}=1": {"get": {}}, "/b": {"get": {}}})
    assert [account.code for account in plan.accounts] == ["not_expressible", ""]


def test_names_of_routes():
    """Route names are the API's and the operation's, valid, unique, and independent of the document's order."""
    operations = [
        ("GET", "/a", "list things"),
        ("GET", "/b", "list-things"),
        ("GET", "/c/{id}", ""),
        ("GET", "/d", "x" * 300),
        ("GET", "/ü", "ü"),
        ("GET", "/", "..."),
    ]
    names = route_names("shop", operations)
    assert names[0] == "shop:list-things"
    assert names[1].startswith("shop:list-things-")
    assert names[2] == "shop:get-c-id"
    assert len(set(names)) == len(names)
    backwards = dict(zip(reversed(operations), route_names("shop", operations[::-1]), strict=True))
    assert [backwards[operation] for operation in operations] == names
    for name in route_names("n" * 100, operations):
        Route.model_validate({"name": name, "match": {"path": {"exact": "/"}}, "direct_response": {"status": 200}})


def test_names_of_apis_and_clusters():
    """An API is named after its title; further clusters are numbered, within the length of a name."""
    assert api_name("GitHub v3 REST API") == "github-v3-rest-api"
    assert api_name("日本") == "api"
    assert len(api_name("x" * 300)) == 80
    assert cluster_names("shop", 3, ["shop-2"]) == ["shop", "shop-3", "shop-4"]
    assert [len(name) for name in cluster_names("n" * 100, 2)] == [100, 100]


@pytest.mark.parametrize("upstream", ["", "http://127.0.0.1:1/up"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_accounted_for(name, upstream):
    """Every operation of every document of the corpus is there once, routed or with a reason; routes are valid."""
    document = read_document(parse_text(read(name)))
    plan = make_plan(document, Target("shop", upstream))
    assert [(a.method, a.path, a.pointer) for a in plan.accounts] == [
        (o.method, o.key, o.pointer) for o in document.operations
    ]
    assert sorted(route.account for route in plan.routes) == [
        index for index, account in enumerate(plan.accounts) if not account.code
    ]
    assert all(bool(account.code) == bool(account.reason) for account in plan.accounts)
    assert {account.cluster for account in plan.accounts if not account.code} == set(plan.clusters)
    assert len({route.name for route in plan.routes}) == len(plan.routes)
    if not name.startswith("made/"):
        paths = parse_text(read(name)).get("paths") or {}
        assert len(plan.accounts) == sum(method in METHODS for item in paths.values() for method in item)
        if upstream:
            assert len(plan.routes) == len(plan.accounts)


def test_the_same_again_is_the_same_plan():
    """Planning is a pure function of the document."""
    raw = read("made/odd-3.2.yaml")
    first, second = (make_plan(read_document(parse_text(raw)), Target("odd")) for _ in range(2))
    assert first == second
