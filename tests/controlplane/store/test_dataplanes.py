"""What data planes run and refuse is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.store.dataplanes import (
    DataplaneRecord,
    RefusalRecord,
    clear_refusals,
    delete_dataplane,
    get_dataplane,
    list_dataplanes,
    list_refusals,
    record_refusals,
    upsert_dataplane,
    upsert_dataplanes,
)
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import Aborted, NotFound

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ENVOY = DataplaneRecord(
    id="red/n1",
    team="red",
    node_id="n1",
    scope="team",
    envoy_version="1.40.0",
    replica="cp-1",
    connected=True,
    first_seen=NOW,
    last_seen=NOW,
    revision_acked=3,
    state={"cds": {"acked": "abc"}},
)
REFUSAL = RefusalRecord(
    dataplane_id="red/n1",
    type="type.googleapis.com/x",
    resource="red/a",
    version="v2",
    message="no",
    at=NOW,
    pointer="/tls",
    kind="cluster",
    name="a",
    last_good=b"\x00\xff",
    last_good_version="v1",
)


@pytest.fixture
async def fleet(store: Store) -> Store:
    """A store with teams red and blue, and a data plane of red."""
    for team in ("red", "blue"):
        await Teams(store).create(Actor("me", "test"), team)
    await upsert_dataplane(store, ENVOY)
    return store


async def test_a_dataplane_is_kept_as_it_was_told(fleet: Store) -> None:
    """What is written is read; a second write replaces all but the first sight."""
    assert await get_dataplane(fleet, "red/n1") == ENVOY
    later = replace(ENVOY, connected=False, first_seen=NOW + timedelta(1), last_seen=NOW + timedelta(1), state={})
    await upsert_dataplane(fleet, later)
    assert await get_dataplane(fleet, "red/n1") == replace(later, first_seen=NOW)
    assert await get_dataplane(fleet, "nobody") is None


async def test_dataplanes_are_listed_by_team(fleet: Store) -> None:
    """A list is of one team or of all; one of scope `all` may belong to no team."""
    everywhere = replace(ENVOY, id="all/n2", team="", scope="all")
    await upsert_dataplanes(fleet, [everywhere, replace(ENVOY, id="blue/n1", team="blue")])
    assert [record.id for record in await list_dataplanes(fleet)] == ["all/n2", "blue/n1", "red/n1"]
    assert await list_dataplanes(fleet, "red") == [ENVOY]
    assert await get_dataplane(fleet, "all/n2") == everywhere
    with pytest.raises(NotFound):
        await upsert_dataplanes(fleet, [replace(ENVOY, team="nobody")])
    await upsert_dataplanes(fleet, [])


async def test_a_refusal_is_kept_until_it_is_cleared(fleet: Store) -> None:
    """A refusal keeps the last good bytes; a newer one of the same resource replaces it."""
    await record_refusals(fleet, [REFUSAL, replace(REFUSAL, resource="red/b", last_good=None)])
    assert await list_refusals(fleet, dataplane_id="red/n1") == [
        REFUSAL,
        replace(REFUSAL, resource="red/b", last_good=None),
    ]
    newer = replace(REFUSAL, message="still no", at=NOW + timedelta(1))
    await record_refusals(fleet, [newer])
    assert (await list_refusals(fleet, team="red"))[0] == newer
    assert await list_refusals(fleet, team="blue") == []
    assert await clear_refusals(fleet, "red/n1", type_url=REFUSAL.type, resources=["red/a"]) == 1
    assert await clear_refusals(fleet, "red/n1", type_url="other") == 0
    assert [refusal.resource for refusal in await list_refusals(fleet)] == ["red/b"]
    assert await clear_refusals(fleet, "red/n1") == 1
    await record_refusals(fleet, [])


async def test_a_refusal_of_a_stranger_is_not_kept(fleet: Store) -> None:
    """A refusal belongs to a data plane that is known."""
    with pytest.raises(Aborted):
        await record_refusals(fleet, [replace(REFUSAL, dataplane_id="nobody")])


async def test_a_forgotten_dataplane_takes_its_refusals_along(fleet: Store) -> None:
    """Forgetting a data plane forgets what it refused."""
    await record_refusals(fleet, [REFUSAL])
    assert await delete_dataplane(fleet, "red/n1")
    assert not await delete_dataplane(fleet, "red/n1")
    assert await list_refusals(fleet) == []
