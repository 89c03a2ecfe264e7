"""Exposing a URL: cluster, route and listener in one revision, and back."""

import asyncio

import pytest

from headgate.controlplane.platform.shapes import ExposedService, ExposedServicePage, ExposeReport
from tests.controlplane.platform.documents import clusters, document, names, operations, put, routes

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = {"name": "hello", "url": "http://127.0.0.1:3001", "path": "/hello"}


async def _expose(api, **body):
    answer = await api.post("/platform/expose", json={**HELLO, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_one_revision_makes_it_all(api):
    """Cluster, route, route config and listener are made at once, and the answer says where it is."""
    report = await _expose(api)
    ExposeReport.model_validate(report)
    assert (report["url"], report["revision"]) == ("http://127.0.0.1:10000/hello", 1)
    assert {(diff["kind"], diff["what"]) for diff in report["diffs"]} == {
        ("cluster", "created"),
        ("listener", "created"),
        ("route_config", "created"),
        ("route", "created"),
    }
    assert await routes(api) == [
        {
            "name": "hello",
            "match": {"path": {"path_separated_prefix": "/hello"}},
            "forward": {"cluster": "hello", "upgrades": ["websocket"], "host_rewrite": "127.0.0.1"},
        }
    ]
    cluster = (await api.get("/native/clusters/hello")).json()
    assert (cluster["owner"], cluster["spec"]) == (
        "expose/hello",
        {"endpoints": [{"address": "127.0.0.1", "port": 3001}]},
    )


@pytest.mark.parametrize(
    ("url", "path", "match", "rewrite"),
    [
        ("http://127.0.0.1:1", "/a", {"path_separated_prefix": "/a"}, None),
        ("http://127.0.0.1:1/", "/a", {"path_separated_prefix": "/a"}, ("^/a/?", "/")),
        ("http://127.0.0.1:1/b", "/a/", {"path_separated_prefix": "/a"}, ("^/a", "/b")),
        ("http://127.0.0.1:1/b/", "/a", {"path_separated_prefix": "/a"}, ("^/a/?", "/b/")),
        ("http://127.0.0.1:1", "/", {"prefix": "/"}, None),
        ("http://127.0.0.1:1/", "/", {"prefix": "/"}, None),
        ("http://127.0.0.1:1/b", "/", {"prefix": "/"}, ("^/?", "/b/")),
        ("http://127.0.0.1:1/b/", "/", {"prefix": "/"}, ("^/?", "/b/")),
        ("http://127.0.0.1:1", None, {"path_separated_prefix": "/hello"}, None),
    ],
)
async def test_the_path_of_the_url(api, url, path, match, rewrite):
    """A path in the URL takes the place of the matched one; without a path the request goes on as it came."""
    body = {"name": "hello", "url": url} | ({"path": path} if path else {})
    assert (await api.post("/platform/expose", json=body)).is_success
    (route,) = await routes(api)
    assert route["match"]["path"] == match
    found = route["forward"].get("regex_rewrite")
    assert (found and (found["pattern"], found["substitution"])) == rewrite


async def test_again_and_changed(api):
    """Exposing the same again changes nothing; another URL or path updates what is there; edits by hand stay."""
    await _expose(api)
    assert (await _expose(api))["diffs"] == []
    address = "/native/route-configs/gateway/virtual-hosts/default/routes/hello"
    assert (await api.patch(address, json={"forward": {"timeout_ms": 0}})).is_success
    report = await _expose(api, url="https://localhost:8443", path="/hi")
    assert {(diff["kind"], diff["what"]) for diff in report["diffs"]} == {("cluster", "updated"), ("route", "updated")}
    assert [note["code"] for note in report["notes"]] == ["edit_kept"]
    (route,) = await routes(api)
    assert route["match"]["path"] == {"path_separated_prefix": "/hi"}
    assert (route["forward"]["timeout_ms"], route["forward"]["auto_host_rewrite"]) == (0, True)


async def test_a_dry_run_changes_nothing(api):
    """A dry run says where it would be, and changes nothing."""
    answer = await api.post("/platform/expose", params={"dry_run": True}, json=HELLO)
    assert (answer.json()["dry_run"], answer.json()["url"]) == (True, "http://127.0.0.1:10000/hello")
    assert await clusters(api) == []


async def test_imported_routes_come_first(api):
    """Exact routes of an API are tried before a prefix that was exposed, whichever was first."""
    await _expose(api, name="root", path="/")
    await _expose(api, name="v1", path="/v1")
    await put(api, document(operations("/a")), name="shop")
    await _expose(api, name="deep", path="/v1/a/b")
    assert await names(api) == ["shop:get-a", "deep", "v1", "root"]


async def test_a_path_that_is_taken(api):
    """A path somebody else serves already is refused with the route that has it."""
    await _expose(api)
    answer = await api.post("/platform/expose", json={**HELLO, "name": "other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "path_taken")
    assert "'hello' of expose/hello" in answer.json()["detail"]
    await _expose(api, name="other", domain="other.example")
    assert await names(api, "other") == ["other"]


async def test_lists_and_deletion(api):
    """Services are listed by name, shown, and taken back with what they own."""
    await _expose(api)
    await _expose(api, name="a", path="/a", domain="a.example")
    page = (await api.get("/platform/expose")).json()
    ExposedServicePage.model_validate(page)
    assert [(item["name"], item["upstream"], item["path"], item["domain"]) for item in page["items"]] == [
        ("a", "http://127.0.0.1:3001", "/a", "a.example"),
        ("hello", "http://127.0.0.1:3001", "/hello", ""),
    ]
    ExposedService.model_validate((await api.get("/platform/expose/a")).json())
    for name in ("a", "hello"):
        assert (await api.delete(f"/platform/expose/{name}")).is_success
        assert (await api.delete(f"/platform/expose/{name}")).status_code == 404
    assert await clusters(api) == []
    assert (await api.get("/native/route-configs/gateway")).json()["spec"] == {
        "virtual_hosts": [{"name": "default", "domains": ["*"]}]
    }
    assert (await api.get("/platform/expose")).json()["total"] == 0


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ("x", "malformed_json", ""),
        ("[]", "invalid_document", ""),
        ({"url": "http://a"}, "invalid_document", "/name"),
        ({"name": "a", "url": "http://a", "prot": 1}, "invalid_document", "/prot"),
        ({"name": "A b", "url": "http://a"}, "invalid_name", "/name"),
        ({"name": "a", "url": "127.0.0.1:1"}, "invalid_upstream", "/url"),
        ({"name": "a", "url": "http://u:p@a"}, "invalid_upstream", "/url"),
        ({"name": "a", "url": "http://a?b"}, "invalid_upstream", "/url"),
        ({"name": "a", "url": "http://a", "path": "b"}, "invalid_path", "/path"),
        ({"name": "a", "url": "http://a", "path": "/{b}"}, "invalid_path", "/path"),
        ({"name": "a", "url": "http://a", "domain": "*.*"}, "invalid_domain", "/domain"),
    ],
)
async def test_what_is_refused(api, body, code, pointer):
    """Bad input is 400 with a code and a pointer."""
    sent = {"content": body} if isinstance(body, str) else {"json": body}
    answer = await api.post("/platform/expose", **sent)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert "u:p" not in answer.text


async def test_services_exposed_at_once(api):
    """Several services exposed at the same time, on a gateway that is not there yet, are all there afterwards."""
    await asyncio.gather(*(_expose(api, name=f"s{n}", path=f"/s{n}") for n in range(6)))
    assert sorted(await names(api)) == [f"s{n}" for n in range(6)]
