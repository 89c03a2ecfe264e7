"""This replica's snapshots follow the store."""

import asyncio
from contextlib import asynccontextmanager

from headgate.controlplane.core.snapshots import Snapshots
from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER
from headgate.kit.controls.faults import OutOfRange, Unavailable

SPEC = {"endpoints": [{"address": "127.0.0.1", "port": 80}]}


class Feed:
    """A store in memory: the revisions of each team and the rows at them."""

    def __init__(self) -> None:
        self.history: dict[str, list[list[Row]]] = {"default": [[]]}
        self.pruned = False
        self.broken: set[str] = set()
        self.moved = asyncio.Event()

    def write(self, team: str, *names: str) -> None:
        self.history.setdefault(team, [[]]).append([Row("cluster", name, SPEC) for name in names])
        self.moved.set()

    async def team_revisions(self) -> dict[str, int]:
        return {team: len(states) - 1 for team, states in self.history.items()}

    async def load_team(self, team: str) -> tuple[int, list[Row]]:
        if team in self.broken:
            raise Unavailable("the store is away")
        return len(self.history[team]) - 1, self.history[team][-1]

    async def changes_since(self, team: str, revision: int) -> tuple[int, list[RowChange]]:
        states = self.history[team]
        if self.pruned or revision >= len(states):
            raise OutOfRange("the history does not reach back", code="history_pruned")
        before, after = ({row.name: row for row in state} for state in (states[revision], states[-1]))
        names = sorted(before.keys() | after.keys())
        changes = [
            RowChange(before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
        ]
        return len(states) - 1, changes

    async def wait_moved(self, timeout: float) -> None:
        try:
            await asyncio.wait_for(self.moved.wait(), timeout)
        except TimeoutError:
            return
        self.moved.clear()


@asynccontextmanager
async def following(feed: Feed):
    """Snapshots that follow the feed."""
    snapshots = Snapshots(feed, lambda _team, row: row, lambda team: TeamCompiler(team, system_ca=""), poll=0.05)
    await snapshots.start()
    try:
        yield snapshots
    finally:
        await snapshots.stop()


def clusters(snapshots: Snapshots, team: str = "default") -> set[str]:
    """Names of the clusters compiled for a team."""
    snapshot = snapshots.current(team)
    return set(snapshot.resources[CLUSTER]) if snapshot else set()


async def until(condition) -> None:
    """Wait until `condition()` holds, 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_written_row_reaches_the_snapshot_and_its_listeners():
    """Whoever subscribed is called with each new snapshot."""
    feed = Feed()
    async with following(feed) as snapshots:
        seen = []
        unsubscribe = snapshots.subscribe(lambda snapshot: seen.append(snapshot.revision))
        feed.write("default", "a")
        await until(lambda: clusters(snapshots) == {"default/a"})
        unsubscribe()
        feed.write("default", "b")
        await until(lambda: clusters(snapshots) == {"default/b"})
        assert seen == [1]


async def test_a_team_made_later_is_picked_up():
    """A new team has a snapshot without a restart."""
    feed = Feed()
    async with following(feed) as snapshots:
        assert snapshots.current("shop") is None
        feed.write("shop", "a")
        await until(lambda: clusters(snapshots, "shop") == {"shop/a"})


async def test_a_pruned_history_is_answered_by_loading_the_team_afresh():
    """A replica that is too far behind for the history starts over, and loses nothing."""
    feed = Feed()
    async with following(feed) as snapshots:
        feed.write("default", "a")
        await until(lambda: clusters(snapshots) == {"default/a"})
        feed.pruned = True
        feed.write("default", "b", "c")
        await until(lambda: clusters(snapshots) == {"default/b", "default/c"})


async def test_a_revision_that_went_back_is_followed():
    """After a backup was restored the snapshot shows what the store holds, not what it held."""
    feed = Feed()
    async with following(feed) as snapshots:
        feed.write("default", "a")
        feed.write("default", "a", "b")
        await until(lambda: clusters(snapshots) == {"default/a", "default/b"})
        feed.history["default"].pop()
        feed.moved.set()
        await until(lambda: clusters(snapshots) == {"default/a"})


async def test_one_teams_trouble_holds_up_no_other():
    """A team that cannot be read is reported as behind, keeps its place, and comes back by itself."""
    feed = Feed()
    feed.broken.add("shop")
    async with following(feed) as snapshots:
        feed.write("shop", "a")
        feed.write("default", "a")
        await until(lambda: clusters(snapshots) == {"default/a"} and snapshots.behind == {"shop"})
        feed.broken.clear()
        await until(lambda: clusters(snapshots, "shop") == {"shop/a"} and not snapshots.behind)
