"""Every revision can be looked at, and gone back to."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.store.api_definitions import ApiDefinition, DefinitionChange, get_definition
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import FailedPrecondition, Fault, NotFound, OutOfRange
from tests.controlplane.core.documents import ME, TEAM, cluster, listener, route, route_config, world

State = dict[tuple[str, str], Row]
_numbers = itertools.count()


async def _state(store: Store, team: str) -> State:
    return {(row.kind, row.name): row for row in (await store.load_team(team))[1]}


def replay(state: State, changes: list[RowChange]) -> State:
    """What a replica holds after these changes; each must fit what it holds."""
    state = dict(state)
    for change in changes:
        key = (change.row.kind, change.row.name)
        assert state.get(key) == change.before
        if change.after is None:
            del state[key]
        else:
            state[key] = change.after
    return state


_clusters = st.sampled_from(["a", "b"])
_routes = st.sampled_from(["r0", "r1", "r2", "r3"])
_operations = st.sampled_from(["put", "put", "put", "patch", "delete", "create"])


@st.composite
def _cluster_change(draw: Any) -> Change:
    return Change(draw(_operations), "cluster", draw(_clusters), cluster(draw(st.integers(1, 3))))


@st.composite
def _route_change(draw: Any) -> Change:
    name = draw(_routes)
    before = draw(st.sampled_from([None, None, "", "r0", "r2"]))
    document = route(name, to=draw(_clusters))
    return Change(draw(_operations), "route", f"gw/default/{name}", document, before=before, owner=draw(_owners))


_owners = st.sampled_from([None, "", "api/x"])


@st.composite
def _route_config_change(draw: Any) -> Change:
    names = draw(st.lists(_routes, unique=True))
    document = route_config([route(name, to=draw(_clusters)) for name in names])
    return Change(draw(_operations), "route_config", "gw", document, owner=draw(_owners))


@st.composite
def _listener_change(draw: Any) -> Change:
    return Change(draw(_operations), "listener", draw(st.sampled_from(["l", "m"])), listener(draw(st.integers(10, 11))))


_change = st.one_of(_cluster_change(), _route_change(), _route_config_change(), _listener_change())
_batches = st.lists(st.lists(_change, min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=_batches, data=st.data())
async def test_any_revision_can_be_restored(
    resources: Resources, store: Store, batches: list[list[Change]], data: st.DataObject
) -> None:
    """After any changes, a restore of revision n gives the state of n, and a replica can follow from anywhere."""
    team = f"t{next(_numbers)}"
    await Teams(store).create(ME, team)
    await resources.apply(ME, team, world())
    states: dict[int, State] = {0: {}, 1: await _state(store, team)}
    for batch in batches:
        try:
            outcome = await resources.apply(ME, team, batch)
        except Fault:
            assert await _state(store, team) == states[max(states)]
            continue
        assert (outcome.revision in states) == (not outcome.changed)
        states[outcome.revision] = await _state(store, team)
    target = data.draw(st.sampled_from(sorted(states)))
    restored = await resources.restore(ME, team, target)
    assert restored.changed == (states[max(states)] != states[target])
    assert await _state(store, team) == states[target]
    again = await resources.restore(ME, team, target)
    assert (again.changed, again.revision) == (False, restored.revision)
    states[restored.revision] = states[target]
    start = data.draw(st.sampled_from(sorted(states)))
    head, changes = await store.changes_since(team, start)
    assert (head, replay(states[start], changes)) == (max(states), states[target])
    assert await _route_order(resources, team) == _sorted_routes(states[target])


async def _route_order(resources: Resources, team: str) -> list[str]:
    """The routes as a reader of the document finds them."""
    try:
        document: Any = (await resources.get(team, "route_config", "gw")).document
    except NotFound:
        return []
    return [entry["name"] for host in document["virtual_hosts"] for entry in host.get("routes", [])]


def _sorted_routes(state: State) -> list[str]:
    rows = sorted((row for row in state.values() if row.kind == "route"), key=lambda row: row.position)
    return [row.name.split("/")[2] for row in rows]


async def test_a_restore_is_a_revision_like_any_other(resources: Resources) -> None:
    """A restore has a number, an author and a diff, can be tried first, and can itself be undone."""
    await resources.apply(ME, TEAM, world())
    await resources.apply(ME, TEAM, [Change("delete", "listener", "l"), Change("delete", "route_config", "gw")])
    tried = await resources.restore(ME, TEAM, 1, dry_run=True)
    assert (tried.changed, tried.revision) == (True, 2)
    outcome = await resources.restore(ME, TEAM, 1)
    assert outcome.revision == 3
    assert {(diff.kind, diff.what) for diff in outcome.diffs} == {
        ("listener", "created"),
        ("route_config", "created"),
        ("route", "created"),
    }
    assert (await resources.get(TEAM, "route_config", "gw")).document == route_config(map(route, ["r0", "r1", "r2"]))
    assert (await resources.revision(TEAM, 3)).message == "restore of revision 1"
    await resources.restore(ME, TEAM, 2)
    assert (await resources.list(TEAM, "listener")).total == 0
    for unknown in (5, -1):
        with pytest.raises(NotFound) as refused:
            await resources.restore(ME, TEAM, unknown)
        assert refused.value.code == "unknown_revision"


async def test_a_document_that_is_not_valid_any_more_is_not_restored(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the rules became stricter since, a restore says so and changes nothing."""
    from headgate.controlplane.core import restore
    from headgate.kit.controls.faults import InvalidArgument

    def stricter(*_: object) -> None:
        raise InvalidArgument("no longer")

    await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())])
    await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(2))])
    monkeypatch.setattr(restore, "parse", stricter)
    with pytest.raises(FailedPrecondition) as refused:
        await resources.restore(ME, TEAM, 1)
    assert refused.value.code == "not_restorable"


