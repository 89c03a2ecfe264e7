"""Importing a document: what is made, what is told, and what is refused."""

import asyncio
import json

import pytest

from headgate.controlplane.platform.shapes import ImportReport
from tests.controlplane.platform.documents import clusters, document, names, operations, post, put, routes
from tests.corpus import DOCUMENTS, read

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_document_becomes_rows_in_one_revision(api, team):
    """Cluster, listener, route config and routes are made in one revision; the report says so."""
    report = await put(api, name="shop")
    ImportReport.model_validate(report)
    assert (report["name"], report["team"], report["revision"], report["changed"]) == ("shop", team, 1, True)
    assert report["document"] | {"sha256": ""} == {
        "title": "Shop API",
        "version": "1.2",
        "openapi": "3.1.0",
        "sha256": "",
    }
    assert report["gateway"] == {
        "listener": "gateway",
        "url": "http://127.0.0.1:10000",
        "route_config": "gateway",
        "virtual_host": "default",
        "domains": ["*"],
    }
    assert report["totals"] == {"operations": 3, "routed": 3, "not_routed": 0}
    made = {(diff["kind"], diff["name"], diff["what"]) for diff in report["diffs"]}
    assert made == {
        ("cluster", "shop", "created"),
        ("listener", "gateway", "created"),
        ("route_config", "gateway", "created"),
        *(("route", f"gateway/default/shop:{name}", "created") for name in ("listOrders", "createOrder", "getOrder")),
    }
    listener = (await api.get("/native/listeners/gateway")).json()
    assert (listener["spec"]["address"], listener["spec"]["port"], listener["owner"]) == ("127.0.0.1", 10000, "")
    assert [chain["http"]["access_logs"] for chain in listener["spec"]["filter_chains"]] == [[{}]]
    cluster = (await api.get("/native/clusters/shop")).json()
    assert (cluster["owner"], cluster["spec"]["tls"]) == ("api/shop", {"sni": "shop.example"})
    revision = (await api.get("/native/revisions/1")).json()
    assert (revision["surface"], revision["message"]) == ("platform", "import of shop")


async def test_the_name_is_made_of_the_title(api):
    """Without a name, the API is called after the document's title."""
    assert (await put(api))["name"] == "shop-api"


async def test_yaml_is_imported(api):
    """A document in YAML is as good as one in JSON."""
    answer = await api.post(
        "/platform/import/openapi",
        params={"name": "odd"},
        content=read("made/odd-3.2.yaml"),
        headers={"content-type": "application/yaml"},
    )
    report = answer.json()
    ImportReport.model_validate(report)
    totals = report["totals"]
    assert totals["operations"] == totals["routed"] + totals["not_routed"] == len(report["operations"])
    lost = {operation["path"]: operation["code"] for operation in report["operations"] if not operation["routed"]}
    assert lost["/slash%2Finside"] == "escaped_slash"
    assert {note["code"] for note in report["notes"]} >= {"external_ref", "webhooks_not_routed", "fragment_ignored"}


async def test_a_dry_run_changes_nothing(api):
    """A dry run tells everything and changes nothing."""
    report = await put(api, name="shop", dry_run=True)
    assert (report["dry_run"], report["changed"], report["revision"]) == (True, True, 0)
    assert len(report["diffs"]) == 6
    assert await clusters(api) == []
    assert (await api.get("/platform/apis")).json()["items"] == []


async def test_upstream_path_and_domain(api):
    """An upstream replaces the servers, a path is taken off, a domain has its virtual host."""
    report = await put(api, name="shop", upstream="http://127.0.0.1:3001/base", path="/shop", domain="Shop.Example")
    assert report["gateway"]["virtual_host"] == "shop"
    assert report["gateway"]["domains"] == ["shop.example"]
    assert [server["status"] for server in report["servers"]] == ["replaced"]
    found = {operation["operation_id"]: operation for operation in report["operations"]}
    assert found["getOrder"]["gateway_path"] == "/shop/v1/orders/{id}"
    assert found["getOrder"]["upstream_path"] == "/base/v1/orders/{id}"
    (first, *_) = await routes(api, "shop")
    assert first["forward"] == {
        "cluster": "shop",
        "host_rewrite": "127.0.0.1",
        "regex_rewrite": {"pattern": "^/shop/", "substitution": "/base/"},
    }
    assert await names(api) == []


