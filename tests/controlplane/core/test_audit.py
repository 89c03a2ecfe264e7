"""The audit trail tells what was done and what was refused."""

from datetime import UTC, datetime, timedelta

import pytest

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import AlreadyExists, InvalidArgument, NotFound, Unavailable
from tests.controlplane.core.documents import ME


async def test_a_team_is_made_once(store: Store) -> None:
    """A team's name is checked and unique, and making it is on the record."""
    teams = Teams(store)
    assert (await teams.create(ME, "red")).revision == 0
    with pytest.raises(AlreadyExists):
        await teams.create(ME, "red")
    for bad in ("Red", "", "a/b"):
        with pytest.raises(InvalidArgument):
            await teams.create(ME, bad)
    assert (await teams.get("red")).name == "red"
    with pytest.raises(NotFound):
        await teams.get("blue")
    (entry,) = (await AuditLog(store).list()).items
    assert (entry.action, entry.target, entry.team, entry.actor) == ("team.create", "team/red", "red", "alice")


async def test_refusals_are_noted(store: Store) -> None:
    """A refused act is on the record with its reason, whatever strangers put into it."""
    log = AuditLog(store)
    stranger = Actor("\0\ud800" + "x" * 2000, "native", request_id="r")
    await log.refused(stranger, "authenticate", target="/api\0", reason="invalid_token")
    (entry,) = (await log.list(action="authenticate")).items
    assert (entry.outcome, entry.detail, entry.target) == ("refused", {"reason": "invalid_token"}, "/api")
    assert len(entry.actor) <= 500


async def test_a_flood_of_refusals_does_not_fill_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty refusals a minute are written; the next one that is tells how many were not."""
    now = [0.0]
    monkeypatch.setattr("headgate.controlplane.core.audit.time.monotonic", lambda: now[0])
    log = AuditLog(store)
    for _ in range(70):
        await log.refused(ME, "authenticate")
    assert (await log.list()).total == 60
    now[0] = 61.0
    await log.refused(ME, "authenticate")
    assert (await log.list(limit=1)).items[0].detail["dropped_before"] == 10


async def test_a_refusal_that_cannot_be_written_hurts_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the store takes nothing, the refusal still reaches the caller, and the log tells of it."""

    async def away(*_: object) -> None:
        raise Unavailable("away", code="storage_unavailable")

    monkeypatch.setattr("headgate.controlplane.core.audit.add_audit", away)
    await AuditLog(store).refused(ME, "authenticate")
    assert "storage_unavailable" in caplog.text


async def test_the_trail_narrows_and_pages(store: Store) -> None:
    """Entries come newest first, page by page, by team, actor, action and time."""
    teams = Teams(store)
    for name in ("a", "b", "c"):
        await teams.create(ME, name)
    log = AuditLog(store)
    page = await log.list(limit=2)
    assert ([entry.team for entry in page.items], page.total) == (["c", "b"], 3)
    assert [entry.team for entry in (await log.list(limit=2, cursor=page.next_cursor)).items] == ["a"]
    assert (await log.list(team="b")).total == 1
    assert (await log.list(actor="bob")).total == 0
    now = datetime.now(UTC)
    assert (await log.list(since=now - timedelta(hours=1), until=now + timedelta(hours=1))).total == 3
    assert (await log.list(until=now - timedelta(hours=1))).total == 0
