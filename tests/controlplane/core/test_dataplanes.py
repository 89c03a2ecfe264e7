"""What the recorder must not lose: refusals, whatever comes between them and the store."""

import asyncio
import time

import pytest

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.dataplane_state import Node, Refused, Report, TypeReport
from headgate.controlplane.core.dataplanes import Dataplanes
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.store import dataplanes as table
from headgate.controlplane.store.store import Store
from headgate.controlplane.translate.resource import ROUTE, Resource
from headgate.kit.tasks import AGAIN_SECONDS

NODE = Node("edge", "t")
KEY = (ROUTE, "t/web")
GOOD = Resource(ROUTE, "t/web", "v1", b"good")
REFUSED = {KEY: Refused("v2", "no", GOOD)}


def report(refused=None, *, silent=False):
    """What the hub says; `silent` before the stream has spoken of routes."""
    types = {} if silent else {"rds": TypeReport("v2", "v1", in_sync=not refused)}
    return Report("delta", 2, 1, types, refused or {})


@pytest.fixture
async def ledger(sqlite_store: Store) -> Dataplanes:
    """A recorder that nobody started: it writes when it stops."""
    await Teams(sqlite_store).create(Actor("me", "test"), "t")
    return Dataplanes(sqlite_store, replica="r")


def told(refusals):
    """Of each refusal: version, reason, and what is served instead."""
    return {key: (each.version, each.message, each.last_good.body) for key, each in refusals.items()}


IT = told(REFUSED)


async def known(store):
    """What a process that starts now knows of refusals."""
    return told(await Dataplanes(store, replica="later").connected(NODE, lambda: report(silent=True)))


async def test_a_refusal_just_before_the_end_is_kept(ledger, sqlite_store):
    """A dataplane that refuses and disconnects at once, before anything was written, is remembered with both."""
    await ledger.connected(NODE, lambda: report(REFUSED))
    ledger.disconnected(NODE)
    await ledger.stop()
    assert await known(sqlite_store) == IT
    assert not (await ledger.get("t", "edge")).connected


async def test_it_ends_also_right_after_a_change(ledger):
    """The news of a change and the end come in one turn of the loop: neither is lost, and nobody waits for ever."""
    await ledger.connected(NODE, report)
    ledger._delay = 0.0
    await ledger.start()
    while ledger._wake.is_set() or ledger._dirty:  # until the connection is written and it waits for news
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    ledger.disconnected(NODE)
    await asyncio.sleep(0)
    started = time.monotonic()
    async with asyncio.timeout(10):
        await ledger.stop()
    assert time.monotonic() - started < AGAIN_SECONDS
    assert not (await ledger.get("t", "edge")).connected


async def test_a_quick_reconnect_keeps_it(ledger, sqlite_store):
    """A dataplane that comes back before anything was written is told what it refused, and so is the store."""
    await ledger.connected(NODE, lambda: report(REFUSED))
    ledger.disconnected(NODE)
    assert told(await ledger.connected(NODE, lambda: report(silent=True))) == IT
    await ledger.stop()
    assert await known(sqlite_store) == IT


async def test_a_store_that_was_away_gets_it_later(ledger, sqlite_store, monkeypatch):
    """What could not be written is written with the next attempt."""
    await ledger.connected(NODE, lambda: report(REFUSED))

    async def away(*_: object) -> None:
        raise OSError("away")

    with monkeypatch.context() as patched:
        patched.setattr(table, "record_refusals", away)
        with pytest.raises(OSError, match="away"):
            await ledger.stop()
    await ledger.stop()
    assert await known(sqlite_store) == IT


async def test_silence_is_no_acceptance(ledger, sqlite_store):
    """A refusal is over when the dataplane's stream says so, not while it has not spoken of the type."""
    seen = report(REFUSED)
    await ledger.connected(NODE, lambda: seen)
    await ledger.stop()
    for seen, left in ((report(silent=True), IT), (report(), {})):  # noqa: B007 - the lambda reads it
        ledger.touched(NODE)
        await ledger.stop()
        assert await known(sqlite_store) == left


async def test_it_was_seen_when_it_was_first_seen(ledger, sqlite_store):
    """The time of a refusal is the same before and after it is written."""
    await ledger.connected(NODE, lambda: report(REFUSED))
    (first,) = (await ledger.get("t", "edge")).refused
    await ledger.stop()
    (written,) = await table.list_refusals(sqlite_store, team="t")
    assert (await ledger.get("t", "edge")).refused == [first]
    assert written.at == first.at