async def test_relative_servers_start_from_the_source(api):
    """With the URL of the document, its relative servers are usable."""
    await put(api, document(servers=[{"url": "/v2"}]), name="shop", source_url="http://127.0.0.1:3001/docs/o.json")
    cluster = (await api.get("/native/clusters/shop")).json()
    assert cluster["spec"]["endpoints"] == [{"address": "127.0.0.1", "port": 3001}]


async def test_two_apis_share_a_virtual_host_in_order(api):
    """Routes of several APIs stand in one order, the most specific first."""
    await put(api, document(operations("/{a}", "/a/{b}")), name="one")
    await put(api, document(operations("/x", "/a/b", "/{a}/{b}")), name="two")
    assert [(route["name"].partition(":")[0], *route["match"]["path"].values()) for route in await routes(api)] == [
        ("two", "/v1/a/b"),
        ("one", "/v1/a/{b}"),
        ("two", "/v1/x"),
        ("one", "/v1/{a}"),
        ("two", "/v1/{a}/{b}"),
    ]


async def test_conflicts_are_told_operation_by_operation(api):
    """What another API takes already is not routed, with its name and what to do; the rest is."""
    await put(api, document(operations("/a/{id}", "/b")), name="one")
    report = await put(api, document(operations("/a/{name}", "/c")), name="two")
    lost, routed = report["operations"]
    assert (lost["routed"], lost["code"], routed["routed"]) == (False, "taken", True)
    assert "'one:get-a-id' of api/one" in lost["reason"]
    assert "--path" in lost["hint"]
    assert report["totals"] == {"operations": 2, "routed": 1, "not_routed": 1}


async def test_routes_people_wrote_are_neither_moved_nor_hidden(api):
    """Routes written by hand keep their order; those in front of which new ones go are only catch-alls at the end."""
    by_hand = [
        {"name": "deny", "match": {"path": {"prefix": "/v1/admin"}}, "direct_response": {"status": 403}},
        {"name": "rest", "match": {"path": {"prefix": "/"}}, "direct_response": {"status": 404}},
    ]
    config = {"virtual_hosts": [{"name": "default", "domains": ["*"], "routes": by_hand}]}
    assert (await api.put("/native/route-configs/gateway", json=config)).is_success
    report = await put(api, document(operations("/admin/users", "/a")), name="shop")
    admin, plain = report["operations"]
    assert (admin["code"], plain["routed"]) == ("shadowed", True)
    assert await names(api) == ["deny", "shop:get-a", "rest"]


async def test_everything_taken_is_a_conflict(api):
    """An import of which nothing would be left is refused as a whole, and leaves nothing behind."""
    await put(api, name="one")
    answer = await post(api, name="two")
    assert (answer.status_code, answer.json()["code"]) == (409, "all_taken")
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/paths/~1orders/get",
        "/paths/~1orders/post",
        "/paths/~1orders~1{id}/get",
    ]
    assert await clusters(api) == ["one"]
    dry = await put(api, name="two", dry_run=True)
    assert (dry["totals"]["not_routed"], dry["changed"]) == (3, False)


async def test_a_name_that_is_taken(api):
    """A cluster of somebody else's is not taken over."""
    assert (await api.put("/native/clusters/shop", json={"endpoints": []})).is_success
    answer = await post(api, name="shop")
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


@pytest.mark.parametrize(
    ("content", "query", "code", "pointer"),
    [
        ("[1, 2", {}, "invalid_json", None),
        ("{}", {}, "not_openapi", ""),
        ('{"openapi": "9"}', {}, "unsupported_version", "/openapi"),
        ('{"openapi": "3.0.0", "paths": 3}', {}, "invalid_document", "/paths"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"get": {}, "get": {}}}}', {}, "duplicate_key", "/paths/~1a/get"),
        (None, {"name": "Not A Name"}, "invalid_name", "/name"),
        (None, {"upstream": "ftp://x"}, "invalid_upstream", "/upstream"),
        (None, {"path": "x"}, "invalid_path", "/path"),
        (None, {"domain": "a b"}, "invalid_domain", "/domain"),
        (None, {"nmae": "x"}, "invalid_query", ""),
        (document(servers=[]), {}, "no_upstream", "/paths/~1orders/get"),
        (document(operations("/{a", "/b%2Fc")), {}, "nothing_routable", "/paths/~1{a/get"),
    ],
)
async def test_what_is_refused(api, content, query, code, pointer):
    """Bad input is 400 with a code, a pointer and, where there is something to do, a hint."""
    content = document() if content is None else content
    text = content if isinstance(content, str) else json.dumps(content)
    answer = await api.post(
        "/platform/import/openapi", params=query, content=text, headers={"content-type": "application/json"}
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, code), problem
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer
    assert await clusters(api) == []


