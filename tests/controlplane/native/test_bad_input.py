"""Bad input: each is refused with the status, the place and what to do about it, and changes nothing."""

import json
from typing import Any, NamedTuple

import pytest

from tests.controlplane.native.samples import cluster, listener, provide, route, route_config

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"content-type": "application/json"}
ROUTES = "/route-configs/web/virtual-hosts/all/routes"


class Case(NamedTuple):
    """A request, and what it is to be answered with. `hint` is part of the hint beside the pointer."""

    request: str
    body: Any
    status: int
    code: str
    pointer: str | None
    hint: str = ""


def _endpoint(**fields: Any) -> dict[str, Any]:
    return {"endpoints": [{"address": "127.0.0.1", "port": 1, **fields}]}


def _many(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"changes": list(changes)}


PUT_CLUSTER = "PUT /clusters/c"
CASES = [
    # What JSON is
    Case(PUT_CLUSTER, b"", 400, "malformed_json", None),
    Case(PUT_CLUSTER, b"{", 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b'{\n  "endpoints": [,]\n}', 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b'{"a": NaN}', 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b"\xff\xfe", 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b'{"tls": {"sni": "\\ud800"}}', 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b"[" * 5000, 400, "malformed_json", "", ""),
    Case(PUT_CLUSTER, b'{"a":' * 1010 + b"1" + b"}" * 1010, 400, "malformed_json", None),
    Case(PUT_CLUSTER, b'{"endpoints": [{"port": 1, "port": 2}]}', 400, "malformed_json", "/endpoints/0/port"),
    Case(PUT_CLUSTER, b'{"endpoints": [{"address": "a\\u0000b"}]}', 400, "malformed_json", "/endpoints/0/address"),
    Case(PUT_CLUSTER, b"[]", 400, "invalid_argument", ""),
    Case(PUT_CLUSTER, b"null", 400, "invalid_argument", ""),
    # What stands round a specification
    Case(PUT_CLUSTER, {"spec": cluster()}, 400, "invalid_argument", "/spec", "without what is round it"),
    Case("POST /clusters", cluster(), 400, "invalid_argument", "/endpoints"),
    Case("POST /clusters", {"name": "c"}, 400, "invalid_argument", "/spec"),
    Case("POST /clusters", {"spec": cluster()}, 400, "invalid_argument", "/name"),
    Case("POST /clusters", {"name": "c", "spec": []}, 400, "invalid_argument", "/spec"),
    Case("POST /clusters", {"name": "c", "spec": {}, "etag": '"1"'}, 400, "invalid_argument", "/etag", "leave it out"),
    Case("POST /clusters", {"name": "c", "spek": {}}, 400, "invalid_argument", "/spek", "'spec'"),
    Case("POST /clusters", {"name": "C d", "spec": cluster()}, 400, "invalid_name", "/name"),
    Case("POST /clusters", {"name": "c", "spec": {"ports": 1}}, 400, "invalid_document", "/spec/ports"),
    Case("PUT /clusters/Nope", cluster(), 400, "invalid_name", ""),
    # What a specification is
    Case(PUT_CLUSTER, {"conect_timeout_ms": 1}, 400, "invalid_document", "/conect_timeout_ms", "connect_timeout_ms"),
    Case(PUT_CLUSTER, _endpoint(port=0), 400, "invalid_document", "/endpoints/0/port", "1 to 65535"),
    Case(PUT_CLUSTER, _endpoint(port="80"), 400, "invalid_document", "/endpoints/0/port", "whole number"),
    Case(PUT_CLUSTER, _endpoint(port=True), 400, "invalid_document", "/endpoints/0/port"),
    Case(PUT_CLUSTER, _endpoint(port=1.5), 400, "invalid_document", "/endpoints/0/port"),
    Case(PUT_CLUSTER, _endpoint(port=10**30), 400, "invalid_document", "/endpoints/0/port"),
    Case(PUT_CLUSTER, _endpoint(wieght=1), 400, "invalid_document", "/endpoints/0/wieght", "'weight'"),
    Case(PUT_CLUSTER, _endpoint(address="a b"), 400, "invalid_document", "/endpoints/0/address"),
    Case(PUT_CLUSTER, _endpoint(address="svc.local"), 400, "invalid_document", "", ""),
    Case(PUT_CLUSTER, cluster(protocol="http3"), 400, "invalid_document", "/protocol", "http2"),
    Case(PUT_CLUSTER, cluster(health_checks=[{}]), 400, "invalid_document", "/health_checks/0"),
    Case(PUT_CLUSTER, cluster(tls={"sni": "a", "verify": "secret"}), 400, "invalid_document", "/tls"),
    Case(PUT_CLUSTER, cluster(load_balancing={"table_size": 4}), 400, "invalid_document", "/load_balancing"),
    Case("PUT /listeners/l", {"port": 1, "filter_chains": []}, 400, "invalid_document", "/filter_chains"),
    Case("PUT /listeners/l", {**listener(), "address": "local"}, 400, "invalid_document", "/address"),
    Case("PUT /secrets/s", {}, 400, "invalid_document", ""),
    Case("PUT /secrets/s", {"trusted_ca": "no"}, 400, "invalid_document", "/trusted_ca"),
    Case("PUT /secrets/s", {"trusted_ca": "-----BEGIN X"}, 400, "invalid_pem", "/trusted_ca", "BEGIN CERTIFICATE"),
    Case("PATCH /clusters/orders", {"endpoints": None, "discovery": "strict_dns"}, 400, "invalid_document", ""),
    Case(
        "PATCH /clusters/orders", {"conect_timeout_ms": None}, 400, "invalid_document", "/conect_timeout_ms", "connect"
    ),
    Case("PATCH /clusters/orders", {"outlier_detection": {"nope": None}}, 400, "invalid_document", None),
    Case("PATCH /route-configs/web", {"virtal_hosts": None}, 400, "invalid_document", "/virtal_hosts", "virtual_hosts"),
    Case(f"PATCH {ROUTES}/one", {"forward": {"nope": None}}, 400, "invalid_document", "/forward/nope"),
    Case(
        "POST /changes",
        _many({"operation": "patch", "kind": "cluster", "name": "orders", "spec": {"tsl": None}}),
        400,
        "invalid_document",
        "/changes/0/spec/tsl",
        "'tls'",
    ),
    Case("PATCH /clusters/orders", {"tls": {"sni": 4}}, 400, "invalid_document", "/tls/sni"),
    # What is referred to
    Case(
        "PUT /route-configs/r",
        route_config(route("a"), route("b", to="gone")),
        409,
        "unknown_reference",
        "/virtual_hosts/0/routes/1/forward/cluster",
    ),
    Case(
        "PUT /listeners/l", listener(to="wep"), 409, "unknown_reference", "/filter_chains/0/http/route_config", "Create"
    ),
    Case(
        PUT_CLUSTER,
        cluster(tls={"sni": "a", "verify": "secret", "ca_secret": "ca"}),
        409,
        "unknown_reference",
        "/tls/ca_secret",
    ),
    # Single routes
    Case(f"POST {ROUTES}", {"match": {"path": {"prefix": "/"}}}, 400, "invalid_argument", "/name"),
    Case(f"POST {ROUTES}", {"name": "a/b"}, 400, "invalid_argument", "/name"),
    Case(f"POST {ROUTES}?before=nobody", route("new"), 400, "unknown_route", ""),
    Case(f"PUT {ROUTES}/one", route("other"), 400, "invalid_document", "/name"),
    Case(f"PUT {ROUTES}/one", {"match": {"path": {"prefix": "/"}}}, 400, "invalid_document", ""),
    Case(f"PATCH {ROUTES}/one", {"forward": {"cluster": "gone"}}, 409, "unknown_reference", "/forward/cluster"),
    Case(
        f"PATCH {ROUTES}/one",
        {"match": {"path": {"prefix": None, "regex": "("}}},
        400,
        "invalid_document",
        "/match/path/regex",
    ),
    Case(f"PATCH {ROUTES.replace('all', 'none')}/one", {"forward": {"timeout_ms": 1}}, 404, "not_found", None),
    # Several changes
    Case("POST /changes", {"changes": []}, 400, "invalid_argument", "/changes"),
    Case(
        "POST /changes",
        _many({"operation": "puts", "kind": "cluster", "name": "c", "spec": {}}),
        400,
        "invalid_argument",
        "/changes/0/operation",
        "'put'",
    ),
    Case(
        "POST /changes",
        _many({"operation": "put", "kind": "clusters", "name": "c", "spec": {}}),
        400,
        "invalid_argument",
        "/changes/0/kind",
        "'cluster'",
    ),
    Case(
        "POST /changes",
        _many({"operation": "delete", "kind": "cluster", "name": "c", "spec": {}}),
        400,
        "invalid_argument",
        "/changes/0/spec",
    ),
    Case(
        "POST /changes",
        _many({"operation": "put", "kind": "cluster", "name": "c"}),
        400,
        "invalid_argument",
        "/changes/0/spec",
    ),
    Case(
        "POST /changes",
        _many({"operation": "put", "kind": "cluster", "name": "c", "spec": {}, "before": "x"}),
        400,
        "invalid_argument",
        "/changes/0/before",
    ),
    Case(
        "POST /changes",
        _many({"operation": "put", "kind": "cluster", "name": "c", "spec": {"port": 1}}),
        400,
        "invalid_document",
        "/changes/0/spec/port",
    ),
    Case(
        "POST /changes",
        _many(
            {"operation": "put", "kind": "cluster", "name": "c", "spec": cluster()},
            {"operation": "put", "kind": "listener", "name": "l", "spec": listener(to="gone")},
        ),
        409,
        "unknown_reference",
        "/changes/1/spec/filter_chains/0/http/route_config",
    ),
    Case(
        "POST /changes",
        _many(
            {"operation": "put", "kind": "cluster", "name": "c", "spec": cluster()},
            {"operation": "put", "kind": "cluster", "name": "UPPER", "spec": cluster()},
        ),
        400,
        "invalid_name",
        "/changes/1/name",
    ),
    Case(
        "POST /changes",
        _many(
            {"operation": "put", "kind": "cluster", "name": "c", "spec": cluster()},
            {"operation": "delete", "kind": "cluster", "name": "orders"},
        ),
        409,
        "in_use",
        "/changes/1",
    ),
    Case(
        "POST /changes",
        _many({"operation": "put", "kind": "route", "name": "web/all/two", "spec": route("two"), "before": "gone"}),
        400,
        "unknown_route",
        "/changes/0/before",
    ),
    # Bodies where none is read
    Case("POST /revisions/1/restore", {"dry_run": True}, 400, "unexpected_body", "", "query parameter"),
    Case("POST /revisions/1/restore", b"{", 400, "unexpected_body", "", "query parameter"),
    Case("DELETE /clusters/orders", {"dry_run": True}, 400, "unexpected_body", "", "query parameter"),
    Case(f"DELETE {ROUTES}/one", {}, 400, "unexpected_body", "", "query parameter"),
    Case("DELETE /dataplanes/edge", {}, 400, "unexpected_body", "", "send none"),
    # Queries
    Case("GET /clusters?limit=0", None, 400, "invalid_argument", ""),
    Case("GET /clusters?limit=501", None, 400, "invalid_query", "", "next_cursor"),
    Case("GET /clusters?limit=ten", None, 400, "invalid_argument", ""),
    Case("GET /clusters?nmae_contains=a", None, 400, "invalid_query", "", "name_contains"),
    Case("GET /clusters?limit=1&limit=2", None, 400, "invalid_query", "", "keep one"),
    Case("PUT /clusters/c?dryrun=true", cluster(), 400, "invalid_query", "", "dry_run"),
    Case("PUT /clusters/c?dry_run=perhaps", cluster(), 400, "invalid_argument", ""),
    Case(f"PUT /clusters/c?message={'x' * 501}", cluster(), 400, "invalid_argument", ""),
    Case("GET /revisions/first", None, 400, "invalid_argument", ""),
    Case("GET /revisions/99999", None, 404, "unknown_revision", None),
    Case("GET /audit?since=yesterday", None, 400, "invalid_argument", ""),
    Case("GET /audit?since=2026-01-01T00:00:00", None, 400, "invalid_argument", ""),
    Case("GET /schemas/cluster", None, 404, "unknown_kind", None, "clusters"),
]


