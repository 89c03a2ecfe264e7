"""Replicas learn of every change, whoever wrote it."""

import asyncio
import time

from sqlalchemy import make_url

from headgate.controlplane.core.changes import Actor, Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.model.rows import Row
from headgate.controlplane.store.store import Store
from headgate.testing.postgres import Postgres

ME = Actor("me", "test")
CLUSTER = {"endpoints": [{"address": "127.0.0.1", "port": 80}]}
DEADLINE = 20.0


def _writer(store: Store) -> Resources:
    return Resources(store, preflight=None, secrets=SecretBox(bytes(32)))


async def _follow(store: Store, until: int) -> dict[str, Row]:
    """A replica: it starts from nothing and applies what it is told, until revision `until`."""
    held, state = 0, {}
    deadline = time.monotonic() + DEADLINE
    while held < until:
        assert time.monotonic() < deadline, f"stuck at revision {held}"
        if (await store.team_revisions())["t"] > held:
            held, changes = await store.changes_since("t", held)
            for change in changes:
                assert state.get(change.row.name) == change.before
                if change.after:
                    state[change.row.name] = change.after
                else:
                    del state[change.row.name]
        else:
            await store.wait_moved(1.0)
    return state


async def test_a_replica_misses_nothing_of_two_writers(database_url: str) -> None:
    """A replica that follows while two others write ends with exactly what is stored, gap-free."""
    stores = [await Store.open(database_url, poll_interval=0.1) for _ in range(3)]
    try:
        await Teams(stores[0]).create(ME, "t")
        follower = asyncio.create_task(_follow(stores[2], until=60))

        async def write(store: Store, name: str) -> None:
            for port in range(1, 31):
                endpoint = {"address": "127.0.0.1", "port": port}
                await _writer(store).apply(
                    ME,
                    "t",
                    [
                        Change("put", "cluster", name, {"endpoints": [endpoint]}),
                        Change("put", "cluster", f"{name}{port}", CLUSTER),
                    ],
                )

        await asyncio.gather(write(stores[0], "a"), write(stores[1], "b"))
        state = await follower
        revision, rows = await stores[1].load_team("t")
        assert revision == 60
        assert state == {row.name: row for row in rows}
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_a_view_is_of_one_moment(database_url: str) -> None:
    """Revision and rows come from one moment, though another writes between the reads."""
    reader, writer = await Store.open(database_url), await Store.open(database_url)
    try:
        await Teams(writer).create(ME, "t")
        async with reader.read("t") as view:
            await _writer(writer).apply(ME, "t", [Change("put", "cluster", "a", CLUSTER)])
            assert (view.revision, await view.all_rows()) == (0, [])
        assert (await reader.load_team("t"))[0] == 1
    finally:
        await asyncio.gather(reader.close(), writer.close())


async def test_a_change_here_wakes_at_once(store: Store) -> None:
    """A change made before or during the wait ends it; without one it lasts its time."""
    await Teams(store).create(ME, "t")
    await store.wait_moved(0.2)
    await store.wait_moved(0.2)
    waiting = asyncio.create_task(store.wait_moved(DEADLINE))
    await asyncio.sleep(0)
    await _writer(store).apply(ME, "t", [Change("put", "cluster", "a", CLUSTER)])
    await asyncio.wait_for(waiting, DEADLINE / 2)
    await _writer(store).apply(ME, "t", [Change("put", "cluster", "b", CLUSTER)])
    await asyncio.wait_for(store.wait_moved(DEADLINE), DEADLINE / 2)


async def test_a_change_elsewhere_wakes_too(database_url: str) -> None:
    """A change made through another store, as by another process, ends the wait."""
    here, there = await Store.open(database_url, poll_interval=0.05), await Store.open(database_url)
    try:
        await Teams(there).create(ME, "t")
        waiting = asyncio.create_task(_until_revision(here, 1))
        await _writer(there).apply(ME, "t", [Change("put", "cluster", "a", CLUSTER)])
        await asyncio.wait_for(waiting, DEADLINE)
    finally:
        await asyncio.gather(here.close(), there.close())


async def _until_revision(store: Store, revision: int) -> None:
    while (await store.team_revisions()).get("t", 0) < revision:
        await store.wait_moved(DEADLINE)


async def test_the_listener_comes_back(postgres: Postgres, postgres_url: str) -> None:
    """When PostgreSQL drops the listening connection, the replica listens again and is woken, not only by its poll."""
    here, there = await Store.open(postgres_url, poll_interval=DEADLINE), await Store.open(postgres_url)
    try:
        await Teams(there).create(ME, "t")
        await here.wait_moved(DEADLINE)
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            database=make_url(postgres_url).database or "",
        )
        # It rings once when it is back: what was said meanwhile is not lost.
        await asyncio.wait_for(here.wait_moved(DEADLINE), DEADLINE / 2)
        waiting = asyncio.create_task(here.wait_moved(DEADLINE))
        await _writer(there).apply(ME, "t", [Change("put", "cluster", "a", CLUSTER)])
        await asyncio.wait_for(waiting, DEADLINE / 2)
    finally:
        await asyncio.gather(here.close(), there.close())
