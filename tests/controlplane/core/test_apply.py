"""Changes are applied whole or not at all."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import Aborted, AlreadyExists, InvalidArgument, NotFound
from tests.controlplane.core.documents import ME, TEAM, cluster, listener, route, route_config, world


async def test_several_resources_come_in_one_revision(resources: Resources, store: Store) -> None:
    """A cluster, the routes to it and the listener for them arrive in one revision."""
    outcome = await resources.apply(ME, TEAM, world())
    assert (outcome.revision, outcome.changed) == (1, True)
    assert [(diff.kind, diff.name, diff.what) for diff in outcome.diffs] == [
        ("cluster", "a", "created"),
        ("route_config", "gw", "created"),
        ("listener", "l", "created"),
    ]
    revision, rows = await store.load_team(TEAM)
    assert revision == 1
    assert len(rows) == 6


async def test_what_was_written_is_what_is_read(resources: Resources) -> None:
    """A document comes back as written: no defaults, no nulls, routes in their order."""
    await resources.apply(ME, TEAM, world())
    stored = await resources.get(TEAM, "route_config", "gw")
    assert stored.document == route_config([route("r0"), route("r1"), route("r2")])
    assert (stored.etag, stored.revision, stored.owner) == ('"1"', 1, "")
    outcome = await resources.apply(ME, TEAM, [Change("put", "cluster", "n", {**cluster(), "tls": None})])
    assert outcome.diffs[0].after == cluster()


async def test_operations_need_the_right_state(resources: Resources) -> None:
    """Create refuses what is there; replace, patch and delete refuse what is not; put does either."""
    await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster())])
    with pytest.raises(AlreadyExists):
        await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())])
    for operation in ("replace", "patch", "delete"):
        with pytest.raises(NotFound):
            await resources.apply(ME, TEAM, [Change(operation, "cluster", "b", cluster())])  # type: ignore[arg-type]
    outcome = await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(9))])
    assert outcome.diffs[0].what == "updated"
    outcome = await resources.apply(ME, TEAM, [Change("delete", "cluster", "a")])
    assert (outcome.diffs[0].what, outcome.diffs[0].etag) == ("deleted", "")
    with pytest.raises(NotFound):
        await resources.get(TEAM, "cluster", "a")


async def test_a_patch_changes_only_what_it_names(resources: Resources) -> None:
    """A merge patch leaves other fields alone, and null takes one away."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster(connect_timeout_ms=7))])
    await resources.apply(ME, TEAM, [Change("patch", "cluster", "a", {"protocol": "http2"})])
    assert (await resources.get(TEAM, "cluster", "a")).document == cluster(connect_timeout_ms=7, protocol="http2")
    await resources.apply(ME, TEAM, [Change("patch", "cluster", "a", {"connect_timeout_ms": None})])
    assert (await resources.get(TEAM, "cluster", "a")).document == cluster(protocol="http2")


async def test_one_bad_change_of_three_leaves_nothing(resources: Resources, store: Store) -> None:
    """When one change is refused, the good ones beside it leave no row, no revision, no audit entry."""
    before = (await AuditLog(store).list()).total
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(
            ME,
            TEAM,
            [
                Change("create", "cluster", "a", cluster()),
                Change("create", "cluster", "b", {"endpoint": []}),
                Change("create", "cluster", "c", cluster()),
            ],
        )
    assert [violation.pointer for violation in refused.value.violations] == ["/1/endpoint"]
    assert await store.load_team(TEAM) == (0, [])
    assert (await resources.revisions(TEAM)).total == 0
    assert (await AuditLog(store).list()).total == before


async def test_every_invalid_document_is_told_at_once(resources: Resources) -> None:
    """All changes are checked before they are refused, each with its index and its pointer."""
    bad = {"endpoints": [{"address": "127.0.0.1", "port": 0}]}
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(
            ME, TEAM, [Change("create", "cluster", "a", bad), Change("create", "cluster", "b", {**bad, "x": 1})]
        )
    assert sorted(violation.pointer for violation in refused.value.violations) == [
        "/0/endpoints/0/port",
        "/1/endpoints/0/port",
        "/1/x",
    ]


async def test_an_unknown_field_is_refused_with_the_nearest_one(resources: Resources) -> None:
    """A misspelt field is not dropped: the answer points at it and names the field that was meant."""
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(ME, TEAM, [Change("create", "cluster", "a", {"endpoint": []})])
    assert (refused.value.code, refused.value.violations[0].pointer) == ("invalid_document", "/endpoint")
    assert "endpoints" in refused.value.violations[0].hint


