"""Envoy is asked before anything is committed."""

import asyncio
from collections.abc import Sequence

import pytest

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources, RowViolation
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.model.rows import RowChange
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import InvalidArgument
from tests.controlplane.core.documents import ME, TEAM, cluster, route, route_config, world


class Gate:
    """A preflight that refuses every row whose name ends in `bad`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.meanwhile: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def check(self, team: str, changes: Sequence[RowChange]) -> Sequence[RowViolation]:
        """Answer at once, or when `meanwhile` is set."""
        assert team == TEAM
        self.asked.append([change.row.name for change in changes])
        self.reached.set()
        if self.meanwhile is not None:
            await self.meanwhile.wait()
        rows = [change.row for change in changes if change.after and change.row.name.endswith("bad")]
        return [RowViolation(row.kind, row.name, "/forward", "no such thing") for row in rows]


@pytest.fixture
def gate() -> Gate:
    """A gate that answers at once."""
    return Gate()


@pytest.fixture
def gated(store: Store, resources: Resources, box: SecretBox, gate: Gate) -> Resources:
    """The use cases behind the gate, on the store that `resources` prepared."""
    return Resources(store, preflight=gate, secrets=box)


async def test_what_envoy_refuses_is_not_stored(gated: Resources, store: Store) -> None:
    """A refusal of Envoy refuses the whole change, with the pointer into what the caller sent."""
    await gated.apply(ME, TEAM, world())
    with pytest.raises(InvalidArgument) as refused:
        await gated.apply(ME, TEAM, [Change("put", "route_config", "gw", route_config([route("r0"), route("so-bad")]))])
    assert refused.value.code == "refused_by_envoy"
    assert [v.pointer for v in refused.value.violations] == ["/virtual_hosts/0/routes/1/forward"]
    assert (await store.team_revisions())[TEAM] == 1


async def test_envoy_is_asked_about_changed_rows_only(gated: Resources, gate: Gate) -> None:
    """The gate sees the rows that change, in a dry run too, and nothing when nothing changes."""
    await gated.apply(ME, TEAM, world())
    gate.asked.clear()
    await gated.apply(ME, TEAM, [Change("patch", "route", "gw/default/r1", {"forward": {"timeout_ms": 1}})])
    await gated.apply(ME, TEAM, [Change("put", "cluster", "b", cluster())], dry_run=True)
    await gated.apply(ME, TEAM, [Change("put", "cluster", "a", cluster())])
    assert gate.asked == [["gw/default/r1"], ["b"]]


async def test_no_lock_is_held_while_envoy_thinks(gated: Resources, gate: Gate, resources: Resources) -> None:
    """Others commit while the gate takes its time; the change is then worked out and asked about anew."""
    gate.meanwhile = asyncio.Event()
    slow = asyncio.create_task(gated.apply(ME, TEAM, [Change("create", "cluster", "slow", cluster())]))
    await asyncio.wait_for(gate.reached.wait(), 10)
    quick = await resources.apply(ME, TEAM, [Change("create", "cluster", "quick", cluster())])
    gate.meanwhile.set()
    assert (quick.revision, (await slow).revision) == (1, 2)
    assert gate.asked == [["slow"], ["slow"]]
