"""Importing again: nothing, or exactly the difference; edits by hand survive; races are settled."""

import asyncio

import pytest

from tests.controlplane.platform.documents import clusters, document, names, operations, post, put, routes

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _changes(report):
    return {(diff["kind"], diff["name"].rpartition("/")[2], diff["what"]) for diff in report["diffs"]}


async def test_the_same_again_changes_nothing(api):
    """Importing the same document again makes no revision."""
    await put(api, name="shop")
    again = await put(api, name="shop")
    assert (again["changed"], again["diffs"], again["revision"]) == (False, [], 1)


async def test_a_changed_document_applies_the_difference(api):
    """What is new is added, what is gone is removed, what is different is updated; the rest is not touched."""
    await put(api, document(operations("/a", "/b", "/c")), name="shop")
    kept = (await api.get("/native/route-configs/gateway/virtual-hosts/default/routes/shop:get-a")).json()
    changed = document(
        {"/a": {"get": {}}, "/b": {"get": {"servers": [{"url": "http://b.example"}]}}, "/d": {"get": {}}}
    )
    dry = await put(api, changed, name="shop", dry_run=True)
    report = await put(api, changed, name="shop")
    assert (
        _changes(dry)
        == _changes(report)
        == {
            ("cluster", "shop-2", "created"),
            ("route", "shop:get-b", "updated"),
            ("route", "shop:get-b", "updated"),
            ("route", "shop:get-c", "deleted"),
            ("route", "shop:get-d", "created"),
        }
    )
    assert await names(api) == ["shop:get-b", "shop:get-a", "shop:get-d"]
    assert (await api.get("/native/route-configs/gateway/virtual-hosts/default/routes/shop:get-a")).json() == kept


async def test_a_path_that_moves_takes_its_place(api):
    """An operation whose path changes keeps its route's name, and the route moves to where it belongs."""
    await put(api, document({"/a": {"get": {"operationId": "it"}}, "/b": {"get": {}}}), name="shop")
    await put(api, document({"/{x}": {"get": {"operationId": "it"}}, "/b": {"get": {}}}), name="shop")
    assert await names(api) == ["shop:get-b", "shop:it"]


async def test_edits_by_hand_survive(api):
    """Fields set through the Native API stay; all others follow the document; the report tells."""
    await put(api, name="shop")
    address = "/native/route-configs/gateway/virtual-hosts/default/routes/shop:getOrder"
    edit = {"forward": {"timeout_ms": 90_000, "retry": {"attempts": 2}}, "response_headers": {"remove": ["x-old"]}}
    assert (await api.patch(address, json=edit)).is_success
    assert (await api.patch("/native/clusters/shop", json={"connect_timeout_ms": 250})).is_success
    assert (await put(api, name="shop"))["diffs"] == []
    report = await put(api, document(servers=[{"url": "https://new.example/v2"}]), name="shop")
    assert {note["code"] for note in report["notes"]} == {"edit_kept"}
    stored = (await api.get(address)).json()
    assert stored["owner"] == "api/shop"
    assert stored["spec"] == {
        "name": "shop:getOrder",
        "match": {"path": {"template": "/v2/orders/{id}"}, "methods": ["GET"]},
        "forward": {"cluster": "shop", "timeout_ms": 90_000, "retry": {"attempts": 2}, "auto_host_rewrite": True},
        "response_headers": {"remove": ["x-old"]},
    }
    cluster = (await api.get("/native/clusters/shop")).json()["spec"]
    assert (cluster["connect_timeout_ms"], cluster["endpoints"][0]["address"]) == (250, "new.example")


async def test_contested_edits_stay_and_are_told(api):
    """Where the document wants something else than the hand set, the hand wins and the report says so."""
    await put(api, name="shop")
    edited = {"endpoints": [{"address": "127.0.0.1", "port": 1}], "discovery": None, "dns_family": None, "tls": None}
    assert (await api.patch("/native/clusters/shop", json=edited)).is_success
    report = await put(api, document(servers=[{"url": "https://new.example"}]), name="shop")
    assert "edit_contested" in {note["code"] for note in report["notes"]}
    cluster = (await api.get("/native/clusters/shop")).json()["spec"]
    assert cluster["endpoints"] == [{"address": "127.0.0.1", "port": 1}]


