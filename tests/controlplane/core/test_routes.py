"""Routes are rows of their own: an edit of one leaves the others alone."""

from typing import Any

import pytest

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.planner import MOST_ROUTES
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.model.rows import POSITION_GAP
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import InvalidArgument, NotFound
from tests.controlplane.core.documents import ME, TEAM, cluster, route, route_config, world


async def _order(resources: Resources) -> list[str]:
    document: Any = (await resources.get(TEAM, "route_config", "gw")).document
    return [entry["name"] for entry in document["virtual_hosts"][0].get("routes", [])]


def _on(name: str, operation: Any = "put", **more: Any) -> Change:
    document = None if operation == "delete" else route(name)
    return Change(operation, "route", f"gw/default/{name}", document, **more)


async def test_a_patched_route_is_the_only_row_changed(resources: Resources, store: Store) -> None:
    """A patch of one route writes one row, and the ETags of the route and of its config move, no other's."""
    await resources.apply(ME, TEAM, world())
    outcome = await resources.apply(
        ME, TEAM, [Change("patch", "route", "gw/default/r1", {"forward": {"timeout_ms": 0}})]
    )
    assert outcome.diffs[0].etag == '"2"'
    _, changes = await store.changes_since(TEAM, 1)
    assert [change.row.name for change in changes] == ["gw/default/r1"]
    assert (await resources.get(TEAM, "route", "gw/default/r0")).etag == '"1"'
    assert (await resources.get(TEAM, "route_config", "gw")).etag == '"2"'
    assert await _order(resources) == ["r0", "r1", "r2"]


async def test_new_routes_go_last_unless_told_otherwise(resources: Resources, store: Store) -> None:
    """`before` names the route to go in front of; without it a new route goes last, an old one stays."""
    await resources.apply(ME, TEAM, world())
    await resources.apply(ME, TEAM, [_on("last"), _on("first", before="r0"), _on("mid", before="r2")])
    assert await _order(resources) == ["first", "r0", "r1", "mid", "r2", "last"]
    await resources.apply(ME, TEAM, [_on("r0", before="")])
    assert await _order(resources) == ["first", "r1", "mid", "r2", "last", "r0"]
    outcome = await resources.apply(ME, TEAM, [_on("r0", before="first")])
    assert outcome.diffs[0].what == "updated"
    assert await _order(resources) == ["r0", "first", "r1", "mid", "r2", "last"]
    _, changes = await store.changes_since(TEAM, 3)
    assert [change.row.name for change in changes] == ["gw/default/r0"]
    assert not (await resources.apply(ME, TEAM, [_on("r0")])).changed
    for there in ("first", "last"):
        before = "r1" if there == "first" else ""
        assert not (await resources.apply(ME, TEAM, [_on(there, before=before)])).changed


async def test_the_route_that_is_moved_is_the_one_reported(resources: Resources, store: Store) -> None:
    """A route put behind its neighbour is the row that changes, not the neighbour."""
    await resources.apply(ME, TEAM, world())
    outcome = await resources.apply(ME, TEAM, [_on("r0", before="r2")])
    assert [diff.what for diff in outcome.diffs] == ["updated"]
    assert [change.row.name for change in (await store.changes_since(TEAM, 1))[1]] == ["gw/default/r0"]


async def test_when_no_gap_is_left_the_host_is_renumbered(resources: Resources, store: Store) -> None:
    """Insertions at one place go on working when the numbers between two routes are used up."""
    await resources.apply(ME, TEAM, world())
    inserts = POSITION_GAP.bit_length() + 3
    for number in range(inserts):
        await resources.apply(ME, TEAM, [_on(f"n{number:02}", before="r1")])
    assert await _order(resources) == ["r0", *(f"n{number:02}" for number in range(inserts)), "r1", "r2"]
    _, rows = await store.load_team(TEAM)
    positions = [row.position for row in rows if row.kind == "route"]
    assert len(set(positions)) == len(positions)


