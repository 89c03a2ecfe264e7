"""Whether this replica keeps up with the store."""

import asyncio
from typing import Final

from headgate.controlplane.core.snapshots import Feed, Snapshots
from headgate.kit.controls.faults import Unavailable

LIMIT_S: Final = 10.0
"""How long a team may be ahead of what is compiled here before this replica is not ready."""


class FeedLag:
    """Watches for changes that are not taken up.

    A write under way is no lag, so some time must pass; nor is a team that cannot be translated: it is
    logged, keeps its last snapshot, and must not make every replica unready.
    """

    def __init__(self, store: Feed, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots
        self._since: dict[str, tuple[int, float]] = {}

    async def check(self) -> None:
        """Raise Unavailable (`feed_lag`) when some team has been behind, at one revision, for too long."""
        now = asyncio.get_running_loop().time()
        since: dict[str, tuple[int, float]] = {}
        for team, revision in (await self._store.team_revisions()).items():
            snapshot = self._snapshots.current(team)
            held = snapshot.revision if snapshot else -1
            if held < revision and team not in self._snapshots.behind:
                known = self._since.get(team)
                since[team] = known if known and known[0] == held else (held, now)
        self._since = since
        if any(now - began > LIMIT_S for _, began in since.values()):
            raise Unavailable("changes in the store have not been taken up", code="feed_lag")
