"""This replica's compiled snapshots: every team's Envoy resources, kept up with the store.

One task waits until some team may have moved, asks which did, and translates only the rows that changed.
A team whose rows cannot be read or translated keeps its last snapshot and holds up no other.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import structlog

from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import TeamSnapshot
from headgate.kit.controls.faults import OutOfRange
from headgate.kit.tasks import end

_log = structlog.get_logger("headgate.snapshots")

Listener = Callable[[TeamSnapshot], None]

LARGE_CHANGE = 200
"""Row changes from which translation goes to a thread, so that the event loop lives on."""


class Feed(Protocol):
    """What is needed of the store."""

    async def team_revisions(self) -> dict[str, int]:
        """Return every team's current revision."""

    async def load_team(self, team: str) -> tuple[int, list[Row]]:
        """Return a team's revision and all its rows at it."""

    async def changes_since(self, team: str, revision: int) -> tuple[int, list[RowChange]]:
        """Return the row changes after a revision, in order, and the revision they lead to."""

    async def wait_moved(self, timeout: float) -> None:
        """Return when some team may have moved, or after `timeout` seconds."""


Reveal = Callable[[str, Row], Row]
"""Takes a team and a row; returns the row with its document in the clear."""


class Snapshots:
    """The snapshots of all teams. `poll` is the safety net, in seconds, when no wake-up arrives."""

    def __init__(
        self, feed: Feed, reveal: Reveal, compiler: Callable[[str], TeamCompiler], *, poll: float = 1.0
    ) -> None:
        self._feed = feed
        self._reveal = reveal
        self._compiler = compiler
        self._poll = poll
        self._compilers: dict[str, TeamCompiler] = {}
        self._current: dict[str, TeamSnapshot] = {}
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self.loaded = False
        """Whether every team has been read once."""
        self.behind: frozenset[str] = frozenset()
        """Teams that moved past what is compiled here, because the last attempt failed."""

    async def start(self) -> None:
        """Read every team, then follow the store until `stop`."""
        await self.refresh()
        self.loaded = True
        self._task = asyncio.create_task(self._follow(), name="snapshots")

    async def stop(self) -> None:
        """Stop following."""
        await end(self._task)

    def current(self, team: str) -> TeamSnapshot | None:
        """The newest snapshot of a team; None when there is no such team."""
        return self._current.get(team)

    def teams(self) -> Collection[str]:
        """Names of all teams."""
        return self._current.keys()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each new snapshot; the returned function ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def refresh(self) -> None:
        """Bring every team up to the store."""
        revisions = await self._feed.team_revisions()
        behind = set()
        for team, revision in revisions.items():
            current = self._current.get(team)
            if current is None or current.revision != revision:
                try:
                    await self._advance(team)
                except Exception:  # noqa: BLE001 - one team's trouble must not stop the others'
                    behind.add(team)
                    _log.exception("team not brought up to date", team=team, revision=revision)
        self.behind = frozenset(behind)

    async def _follow(self) -> None:
        while True:
            try:
                await self._feed.wait_moved(self._poll)
                await self.refresh()
            except Exception:  # noqa: BLE001 - the store may be away for a while; what is compiled is served on
                _log.exception("store not read; the last snapshots stay")
                await asyncio.sleep(self._poll)

    async def _advance(self, team: str) -> None:
        compiler = self._compilers.get(team)
        if compiler is None:
            return await self._load(team)
        try:
            revision, changes = await self._feed.changes_since(team, self._current[team].revision)
        except OutOfRange:
            # The history does not lead from here to there: it was pruned, or a backup was restored.
            return await self._load(team)
        return await self._compile(team, compiler, changes, revision)

    async def _load(self, team: str) -> None:
        revision, rows = await self._feed.load_team(team)
        await self._compile(team, self._compiler(team), [RowChange(None, row) for row in rows], revision)

    async def _compile(self, team: str, compiler: TeamCompiler, changes: Sequence[RowChange], revision: int) -> None:
        changes = [self._in_the_clear(team, change) for change in changes]
        if len(changes) > LARGE_CHANGE:
            snapshot = await asyncio.to_thread(compiler.apply, changes, revision)
        else:
            snapshot = compiler.apply(changes, revision)
        self._compilers[team] = compiler
        self._current[team] = snapshot
        for listener in self._listeners:
            listener(snapshot)

    def _in_the_clear(self, team: str, change: RowChange) -> RowChange:
        if change.row.kind != "secret" or change.after is None:
            return change
        return RowChange(None, self._reveal(team, change.after))
