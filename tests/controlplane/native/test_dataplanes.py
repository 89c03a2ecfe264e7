"""What the API tells of dataplanes."""

from datetime import UTC, datetime

import pytest

from headgate.controlplane.store.dataplanes import DataplaneRecord, RefusalRecord, record_refusals, upsert_dataplane
from headgate.controlplane.translate.resource import LISTENER

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _connect(running, team: str, node: str, *, connected: bool = False, refused: bool = False) -> None:
    now = datetime.now(UTC)
    types = {"lds": {"wanted": "b", "acknowledged": "a", "in_sync": False, "resources": 1, "waiting": {}}}
    record = DataplaneRecord(
        id=f"{team}/{node}",
        team=team,
        node_id=node,
        scope="team",
        envoy_version="1.40.0",
        replica="another",
        connected=connected,
        first_seen=now,
        last_seen=now,
        revision_acked=3,
        state={"mode": "delta", "revision_wanted": 4, "types": types},
    )
    await upsert_dataplane(running.plane.store, record)
    if refused:
        refusal = RefusalRecord(
            record.id, LISTENER, f"{team}/l", "b", "bad filter", now, pointer="/port", kind="listener", name="l"
        )
        await record_refusals(running.plane.store, [refusal])


async def test_dataplanes_are_listed_with_what_they_refused(api, running, team):
    """The list tells, per dataplane and type, what is wanted and acknowledged, and what was refused and why."""
    await _connect(running, team, "b")
    await _connect(running, team, "a", connected=True, refused=True)
    found = (await api.get("/dataplanes")).json()
    assert [(item["id"], item["state"]) for item in found["items"]] == [("a", "refused"), ("b", "disconnected")]
    first = found["items"][0]
    assert (first["revision_wanted"], first["revision_acked"], first["mode"]) == (4, 3, "delta")
    assert first["types"]["lds"]["in_sync"] is False
    (refusal,) = first["refused"]
    assert (refusal["type"], refusal["message"]) == ("lds", "bad filter")
    assert (refusal["kind"], refusal["name"], refusal["pointer"]) == ("listener", "l", "/port")
    assert (await api.get("/dataplanes/a")).json() == first
    assert [i["id"] for i in (await api.get("/dataplanes?limit=1")).json()["items"]] == ["a"]


async def test_only_a_disconnected_dataplane_can_be_forgotten(api, running, team):
    """DELETE forgets one that is gone, and is 409 for one that is connected."""
    await _connect(running, team, "here", connected=True)
    await _connect(running, team, "gone/for good")
    answer = await api.delete("/dataplanes/here")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataplane_connected")
    assert (await api.delete("/dataplanes/gone/for good")).status_code == 204
    assert [item["id"] for item in (await api.get("/dataplanes")).json()["items"]] == ["here"]
    assert (await api.get("/dataplanes/gone/for good")).json()["code"] == "unknown_dataplane"


async def test_dataplanes_of_others_are_out_of_sight(api, running):
    """A team does not see another's dataplanes."""
    await _connect(running, "default", "theirs")
    assert (await api.get("/dataplanes")).json()["total"] == 0
    assert (await api.get("/dataplanes/theirs")).status_code == 404