@pytest.mark.parametrize("document", [None, [], "text", 7])
async def test_what_is_no_object_is_refused(resources: Resources, document: Any) -> None:
    """A document that is not a JSON object is invalid input, not a crash."""
    with pytest.raises(InvalidArgument):
        await resources.apply(ME, TEAM, [Change("put", "listener", "a", document)])
    await resources.apply(ME, TEAM, world())
    if document is not None:
        with pytest.raises(InvalidArgument):
            await resources.apply(ME, TEAM, [Change("patch", "route", "gw/default/r0", document)])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("cluster", "Upper"), ("cluster", ""), ("cluster", "a/b"), ("secret", "x" * 101), ("route", "gw/r0")],
)
async def test_what_is_no_name_is_refused(resources: Resources, kind: Any, name: str) -> None:
    """Names are checked before anything is looked up."""
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(ME, TEAM, [Change("put", kind, name, {})])
    assert refused.value.code == "invalid_name"


async def test_an_unknown_team_is_not_found(resources: Resources) -> None:
    """Nothing can be read or changed in a team that is not there."""
    with pytest.raises(NotFound) as refused:
        await resources.apply(ME, "nobody", world())
    assert refused.value.code == "unknown_team"
    with pytest.raises(NotFound):
        await resources.list("nobody", "cluster")


async def test_what_changes_nothing_makes_no_revision(resources: Resources, store: Store) -> None:
    """Writing what is there already makes neither revision nor history nor audit entry."""
    await resources.apply(ME, TEAM, world())
    entries = (await AuditLog(store).list()).total
    outcome = await resources.apply(ME, TEAM, [replace(change, operation="put") for change in world()])
    assert (outcome.revision, outcome.changed) == (1, False)
    assert {diff.etag for diff in outcome.diffs} == {'"1"'}
    assert (await resources.revisions(TEAM)).total == 1
    assert (await AuditLog(store).list()).total == entries


async def test_a_dry_run_changes_nothing(resources: Resources, store: Store) -> None:
    """A dry run tells what would become of everything, checks it all, and keeps nothing."""
    outcome = await resources.apply(ME, TEAM, world(), dry_run=True)
    assert (outcome.dry_run, outcome.revision, outcome.changed) == (True, 0, True)
    assert await store.load_team(TEAM) == (0, [])
    with pytest.raises(InvalidArgument):
        await resources.apply(ME, TEAM, [Change("create", "cluster", "a", {"x": 1})], dry_run=True)


async def test_changes_of_a_batch_see_each_other(resources: Resources) -> None:
    """A later change of a batch works on what the earlier ones made; each resource is reported once."""
    outcome = await resources.apply(
        ME,
        TEAM,
        [
            Change("create", "cluster", "a", cluster()),
            Change("patch", "cluster", "a", {"protocol": "http2"}),
            Change("create", "route_config", "gw", route_config()),
            Change("create", "route", "gw/default/r0", route("r0")),
            Change("delete", "cluster", "a"),
            Change("create", "cluster", "a", cluster(9)),
        ],
    )
    assert [(diff.kind, diff.what) for diff in outcome.diffs] == [
        ("cluster", "created"),
        ("route_config", "created"),
        ("route", "created"),
    ]
    assert outcome.diffs[0].after == cluster(9)
    assert outcome.diffs[1].after == route_config([route("r0")])


async def test_who_did_it_is_in_the_audit_trail_and_the_history(resources: Resources, store: Store) -> None:
    """A revision and its audit entry name the actor, the surface, the request and the resources."""
    await resources.apply(ME, TEAM, world(), message="first light")
    (entry,) = (await AuditLog(store).list(action="apply")).items
    assert (entry.actor, entry.surface, entry.request_id, entry.token_id) == ("alice", "native", "req-1", "tok_1")
    assert (entry.team, entry.revision, entry.outcome, entry.target) == (TEAM, 1, "done", "3 resources")
    assert entry.detail["counts"] == {"created": 3}
    (revision,) = (await resources.revisions(TEAM)).items
    assert (revision.actor, revision.surface, revision.message) == ("alice", "native", "first light")


async def test_the_listener_of_changes_hears_of_commits_only(store: Store, resources: Resources) -> None:
    """on_change is called with the team after a commit, and neither after a dry run nor when nothing changed."""
    heard: list[str] = []
    listening = Resources(store, preflight=None, secrets=resources._secrets, on_change=heard.append)
    await listening.apply(ME, TEAM, world(), dry_run=True)
    assert heard == []
    await listening.apply(ME, TEAM, world())
    await listening.apply(ME, TEAM, [replace(change, operation="put") for change in world()])
    assert heard == [TEAM]