async def test_unknown_listeners(api):
    """A listener that is not there is not made, but for the default one; one without HTTP cannot be used."""
    answer = await post(api, listener="nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_listener")
    assert (await api.put("/native/clusters/c", json={"endpoints": []})).is_success
    raw = {"port": 9999, "filter_chains": [{"name": "raw", "tcp": {"cluster": "c"}}]}
    assert (await api.put("/native/listeners/raw", json=raw)).is_success
    answer = await post(api, listener="raw")
    assert (answer.status_code, answer.json()["code"]) == (409, "listener_without_http")


async def test_a_listener_of_ones_own(api):
    """On a listener that is there, the route config it serves takes the routes."""
    config = {"virtual_hosts": [{"name": "mine", "domains": ["*"]}]}
    assert (await api.put("/native/route-configs/inner", json=config)).is_success
    listener = {"port": 9998, "filter_chains": [{"name": "http", "http": {"route_config": "inner"}}]}
    assert (await api.put("/native/listeners/inner", json=listener)).is_success
    report = await put(api, name="shop", listener="inner")
    assert report["gateway"]["url"] == "http://127.0.0.1:9998"
    assert len(await names(api, "mine", "inner")) == 3
    assert (await api.get("/native/listeners/gateway")).status_code == 404


async def test_limits(api, running):
    """A document beyond the limits of bytes or operations is refused."""
    answer = await api.post("/platform/import/openapi", content=b" " * 20_000_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    answer = await post(api, document(operations(*(f"/{n}" for n in range(2_001)))))
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_operations")


@pytest.mark.parametrize(
    "headers", [{"content-type": "application/x-www-form-urlencoded"}, {"content-encoding": "gzip"}]
)
async def test_media_types(api, headers):
    """What is declared as something else than JSON, YAML or text is not guessed at."""
    answer = await api.post("/platform/import/openapi", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_progress_is_streamed(api):
    """With NDJSON, lines of progress come first and the report last."""
    lines = await _stream(api, read("github.json.gz"), name="github")
    stages = [line["progress"]["stage"] for line in lines[:-1]]
    assert list(dict.fromkeys(stages)) == ["reading", "planning", "applying"]
    assert all(line["progress"]["done"] <= line["progress"]["total"] for line in lines[:-1])
    ImportReport.model_validate(lines[-1]["report"])
    assert lines[-1]["report"]["totals"] == {"operations": 1223, "routed": 1223, "not_routed": 0}


async def test_a_problem_is_the_last_line(api):
    """With NDJSON, a refusal is the last line, with all members of a problem."""
    (*_, last) = await _stream(api, b'{"openapi": "9"}')
    problem = last["problem"]
    assert (problem["status"], problem["code"]) == (400, "unsupported_version")
    assert problem["errors"][0]["pointer"] == "/openapi"
    assert problem["request_id"]


async def _stream(api, content, **query):
    headers = {"accept": "application/x-ndjson", "content-type": "application/json"}
    async with api.stream("POST", "/platform/import/openapi", params=query, content=content, headers=headers) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) async for line in answer.aiter_lines()]


async def test_the_event_loop_lives_during_an_import(running, api):
    """While a large document is imported, other requests are answered."""
    importing = asyncio.create_task(_stream(api, read("github.json.gz"), name="github"))
    answered = 0
    while not importing.done():
        assert (await running.client.get("/health")).status_code == 200
        answered += 1
    await importing
    assert answered >= 5


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith("oai/")])
async def test_the_examples_of_openapi(api, name):
    """Every example of the OpenAPI Initiative is imported whole, given an upstream."""
    kind = "application/yaml" if name.endswith("yaml") else "application/json"
    answer = await api.post(
        "/platform/import/openapi",
        params={"name": "example", "upstream": "http://127.0.0.1:3001"},
        content=read(name),
        headers={"content-type": kind},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["totals"]["not_routed"] == 0


@pytest.mark.parametrize("scope", ["clusters:write", "listeners:write", "route-configs:write"])
async def test_publishing_needs_three_scopes(running, api, team, scope):
    """A token that lacks one of the three scopes may not publish."""
    others = sorted({"clusters:write", "listeners:write", "route-configs:write"} - {scope})
    made = await running.client.post("/api/v1/tokens", json={"name": "x", "team": team, "scopes": others})
    async with running.client_for(made.json()["token"]) as client:
        answer = await client.post("/api/v1/platform/import/openapi", json=document())
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        assert scope in answer.json()["detail"]