async def test_there_are_enough_cases():
    """The table covers at least thirty ways to be wrong."""
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.request[:60]} {str(case.body)[:60]}")
async def test_bad_input_is_refused_where_it_stands(api, case):
    """The answer is a problem with a stable code, a pointer into what was sent, and a hint; nothing is changed."""
    await provide(api)
    method, path = case.request.split(" ", 1)
    content = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    answer = await api.request(
        method, path, content=None if case.body is None else content, headers={} if case.body is None else JSON
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (case.status, case.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == case.status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    if case.pointer is not None:
        assert case.pointer in [error["pointer"] for error in problem["errors"]], answer.text
    assert case.hint in " ".join([problem.get("hint", ""), *(e.get("hint", "") for e in problem.get("errors", []))])
    assert (await api.get("/revisions")).json()["total"] == 1


async def test_the_place_of_a_syntax_error_is_told(api):
    """Malformed JSON names line and column."""
    answer = await api.put("/clusters/c", content=b'{\n  "endpoints": [}\n}', headers=JSON)
    assert "line 2, column 17" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_another_content_type_is_415(api, content_type):
    """A body that does not say it is JSON is not read as JSON."""
    headers = {"content-type": content_type} if content_type else {}
    answer = await api.put("/clusters/c", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["hint"]
    assert (
        await api.put("/clusters/c", content=b"{}", headers={"content-type": "application/merge-patch+json"})
    ).status_code == 415


async def test_every_violation_is_told_at_once(api):
    """Two mistakes are two entries, so that one round is enough to mend both."""
    answer = await api.put("/clusters/c", json={"endpoints": [{"address": "?", "port": 0}], "tsl": {}})
    assert {error["pointer"] for error in answer.json()["errors"]} == {
        "/endpoints/0/address",
        "/endpoints/0/port",
        "/tsl",
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/clusters", "GET, POST"),
        ("POST", "/clusters/orders", "DELETE, GET, PATCH, PUT"),
        ("GET", "/revisions/1/restore", "POST"),
        ("PUT", ROUTES, "GET, POST"),
    ],
)
async def test_a_method_that_is_not_there_is_405(api, method, path, allowed):
    """An unknown method of a known path names all those there are."""
    answer = await api.request(method, path, json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed
    assert allowed in answer.json()["hint"]