async def test_an_etag_must_match(resources: Resources) -> None:
    """If-Match lets a change through only when it names the stored ETag, a list with it, or '*'."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())])
    for stale in ('"0"', '"2", "3"', 'W/"1"'):
        with pytest.raises(Aborted) as refused:
            await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(2), if_match=stale)])
        assert refused.value.code == "etag_mismatch"
    with pytest.raises(Aborted):
        await resources.apply(ME, TEAM, [Change("put", "cluster", "b", cluster(), if_match="*")])
    for port, good in enumerate(('"1"', "*", '"9", "3"'), start=2):
        outcome = await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(port), if_match=good)])
        assert outcome.diffs[0].etag == f'"{port}"'


async def test_two_writers_with_one_etag_do_not_both_win(resources: Resources) -> None:
    """Of writers that race with the same ETag exactly one succeeds; the others are told."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())])
    writes = [Change("put", "cluster", "a", cluster(100 + n), if_match='"1"') for n in range(8)]
    results = await asyncio.gather(*(resources.apply(ME, TEAM, [write]) for write in writes), return_exceptions=True)
    won = [result for result in results if not isinstance(result, BaseException)]
    lost = [result for result in results if isinstance(result, BaseException)]
    assert len(won) == 1
    assert {getattr(fault, "code", fault) for fault in lost} == {"etag_mismatch"}
    assert (await resources.get(TEAM, "cluster", "a")).document == won[0].diffs[0].after


async def test_parallel_creators_all_arrive(resources: Resources, store: Store) -> None:
    """Twenty writers at once each get a revision of their own, and every write is there."""
    results = await asyncio.gather(
        *(resources.apply(ME, TEAM, [Change("create", "cluster", f"c{n}", cluster())]) for n in range(20))
    )
    assert sorted(outcome.revision for outcome in results) == list(range(1, 21))
    revision, rows = await store.load_team(TEAM)
    assert (revision, len(rows)) == (20, 20)
    assert len((await store.changes_since(TEAM, 0))[1]) == 20


async def test_parallel_creators_of_one_name(resources: Resources) -> None:
    """Of several who create the same name at once, one does and the others are told that it exists."""
    results = await asyncio.gather(
        *(resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())]) for _ in range(8)),
        return_exceptions=True,
    )
    assert [getattr(result, "code", "won") for result in results].count("won") == 1
    assert {getattr(result, "code", "won") for result in results} == {"won", "already_exists"}


async def test_lists_go_page_by_page(resources: Resources) -> None:
    """Every resource comes once, by name, and the total is of all pages."""
    names = [f"c{n:02}" for n in range(7)]
    await resources.apply(
        ME, TEAM, [Change("create", "cluster", name, cluster(), owner="api/x" if "3" in name else "") for name in names]
    )
    seen: list[str] = []
    cursor = ""
    while True:
        page = await resources.list(TEAM, "cluster", limit=3, cursor=cursor)
        assert page.total == 7
        seen += [stored.name for stored in page.items]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == names
    assert [s.name for s in (await resources.list(TEAM, "cluster", name_contains="C05")).items] == ["c05"]
    assert [s.name for s in (await resources.list(TEAM, "cluster", owner="api/x")).items] == ["c03"]
    assert (await resources.list(TEAM, "cluster", name_contains="%")).total == 0
    assert (await resources.list(TEAM, "cluster", name_contains="\0")).total == 0


@pytest.mark.parametrize("cursor", ["x", "!!!", "bnVsbA", "WzFd", "é"])
async def test_a_made_up_cursor_is_refused(resources: Resources, cursor: str) -> None:
    """A cursor that this list did not give is invalid input."""
    with pytest.raises(InvalidArgument) as refused:
        await resources.list(TEAM, "cluster", cursor=cursor)
    assert refused.value.code == "invalid_cursor"


async def test_teams_do_not_see_each_other(resources: Resources, store: Store) -> None:
    """Two teams may use the same names and ports, and neither finds the other's resources."""
    from headgate.controlplane.core.teams import Teams

    await Teams(store).create(ME, "other")
    await resources.apply(ME, TEAM, world())
    assert (await resources.list("other", "cluster")).total == 0
    outcome = await resources.apply(ME, "other", [*world(), Change("create", "listener", "m", listener(10001))])
    assert outcome.revision == 1
    assert (await resources.list(TEAM, "listener")).total == 1