async def test_revisions_tell_before_and_after(resources: Resources) -> None:
    """A revision holds each changed resource as it was and as it became; the list goes newest first."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "a", cluster())])
    await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(2), owner="api/x")], message="why")
    await resources.apply(ME, TEAM, [Change("delete", "cluster", "a")])
    page = await resources.revisions(TEAM, limit=2)
    assert ([revision.number for revision in page.items], page.total) == ([3, 2], 3)
    rest = await resources.revisions(TEAM, limit=2, cursor=page.next_cursor)
    assert ([revision.number for revision in rest.items], rest.next_cursor) == ([1], "")
    revision = await resources.revision(TEAM, 2)
    assert (revision.message, revision.actor) == ("why", "alice")
    assert list(revision.changes) == [
        {
            "kind": "cluster",
            "name": "a",
            "before": cluster(),
            "after": cluster(2),
            "moved": False,
            "owner": "api/x",
        }
    ]
    with pytest.raises(NotFound):
        await resources.revision(TEAM, 4)


async def test_a_definition_is_written_with_its_rows(resources: Resources, store: Store) -> None:
    """An API definition arrives in the revision of its rows, leaves with them, and comes back with a restore."""
    first = ApiDefinition("shop", "hash-1", {"base": "/"}, {"cluster/a": cluster()})
    create = [Change("create", "cluster", "a", cluster())]
    outcome = await resources.apply(ME, TEAM, create, definitions=[DefinitionChange("shop", first)])
    stored = await get_definition(store, TEAM, "shop")
    assert stored is not None
    assert (stored.document_hash, stored.last_applied, stored.revision) == ("hash-1", {"cluster/a": cluster()}, 1)
    same = await resources.apply(ME, TEAM, [], definitions=[DefinitionChange("shop", first)])
    assert same.revision == outcome.revision
    second = ApiDefinition("shop", "hash-2", {"base": "/"}, {})
    assert (await resources.apply(ME, TEAM, [], definitions=[DefinitionChange("shop", second)])).revision == 2
    entry = (await resources.revision(TEAM, 2)).changes[0]
    assert (entry["kind"], entry["before"], entry["after"]) == (
        "api_definition",
        {"document_hash": "hash-1", "options": {"base": "/"}},
        {"document_hash": "hash-2", "options": {"base": "/"}},
    )
    gone = [Change("delete", "cluster", "a")]
    await resources.apply(ME, TEAM, gone, definitions=[DefinitionChange("shop", None)])
    assert await get_definition(store, TEAM, "shop") is None
    await resources.restore(ME, TEAM, 1)
    stored = await get_definition(store, TEAM, "shop")
    assert stored is not None
    assert stored.document_hash == "hash-1"
    assert [change.row.kind for change in (await store.changes_since(TEAM, 0))[1]] == ["cluster"] * 3


async def test_a_refused_change_writes_no_definition(resources: Resources, store: Store) -> None:
    """A definition is not kept when the rows beside it are refused."""
    wanted = DefinitionChange("shop", ApiDefinition("shop", "hash"))
    with pytest.raises(Fault):
        await resources.apply(ME, TEAM, [Change("delete", "cluster", "a")], definitions=[wanted])
    assert await get_definition(store, TEAM, "shop") is None


async def test_pruned_history_cannot_be_reached(resources: Resources, store: Store) -> None:
    """Of the history the newest revisions stay and can be restored; whoever asks for more is told."""
    for port in range(1, 11):
        await resources.apply(ME, TEAM, [Change("put", "cluster", "a", cluster(port))])
    assert (await store.prune(audit_days=1, revisions_keep=4))["revisions"] == 6
    assert (await store.prune(audit_days=1, revisions_keep=4))["revisions"] == 0
    assert [revision.number for revision in (await resources.revisions(TEAM)).items] == [10, 9, 8, 7]
    await resources.restore(ME, TEAM, 7)
    assert (await resources.get(TEAM, "cluster", "a")).document == cluster(7)
    for number in (5, 0):
        with pytest.raises(NotFound):
            await resources.restore(ME, TEAM, number)
    with pytest.raises(OutOfRange) as refused:
        await store.changes_since(TEAM, 5)
    assert refused.value.code == "history_pruned"
    with pytest.raises(OutOfRange):
        await store.changes_since(TEAM, 99)
    assert len((await store.changes_since(TEAM, 6))[1]) == 5


async def test_old_audit_entries_go(resources: Resources, store: Store) -> None:
    """Audit entries older than the days to keep are deleted, younger ones stay."""
    await resources.apply(ME, TEAM, world())
    assert (await store.prune(audit_days=1, revisions_keep=10))["audit"] == 0
    assert (await store.prune(audit_days=-1, revisions_keep=10))["audit"] == 2
