"""Lag: what makes a replica unready, and what does not."""

import pytest

from headgate.controlplane.core import feed_lag
from headgate.controlplane.core.snapshots import Snapshots
from headgate.controlplane.translate.resource import empty_snapshot
from headgate.kit.controls.faults import Unavailable


class Feed:
    """A store of which only the revisions are asked."""

    def __init__(self, **revisions: int) -> None:
        self.revisions = revisions

    async def team_revisions(self) -> dict[str, int]:
        """Return what there is."""
        return self.revisions


def _held(**revisions: int) -> Snapshots:
    snapshots = Snapshots(None, None, None)  # type: ignore[arg-type]
    snapshots._current = {team: empty_snapshot(team) for team in revisions}
    return snapshots


async def test_lag_is_what_lasts(monkeypatch):
    """A team ahead of its snapshot makes a replica unready only when it stays so, and no progress is made."""
    feed = Feed(default=1)
    snapshots = _held(default=0)
    lag = feed_lag.FeedLag(feed, snapshots)  # type: ignore[arg-type]
    await lag.check()
    monkeypatch.setattr(feed_lag, "LIMIT_S", -1.0)
    with pytest.raises(Unavailable):
        await lag.check()
    snapshots.behind = frozenset({"default"})
    await lag.check()
    snapshots.behind = frozenset()
    feed.revisions = {"default": 0}
    await lag.check()