async def test_a_route_deleted_by_hand_comes_back(api):
    """What the report calls routed is routed: a route that was deleted is made again."""
    await put(api, name="shop")
    address = "/native/route-configs/gateway/virtual-hosts/default/routes/shop:getOrder"
    assert (await api.delete(address)).is_success
    assert _changes(await put(api, name="shop")) == {("route", "shop:getOrder", "created")}


async def test_another_place(api):
    """An API that is imported for another domain moves there, and its old virtual host goes with it."""
    await put(api, name="shop", domain="a.example")
    assert len(await names(api, "shop")) == 3
    await put(api, name="shop", domain="b.example")
    hosts = (await api.get("/native/route-configs/gateway")).json()["spec"]["virtual_hosts"]
    assert [(host["domains"], len(host.get("routes", []))) for host in hosts] == [(["*"], 0), (["b.example"], 3)]
    await put(api, name="shop")
    hosts = (await api.get("/native/route-configs/gateway")).json()["spec"]["virtual_hosts"]
    assert [(host["name"], len(host["routes"])) for host in hosts] == [("default", 3)]


async def test_a_virtual_host_that_others_use_stays(api):
    """A virtual host that was made for an API stays while others have routes in it."""
    await put(api, document(operations("/one")), name="one", domain="a.example")
    await put(api, document(operations("/two")), name="two", domain="A.example")
    assert (await api.delete("/platform/apis/one")).is_success
    assert await names(api, "one") == ["two:get-two"]


async def test_all_operations_gone(api):
    """A document without operations takes the routes away; the API stays known."""
    await put(api, name="shop")
    report = await put(api, document({}), name="shop")
    assert report["totals"] == {"operations": 0, "routed": 0, "not_routed": 0}
    assert (await names(api), await clusters(api)) == ([], [])
    assert (await api.get("/platform/apis/shop")).is_success


async def test_one_must_not_lose_everything_by_mistake(api):
    """A document whose servers went astray is refused, and what was published stays."""
    await put(api, name="shop")
    answer = await post(api, document(servers=[{"url": "/v1"}]), name="shop")
    assert (answer.status_code, answer.json()["code"]) == (400, "no_upstream")
    assert len(await names(api)) == 3


async def test_own_routes_are_no_obstacle_to_themselves(api):
    """A route that stands already stays, even when somebody puts the same or a broader one beside it later."""
    await put(api, document(operations("/a")), name="shop")
    same = {"name": "same", "match": {"path": {"exact": "/v1/a"}}, "direct_response": {"status": 200}}
    answer = await api.post("/native/route-configs/gateway/virtual-hosts/default/routes", json=same)
    assert answer.is_success, answer.text
    report = await put(api, document(operations("/a")), name="shop")
    assert (report["totals"]["routed"], report["diffs"]) == (1, [])


async def test_imports_at_once(api):
    """Several imports at the same time all succeed, and all their routes are there."""
    reports = await asyncio.gather(
        *(put(api, document(operations(f"/{name}", f"/{name}/{{x}}")), name=name) for name in "abcdef")
    )
    assert {report["totals"]["routed"] for report in reports} == {2}
    assert len(await names(api)) == 12
    same = await asyncio.gather(*(put(api, document(operations("/g", f"/g/{n}")), name="g") for n in range(4)))
    assert {report["totals"]["routed"] for report in same} == {2}
    assert len([name for name in await names(api) if name.startswith("g:")]) == 2


async def test_a_restore_brings_back_the_rows_and_the_record(api):
    """After a restore, the import of what was there then changes nothing."""
    first = document(operations("/a"))
    await put(api, first, name="shop")
    await put(api, document(operations("/b")), name="shop")
    assert (await api.post("/native/revisions/1/restore")).is_success
    assert [route["match"]["path"] for route in await routes(api)] == [{"exact": "/v1/a"}]
    assert (await put(api, first, name="shop"))["diffs"] == []
