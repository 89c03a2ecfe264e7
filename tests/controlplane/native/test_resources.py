"""The contract of the six operations, the same for every kind."""

import httpx
import pytest
import pytest_asyncio

from tests.controlplane.native.samples import KINDS, Kind, cluster, listener, provide, route, route_config

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, pem: dict[str, str]) -> Kind:
    """Each kind in turn."""
    return Kind(pem, request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def ready(api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A team that has what the samples refer to."""
    await provide(api)
    return api


async def test_create_answers_with_the_resource_and_where_it_is(ready, kind, team):
    """POST makes the resource, answers 201 with its representation, Location and ETag, and GET finds the same."""
    answer = await ready.post(f"/{kind.plural}", json={"name": "new", "spec": kind.first})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert list(found) == ["name", "team", "revision", "etag", "owner", "created_at", "updated_at", "spec"]
    assert (found["name"], found["team"], found["owner"]) == ("new", team, "")
    assert answer.headers["etag"] == found["etag"] == f'"{found["revision"]}"'
    assert answer.headers["headgate-revision"] == str(found["revision"])
    assert answer.headers["location"] == f"/api/v1/native/{kind.plural}/new"
    assert kind.shown(kind.first, found["spec"])
    again = await ready.get(f"/{kind.plural}/new")
    assert (again.status_code, again.json(), again.headers["etag"]) == (200, found, found["etag"])


async def test_create_refuses_a_taken_name(ready, kind):
    """POST of a name that exists is 409 and changes nothing."""
    await ready.post(f"/{kind.plural}", json={"name": "new", "spec": kind.first})
    before = (await ready.get(f"/{kind.plural}/new")).json()
    answer = await ready.post(f"/{kind.plural}", json={"name": "new", "spec": kind.second})
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert (await ready.get(f"/{kind.plural}/new")).json() == before


async def test_put_creates_then_replaces(ready, kind):
    """PUT of a new name is 201 with Location, of a known one 200 without, and the old document is gone whole."""
    created = await ready.put(f"/{kind.plural}/it", json=kind.first)
    replaced = await ready.put(f"/{kind.plural}/it", json=kind.second)
    assert (created.status_code, replaced.status_code) == (201, 200)
    assert "location" in created.headers
    assert "location" not in replaced.headers
    assert kind.shown(kind.second, replaced.json()["spec"])
    assert replaced.json()["revision"] == created.json()["revision"] + 1
    assert replaced.json()["created_at"] == created.json()["created_at"]
    assert replaced.json()["updated_at"] > created.json()["updated_at"]


async def test_writing_the_same_again_makes_no_revision(ready, kind):
    """A PUT of what is stored already answers 200 with the ETag there was."""
    created = await ready.put(f"/{kind.plural}/it", json=kind.first)
    again = await ready.put(f"/{kind.plural}/it", json=kind.first)
    assert again.status_code == 200
    assert again.json() == created.json()
    assert again.headers["headgate-revision"] == created.headers["headgate-revision"]


async def test_patch_merges(ready, kind):
    """PATCH changes what it names and leaves the rest as it was written."""
    await ready.put(f"/{kind.plural}/it", json=kind.first)
    answer = await ready.patch(f"/{kind.plural}/it", json=kind.patch)
    assert answer.status_code == 200, answer.text
    assert kind.shown(kind.patched, answer.json()["spec"])


async def test_delete_removes(ready, kind):
    """DELETE answers 204 with the new revision, and then there is nothing left to read, patch or delete."""
    created = await ready.put(f"/{kind.plural}/it", json=kind.first)
    gone = await ready.delete(f"/{kind.plural}/it")
    assert (gone.status_code, gone.content) == (204, b"")
    assert int(gone.headers["headgate-revision"]) == created.json()["revision"] + 1
    for answer in (
        await ready.get(f"/{kind.plural}/it"),
        await ready.patch(f"/{kind.plural}/it", json=kind.patch),
        await ready.delete(f"/{kind.plural}/it"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_dry_run_leaves_no_trace(ready, kind, team, running):
    """Every write with dry_run answers 200 with the diff, and neither rows, revision, history nor audit move."""
    await ready.put(f"/{kind.plural}/it", json=kind.first)

    async def state() -> list[object]:
        paths = [f"/{plural}?limit=500" for plural in KINDS] + ["/revisions", "/audit?action=apply"]
        return [(await ready.get(path)).json() for path in paths]

    before = await state()
    wanted = {
        "created": await ready.post(f"/{kind.plural}?dry_run=true", json={"name": "new", "spec": kind.second}),
        "updated": await ready.put(f"/{kind.plural}/it?dry_run=true", json=kind.second),
        "updated too": await ready.patch(f"/{kind.plural}/it?dry_run=true", json=kind.patch),
        "deleted": await ready.delete(f"/{kind.plural}/it?dry_run=true"),
        "unchanged": await ready.put(f"/{kind.plural}/it?dry_run=true", json=kind.first),
    }
    for what, answer in wanted.items():
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["dry_run"] is True
        assert found["changed"] is (what != "unchanged")
        assert [diff["what"] for diff in found["diffs"]] == [what.removesuffix(" too")]
    assert await state() == before


async def test_a_dry_run_is_refused_for_what_would_be_refused(ready):
    """A dry run checks everything that the write itself would check."""
    answer = await ready.put("/listeners/l?dry_run=true", json=listener(to="nobody"))
    assert (answer.status_code, answer.json()["code"]) == (409, "unknown_reference")


async def test_the_message_is_kept_with_the_revision(ready, kind):
    """`?message=` of any write is found in the history."""
    await ready.put(f"/{kind.plural}/it?message=for the autumn sale", json=kind.first)
    newest = (await ready.get("/revisions?limit=1")).json()["items"][0]
    assert newest["message"] == "for the autumn sale"
    assert newest["surface"] == "native"


async def test_lists_are_filtered(ready):
    """`name_contains` and `owner` narrow a list, and `total` counts what is left."""
    for name in ("alpha", "beta-1", "beta-2"):
        await ready.put(f"/clusters/{name}", json=cluster())
    found = (await ready.get("/clusters?name_contains=eta-")).json()
    assert [item["name"] for item in found["items"]] == ["beta-1", "beta-2"]
    assert found["total"] == 2
    assert (await ready.get("/clusters?owner=api/none")).json() == {"items": [], "total": 0, "next_cursor": ""}
    assert (await ready.get("/clusters?owner=")).json()["total"] == 4


async def test_paging_is_stable_under_inserts_and_deletes(ready):
    """Following the cursor meets every item that was there all along exactly once, whatever comes and goes."""
    names = [f"c{number:02}" for number in range(10)]
    for name in names:
        await ready.put(f"/clusters/{name}", json=cluster())
    seen, cursor = [], ""
    for turn in range(20):
        found = (await ready.get("/clusters", params={"limit": 3, "cursor": cursor, "name_contains": "c"})).json()
        seen += [item["name"] for item in found["items"]]
        cursor = found["next_cursor"]
        if not cursor:
            break
        await ready.put(f"/clusters/b{turn}c", json=cluster())
        await ready.delete(f"/clusters/{seen[-1]}")
    assert seen == names


async def test_a_cursor_of_another_list_is_refused(ready):
    """A cursor that is not of this list is 400, not a wrong page."""
    for cursor in ("nonsense", "W10", "WyJhIiwgMV0"):
        answer = await ready.get("/clusters", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_document_is_returned_as_it_was_written(ready):
    """No default is written into what the user sent: GET returns the document itself."""
    spec = cluster(tls={"sni": "a.example"}, health_checks=[{"tcp": {}}])
    await ready.put("/clusters/plain", json=spec)
    assert (await ready.get("/clusters/plain")).json()["spec"] == spec


async def test_null_is_the_same_as_leaving_out(ready):
    """A null field is not kept: it would only hide the default."""
    answer = await ready.put("/clusters/nulls", json=cluster(tls=None))
    assert answer.json()["spec"] == cluster()


async def test_a_merge_patch_removes_replaces_and_merges(ready):
    """RFC 7396: null removes, objects merge to any depth, lists are replaced whole."""
    await ready.put("/clusters/m", json=cluster(circuit_breakers={"default": {"max_retries": 9, "max_requests": 5}}))
    patch = {
        "circuit_breakers": {"default": {"max_retries": None, "max_connections": 8}},
        "endpoints": [{"address": "10.0.0.1", "port": 1}],
    }
    answer = await ready.patch(
        "/clusters/m", json=patch, headers={"content-type": "application/merge-patch+json; charset=utf-8"}
    )
    assert answer.json()["spec"] == {
        "endpoints": [{"address": "10.0.0.1", "port": 1}],
        "circuit_breakers": {"default": {"max_requests": 5, "max_connections": 8}},
    }


async def test_what_is_in_use_is_not_deleted(ready):
    """DELETE of what another names is 409 and says who names it."""
    answer = await ready.delete("/clusters/orders")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert "web/all/one" in answer.text
    await ready.put("/listeners/l", json=listener())
    answer = await ready.delete("/route-configs/web")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


async def test_two_listeners_cannot_share_a_port(ready):
    """A listener on the address and port of another is 409."""
    await ready.put("/listeners/a", json=listener(18_500))
    answer = await ready.put("/listeners/b", json=listener(18_500))
    assert (answer.status_code, answer.json()["code"]) == (409, "port_in_use")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/port"]


async def test_another_team_sees_nothing(ready, running):
    """What one team has is nowhere in another."""
    await ready.put("/clusters/mine", json=cluster())
    other = {"x-headgate-team": "default"}
    assert (await ready.get("/clusters/mine", headers=other)).status_code == 404
    assert (await ready.get("/clusters", headers=other)).json()["items"] == []
    assert (
        await ready.put("/route-configs/x", json=route_config(route("a", to="mine")), headers=other)
    ).status_code == 409
