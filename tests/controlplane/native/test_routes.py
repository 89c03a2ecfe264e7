"""Single routes: read, placed, changed and deleted without touching their neighbours."""

import asyncio

import pytest
import pytest_asyncio

from tests.controlplane.native.samples import cluster, provide, route, route_config

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTES = "/route-configs/shop/virtual-hosts/all/routes"


@pytest_asyncio.fixture(loop_scope="session")
async def shop(api):
    """A route config `shop` with the routes a, b and c."""
    await provide(api)
    spec = route_config(*(route(name, f"/{name}") for name in "abc"))
    answer = await api.put("/route-configs/shop", json=spec)
    assert answer.status_code == 201, answer.text
    return api


async def _order(api) -> list[str]:
    listed = [item["name"] for item in (await api.get(ROUTES)).json()["items"]]
    whole = (await api.get("/route-configs/shop")).json()["spec"]["virtual_hosts"][0]["routes"]
    assert [each["name"] for each in whole] == listed
    return listed


async def test_routes_are_listed_in_the_order_they_are_tried(shop):
    """The list has every route of the virtual host, in order, with the route's own revision and its parents' names."""
    found = (await shop.get(ROUTES)).json()
    assert found["total"] == 3
    assert [item["name"] for item in found["items"]] == ["a", "b", "c"]
    first = found["items"][0]
    assert (first["route_config"], first["virtual_host"], first["spec"]) == ("shop", "all", route("a", "/a"))
    assert (await shop.get(f"{ROUTES}/a")).json() == first


async def test_lists_of_routes_are_filtered_and_paged(shop):
    """Filters narrow the list; following the cursor meets each route once, also when others come and go."""
    assert [i["name"] for i in (await shop.get(f"{ROUTES}?name_contains=B")).json()["items"]] == ["b"]
    assert (await shop.get(f"{ROUTES}?owner=api/x")).json()["total"] == 0
    seen, cursor = [], ""
    while True:
        found = (await shop.get(ROUTES, params={"limit": 1, "cursor": cursor})).json()
        seen += [item["name"] for item in found["items"]]
        cursor = found["next_cursor"]
        if not cursor:
            break
        await shop.post(f"{ROUTES}?before={seen[-1]}", json=route(f"new-{seen[-1]}", "/n"))
        await shop.delete(f"{ROUTES}/{seen[-1]}")
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("before", "order"),
    [
        (None, ["a", "b", "c", "new"]),
        ("", ["a", "b", "c", "new"]),
        ("a", ["new", "a", "b", "c"]),
        ("c", ["a", "b", "new", "c"]),
    ],
)
async def test_a_new_route_goes_where_it_is_put(shop, before, order):
    """`before` names the route a new one precedes; without it the new one is last."""
    answer = await shop.post(ROUTES, json=route("new", "/new"), params={} if before is None else {"before": before})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/native{ROUTES}/new"
    assert await _order(shop) == order


async def test_an_existing_route_keeps_its_place_or_is_moved(shop):
    """PUT and PATCH leave a route where it is unless `before` is given, and PATCH {} can move it alone."""
    await shop.put(f"{ROUTES}/a", json=route("a", "/elsewhere"))
    await shop.patch(f"{ROUTES}/b", json={"forward": {"timeout_ms": 5}})
    assert await _order(shop) == ["a", "b", "c"]
    moved = await shop.patch(f"{ROUTES}/c", json={}, params={"before": "a"})
    assert moved.status_code == 200
    assert await _order(shop) == ["c", "a", "b"]
    await shop.put(f"{ROUTES}/c", json=route("c", "/c"), params={"before": ""})
    assert await _order(shop) == ["a", "b", "c"]


async def test_a_patch_changes_one_route_only(shop):
    """PATCH moves the ETags of the route and of its config; the neighbours' stay."""
    neighbour, config = (await shop.get(f"{ROUTES}/a")).json(), (await shop.get("/route-configs/shop")).json()
    await shop.put("/clusters/other", json=cluster())
    answer = await shop.patch(f"{ROUTES}/b", json={"forward": {"cluster": "other"}})
    assert answer.json()["spec"] == route("b", "/b", to="other")
    assert (await shop.get(f"{ROUTES}/a")).json() == neighbour
    after = (await shop.get("/route-configs/shop")).json()
    assert after["etag"] == answer.json()["etag"] != config["etag"]


async def test_the_name_may_be_left_to_the_path(shop):
    """PUT takes a route without its name, and POST takes it from the document."""
    answer = await shop.put(f"{ROUTES}/n", json={key: value for key, value in route("n").items() if key != "name"})
    assert (answer.status_code, answer.json()["spec"]["name"]) == (201, "n")


async def test_conditions_hold_for_routes(shop):
    """If-Match and If-None-Match work on a route as on anything else."""
    etag = (await shop.get(f"{ROUTES}/a")).headers["etag"]
    assert (await shop.get(f"{ROUTES}/a", headers={"if-none-match": etag})).status_code == 304
    assert (await shop.put(f"{ROUTES}/a", json=route("a"), headers={"if-none-match": "*"})).status_code == 412
    first, second = await asyncio.gather(
        *(shop.patch(f"{ROUTES}/a", json={"forward": {"timeout_ms": n}}, headers={"if-match": etag}) for n in (1, 2))
    )
    assert sorted((first.status_code, second.status_code)) == [200, 412]


async def test_deleting_a_route_leaves_the_others(shop):
    """DELETE takes out one route, and its cluster is free again."""
    await shop.put("/clusters/only", json=cluster())
    await shop.put(f"{ROUTES}/b", json=route("b", "/b", to="only"))
    assert (await shop.delete("/clusters/only")).status_code == 409
    assert (await shop.delete(f"{ROUTES}/b?dry_run=true")).json()["diffs"][0]["what"] == "deleted"
    assert (await shop.delete(f"{ROUTES}/b")).status_code == 204
    assert await _order(shop) == ["a", "c"]
    assert (await shop.delete("/clusters/only")).status_code == 204


@pytest.mark.parametrize("place", ["none/virtual-hosts/all", "shop/virtual-hosts/none"])
async def test_an_unknown_place_is_404(shop, place):
    """No operation finds routes in a config or virtual host that is not there."""
    path = f"/route-configs/{place}/routes"
    for answer in (
        await shop.get(path),
        await shop.get(f"{path}/a"),
        await shop.post(path, json=route("a")),
        await shop.put(f"{path}/a", json=route("a")),
        await shop.patch(f"{path}/a", json={}),
        await shop.delete(f"{path}/a"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text
