"""Several changes at once, the history they make, and the way back."""

import pytest

from tests.controlplane.native.samples import cluster, listener, provide, route, route_config

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _put(kind: str, name: str, spec: dict) -> dict:
    return {"operation": "put", "kind": kind, "name": name, "spec": spec}


async def test_changes_become_one_revision(api):
    """Resources that need each other are made in one revision, whatever refers to what."""
    changes = [
        _put("listener", "l", listener()),
        _put("route_config", "web", route_config(route("a", to="c"))),
        _put("cluster", "c", cluster()),
    ]
    answer = await api.post("/changes", json={"changes": changes, "message": "all of it"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["revision"], found["changed"], found["dry_run"]) == (1, True, False)
    assert [(d["kind"], d["name"], d["what"], d["before"]) for d in found["diffs"]] == [
        ("listener", "l", "created", None),
        ("route_config", "web", "created", None),
        ("cluster", "c", "created", None),
    ]
    assert answer.headers["headgate-revision"] == "1"
    revisions = (await api.get("/revisions")).json()
    assert (revisions["total"], revisions["items"][0]["message"]) == (1, "all of it")


async def test_one_bad_change_makes_none(api):
    """When one of the changes is refused, none is made."""
    changes = [_put("cluster", "c", cluster()), {"operation": "delete", "kind": "cluster", "name": "gone"}]
    answer = await api.post("/changes", json={"changes": changes})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.get("/clusters")).json()["total"] == 0


@pytest.mark.parametrize("dry", [{"params": {"dry_run": "true"}}, {"in_body": True}])
async def test_a_dry_run_of_changes_changes_nothing(api, dry):
    """`dry_run`, in the query or in the body, answers with the diffs alone."""
    body = {"changes": [_put("cluster", "c", cluster())], "dry_run": dry.get("in_body", False)}
    answer = await api.post("/changes", json=body, params=dry.get("params"))
    assert answer.json()["dry_run"] is True
    assert answer.json()["diffs"][0]["after"] == cluster()
    assert (await api.get("/revisions")).json()["total"] == 0


async def test_each_change_may_have_its_condition(api):
    """`if_match` of one change that does not hold keeps all from being made."""
    etag = (await api.put("/clusters/c", json=cluster())).headers["etag"]
    patch = {"operation": "patch", "kind": "cluster", "name": "c", "spec": {"connect_timeout_ms": 9}}
    other = _put("cluster", "d", cluster())
    answer = await api.post("/changes", json={"changes": [other, {**patch, "if_match": '"77"'}]})
    assert (answer.status_code, answer.json()["code"]) == (412, "etag_mismatch")
    assert (await api.get("/clusters/d")).status_code == 404
    answer = await api.post("/changes", json={"changes": [other, {**patch, "if_match": etag}]})
    assert [diff["what"] for diff in answer.json()["diffs"]] == ["created", "updated"]


async def test_routes_can_be_placed_in_changes(api):
    """`before` puts a route of the changes where it belongs."""
    await provide(api)
    change = {**_put("route", "web/all/first", route("first", "/f")), "before": "one"}
    assert (await api.post("/changes", json={"changes": [change]})).status_code == 200
    listed = (await api.get("/route-configs/web/virtual-hosts/all/routes")).json()["items"]
    assert [item["name"] for item in listed] == ["first", "one"]


async def test_a_revision_tells_before_and_after(api):
    """GET of a revision shows who changed which row, through what, and both its states."""
    await api.put("/clusters/c", json=cluster())
    await api.patch(
        "/clusters/c?message=slower", json={"connect_timeout_ms": 9}, headers={"x-request-id": "from-a-test"}
    )
    found = (await api.get("/revisions/2")).json()
    assert (found["revision"], found["actor"], found["surface"]) == (2, "admin", "native")
    assert (found["message"], found["request_id"]) == ("slower", "from-a-test")
    (change,) = found["changes"]
    assert (change["kind"], change["name"]) == ("cluster", "c")
    assert change["before"] == cluster()
    assert change["after"] == cluster(connect_timeout_ms=9)


async def test_revisions_are_listed_newest_first_and_paged(api):
    """The list of revisions follows its cursor back to the first."""
    for number in range(5):
        await api.put("/clusters/c", json=cluster(number + 1))
    seen, cursor = [], ""
    while True:
        found = (await api.get("/revisions", params={"limit": 2, "cursor": cursor})).json()
        seen += [item["revision"] for item in found["items"]]
        assert found["total"] == 5
        assert "changes" not in found["items"][0]
        cursor = found["next_cursor"]
        if not cursor:
            break
    assert seen == [5, 4, 3, 2, 1]


async def test_any_revision_can_be_restored(api):
    """Restore makes a new revision equal to the old state; a dry run of it only tells."""
    await provide(api)
    await api.patch("/clusters/orders", json={"connect_timeout_ms": 9})
    await api.put("/clusters/more", json=cluster())
    told = (await api.post("/revisions/1/restore?dry_run=true")).json()
    assert told["dry_run"] is True
    assert {(diff["name"], diff["what"]) for diff in told["diffs"]} == {("orders", "updated"), ("more", "deleted")}
    assert (await api.get("/clusters/more")).status_code == 200
    done = await api.post("/revisions/1/restore")
    assert (done.status_code, done.json()["revision"], done.headers["headgate-revision"]) == (200, 4, "4")
    assert (await api.get("/clusters/orders")).json()["spec"] == cluster()
    assert (await api.get("/clusters/more")).status_code == 404


async def test_a_revision_that_is_not_there_is_404(api):
    """Neither reading nor restoring finds a revision of the future."""
    for answer in (await api.get("/revisions/7"), await api.post("/revisions/7/restore")):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_revision")


async def test_the_audit_trail_tells_who_did_what(api, running, team):
    """Every mutation is in the audit trail, filtered by action, actor and time, newest first."""
    await api.put("/clusters/c", json=cluster())
    await api.delete("/clusters/c")
    found = (await api.get("/audit?action=apply")).json()
    assert [entry["revision"] for entry in found["items"]] == [2, 1]
    assert {(entry["actor"], entry["surface"], entry["team"]) for entry in found["items"]} == {
        ("admin", "native", team)
    }
    moment = found["items"][0]["at"]
    assert (await api.get("/audit", params={"since": moment, "action": "apply"})).json()["total"] == 1
    assert (await api.get("/audit", params={"until": moment, "action": "apply"})).json()["total"] == 1
    assert (await api.get("/audit", params={"actor": "nobody"})).json()["total"] == 0
    everywhere = await running.client.get("/api/v1/native/audit?action=team.create&limit=1")
    assert everywhere.json()["total"] >= 1
