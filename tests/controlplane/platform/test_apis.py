"""Imported APIs: listed, shown whole, and deleted with what they own."""

import pytest

from headgate.controlplane.platform.shapes import ImportedApiPage, PublishOutcome, WholeImportedApi
from tests.controlplane.platform.documents import clusters, document, names, operations, put

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_is_shown_of_an_api(api):
    """An API is shown with its document, its rows, its options, and the account of every operation."""
    report = await put(api, document(operations("/a", "/{b")), name="shop", path="/p")
    shown = (await api.get("/platform/apis/shop")).json()
    WholeImportedApi.model_validate(shown)
    assert shown["operations"] == report["operations"]
    assert (shown["title"], shown["version"], shown["openapi"]) == ("Shop API", "1.2", "3.1.0")
    assert (shown["operation_count"], shown["routed"], shown["not_routed"]) == (2, 1, 1)
    assert (shown["clusters"], shown["routes"]) == (["shop"], ["gateway/default/shop:get-a"])
    assert shown["options"]["path"] == "/p"
    assert (await api.get("/platform/apis/none")).status_code == 404


async def test_the_list_is_paged(api):
    """APIs are listed by name, page by page; exposed services are not among them."""
    for name in "cab":
        await put(api, document(operations(f"/{name}")), name=name)
    assert (await api.post("/platform/expose", json={"name": "z", "url": "http://127.0.0.1:1"})).is_success
    first = (await api.get("/platform/apis", params={"limit": 2})).json()
    ImportedApiPage.model_validate(first)
    assert ([item["name"] for item in first["items"]], first["total"]) == (["a", "b"], 3)
    rest = (await api.get("/platform/apis", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["c"], "")
    assert (await api.get("/platform/apis", params={"limit": 501})).status_code == 400
    assert (await api.get("/platform/apis", params={"cursor": "x"})).json()["code"] == "invalid_cursor"


async def test_a_deletion_takes_no_body(api):
    """An option in a body would not be heeded: the request is refused, and what it names is still there."""
    await put(api, document(operations("/a")), name="kept")
    answer = await api.request("DELETE", "/platform/apis/kept", json={"dry_run": True})
    assert (answer.status_code, answer.json()["code"]) == (400, "unexpected_body")
    assert (await api.get("/platform/apis/kept")).status_code == 200


async def test_deleting_takes_exactly_what_it_owns(api):
    """Deleting an API deletes its clusters and routes, those edited by hand too, and nothing else."""
    await put(api, document(operations("/a")), name="one")
    await put(api, document(operations("/b")), name="two")
    address = "/native/route-configs/gateway/virtual-hosts/default/routes/one:get-a"
    assert (await api.patch(address, json={"forward": {"timeout_ms": 1}})).is_success
    dry = (await api.delete("/platform/apis/one", params={"dry_run": True})).json()
    assert await names(api) == ["one:get-a", "two:get-b"]
    answer = await api.delete("/platform/apis/one")
    PublishOutcome.model_validate(answer.json())
    assert {diff["name"] for diff in answer.json()["diffs"]} == {"one", "gateway/default/one:get-a"}
    assert len(dry["diffs"]) == 2
    assert (await names(api), await clusters(api)) == (["two:get-b"], ["two"])
    assert (await api.get("/platform/apis/one")).status_code == 404
    assert (await api.delete("/platform/apis/one")).status_code == 404


async def test_deleting_takes_the_virtual_host_along(api):
    """The virtual host that was made for an API's domain goes with the API."""
    await put(api, name="shop", domain="shop.example")
    assert (await api.delete("/platform/apis/shop")).is_success
    assert (await api.get("/native/route-configs/gateway")).json()["spec"]["virtual_hosts"] == [
        {"name": "default", "domains": ["*"]}
    ]


async def test_clusters_in_use_are_not_pulled_away(api):
    """While a route of somebody else's uses its cluster, an API is not deleted, and the problem names the route."""
    await put(api, name="shop")
    mine = {"name": "mine", "match": {"path": {"exact": "/mine"}}, "forward": {"cluster": "shop"}}
    answer = await api.post("/native/route-configs/gateway/virtual-hosts/default/routes", json=mine)
    assert answer.is_success, answer.text
    answer = await api.delete("/platform/apis/shop")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert "mine" in answer.text
    assert len(await names(api)) == 4