async def test_going_before_a_stranger_is_refused(resources: Resources) -> None:
    """`before` must name a route of the same virtual host."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(ME, TEAM, [_on("x", before="nobody")])
    assert (refused.value.code, refused.value.violations[0].pointer) == ("unknown_route", "/before")


async def test_replacing_a_route_config_touches_only_what_differs(resources: Resources, store: Store) -> None:
    """A whole replacement that adds, changes, moves and drops one route each writes four rows."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "b", cluster()), *world()])
    names = [f"r{n}" for n in range(6)]
    await resources.apply(ME, TEAM, [Change("put", "route_config", "gw", route_config(map(route, names)))])
    wanted = [route("r5"), route("r0"), route("new"), route("r1", to="b"), route("r2"), route("r4")]
    await resources.apply(ME, TEAM, [Change("replace", "route_config", "gw", route_config(wanted))])
    assert await _order(resources) == ["r5", "r0", "new", "r1", "r2", "r4"]
    _, changes = await store.changes_since(TEAM, 2)
    assert sorted(change.row.name.split("/")[2] for change in changes) == ["new", "r1", "r3", "r5"]
    assert (await resources.get(TEAM, "route", "gw/default/r0")).etag == '"1"'


async def test_a_replacement_keeps_the_owner_of_what_remains(resources: Resources) -> None:
    """Routes an import owns stay its own when a person replaces the whole route config; new ones do not."""
    await resources.apply(ME, TEAM, world())
    await resources.apply(ME, TEAM, [_on("mine", owner="api/shop")])
    wanted = [route("r0"), {**route("mine"), "forward": {"cluster": "a", "timeout_ms": 9}}, route("fresh")]
    await resources.apply(ME, TEAM, [Change("replace", "route_config", "gw", route_config(wanted))])
    assert (await resources.get(TEAM, "route", "gw/default/mine")).owner == "api/shop"
    assert (await resources.get(TEAM, "route", "gw/default/fresh")).owner == ""
    page = await resources.list(TEAM, "route", owner="api/shop")
    assert [stored.name for stored in page.items] == ["gw/default/mine"]


async def test_a_deleted_route_config_takes_its_routes_along(resources: Resources, store: Store) -> None:
    """Routes go with their config, each recorded, and their clusters are free again."""
    await resources.apply(ME, TEAM, world())
    await resources.apply(ME, TEAM, [Change("delete", "listener", "l")])
    outcome = await resources.apply(ME, TEAM, [Change("delete", "route_config", "gw")])
    assert [(diff.name, diff.what) for diff in outcome.diffs] == [("gw", "deleted")]
    assert len((await resources.revision(TEAM, 3)).changes) == 4
    await resources.apply(ME, TEAM, [Change("delete", "cluster", "a")])
    assert (await store.load_team(TEAM))[1] == []


async def test_a_route_needs_its_config_and_its_host(resources: Resources) -> None:
    """A route cannot be put into a route config or a virtual host that is not there."""
    with pytest.raises(NotFound):
        await resources.apply(ME, TEAM, [_on("r0")])
    await resources.apply(ME, TEAM, world())
    with pytest.raises(NotFound):
        await resources.apply(ME, TEAM, [Change("put", "route", "gw/elsewhere/r0", route("r0"))])


async def test_a_route_cannot_be_renamed_by_its_document(resources: Resources) -> None:
    """The document's name is that of the address; left out, it is filled in."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(InvalidArgument) as refused:
        await resources.apply(ME, TEAM, [Change("put", "route", "gw/default/r0", route("other"))])
    assert refused.value.violations[0].pointer == "/name"
    nameless = {key: value for key, value in route("r7").items() if key != "name"}
    outcome = await resources.apply(ME, TEAM, [Change("put", "route", "gw/default/r7", nameless)])
    assert outcome.diffs[0].after == route("r7")


async def test_deleted_and_made_again_in_one_batch_goes_last(resources: Resources) -> None:
    """A route deleted and created in one batch is the same row, put last."""
    await resources.apply(ME, TEAM, world())
    outcome = await resources.apply(ME, TEAM, [_on("r0", "delete"), _on("r0", "create")])
    assert [diff.what for diff in outcome.diffs] == ["updated"]
    assert await _order(resources) == ["r1", "r2", "r0"]


async def test_whole_and_single_changes_mix(resources: Resources) -> None:
    """A batch may replace a route config and then change single routes of it."""
    await resources.apply(ME, TEAM, world())
    outcome = await resources.apply(
        ME,
        TEAM,
        [
            Change("replace", "route_config", "gw", route_config([route("x"), route("r2")])),
            _on("y", before="x"),
            _on("r2", "delete"),
        ],
    )
    assert await _order(resources) == ["y", "x"]
    assert outcome.diffs[0].after == route_config([route("y"), route("x")])


def test_the_bound_of_routes_is_the_models() -> None:
    """Single routes are held to the bound that the document has."""
    assert MOST_ROUTES == 50_000
