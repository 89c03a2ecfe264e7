"""The hub: who is connected, what each is to have, and waking them when it changes.

Streams of one scope share one view. A changed team wakes its streams after a short debounce, in chunks,
those of the team before those that see every team; a stream that is slow to read is only marked, and
takes the newest view when it can.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry

from headgate.controlplane.core.dataplane_state import Node, Refused, Report, TypeReport
from headgate.controlplane.translate.blame import explained
from headgate.controlplane.translate.resource import SHORT_NAMES, TYPES, TeamSnapshot
from headgate.controlplane.xds.messages import Counters, Request, Response
from headgate.controlplane.xds.metrics import XdsMetrics
from headgate.controlplane.xds.protocol import Stream
from headgate.controlplane.xds.view import View, allowlist_view, team_view, union_view
from headgate.controlplane.xds.wire import Frames
from headgate.kit.controls.faults import InvalidArgument, NotFound, ResourceExhausted
from headgate.kit.tasks import end

_log = structlog.get_logger("headgate.xds")

ScopeKey = tuple[str, str, tuple[str, ...]]


class SnapshotSource(Protocol):
    """Where snapshots come from."""

    def current(self, team: str) -> TeamSnapshot | None:
        """Return the newest snapshot of a team; None when there is no such team."""

    def teams(self) -> Collection[str]:
        """Return the names of all teams."""

    def subscribe(self, listener: Callable[[TeamSnapshot], None]) -> Callable[[], None]:
        """Call `listener` with each new snapshot; the returned function ends it."""


class Ledger(Protocol):
    """Where what the dataplanes hold is kept: `headgate.controlplane.core.dataplanes.Dataplanes`."""

    async def connected(self, node: Node, report: Callable[[], Report]) -> Mapping[tuple[str, str], Refused]:
        """Record a new stream; return the versions this dataplane refused before."""

    def touched(self, node: Node) -> None:
        """Something changed at a dataplane."""

    def disconnected(self, node: Node) -> None:
        """The last stream of a dataplane ended."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Times in seconds. `chunk` streams are woken before others get a turn."""

    identifier: str = "headgate"
    debounce: float = 0.005
    grace: float = 0.05
    max_bytes: int = 3 << 20
    max_streams: int = 20_000
    chunk: int = 1000


@dataclass(eq=False)
class Session:
    """One stream and its place in the hub. The transport calls `step` when `notify` was called, or at `wake_at`."""

    node: Node
    stream: Stream
    notify: Callable[[], None]
    key: ScopeKey
    _hub: "Hub" = field(repr=False)
    closing: bool = False
    """The hub is going away: the transport ends the stream."""
    moved_at: float | None = None
    """When the view moved past what the client has acknowledged."""

    def step(self, requests: Iterable[Request]) -> list[bytes]:
        """Take requests and the newest view; return the messages to write."""
        now = self._hub.clock()
        stream = self.stream
        before = replace(stream.counters)
        responses = []
        for request in requests:
            responses += stream.receive(request, now)
        view = self._hub.view(self.key)
        if view is not stream.view:
            self.moved_at = now if self.moved_at is None else self.moved_at
            responses += stream.update(view, now)
        elif stream.wake_at is not None and now >= stream.wake_at:
            responses += stream.wake(now)
        if stream.counters != before:
            self._log_refusals()
            self._hub.touched(self.node)
        return self._count(responses, before, now)

    def _log_refusals(self) -> None:
        for refusal in self.stream.refusals:
            _log.warning(
                "response refused",
                node=self.node.id,
                team=self.node.team,
                type=SHORT_NAMES[refusal.type_url],
                nonce=refusal.nonce,
                reason=explained(refusal.message),
                resources=[resource.name for resource in refusal.resources],
            )
        self.stream.refusals.clear()

    def _count(self, responses: Sequence[Response], before: Counters, now: float) -> list[bytes]:
        payloads = [self._hub.frames.encode(response, delta=self.stream.delta) for response in responses]
        metrics = self._hub.metrics
        for response in responses:
            metrics.responses.labels(SHORT_NAMES[response.type_url]).inc()
        metrics.bytes.inc(sum(map(len, payloads)))
        metrics.acks.inc(self.stream.counters.acks - before.acks)
        metrics.nacks.inc(self.stream.counters.nacks - before.nacks)
        metrics.stale.inc(self.stream.counters.stale - before.stale)
        if self.moved_at is not None and self.stream.idle:
            metrics.convergence.observe(now - self.moved_at)
            self.moved_at = None
        return payloads

    @property
    def wake_in(self) -> float | None:
        """Seconds until `step` wants to be called even without news."""
        wake_at = self.stream.wake_at
        return None if wake_at is None else max(0.0, wake_at - self._hub.clock())


class Hub:
    """All streams of this replica."""

    def __init__(
        self,
        source: SnapshotSource,
        ledger: Ledger,
        settings: HubSettings | None = None,
        *,
        metrics: XdsMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or HubSettings()
        self.metrics = metrics or XdsMetrics(CollectorRegistry())
        self.clock = clock
        self.frames = Frames(self.settings.identifier)
        self._source = source
        self._ledger = ledger
        self._sessions: dict[ScopeKey, set[Session]] = {}
        self._nodes: dict[str, list[Session]] = {}
        self._views: dict[ScopeKey, View] = {}
        self._moved: set[str] = set()
        self._awake = asyncio.Event()
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self.closing = False

    async def start(self) -> None:
        """Follow the snapshots until `stop`."""
        self._unsubscribe = self._source.subscribe(self._on_snapshot)
        self._task = asyncio.create_task(self._fan_out(), name="xds-fan-out")

    async def stop(self) -> None:
        """End every stream and stop following."""
        self.closing = True
        if self._unsubscribe:
            self._unsubscribe()
            self._unsubscribe = None
        await end(self._task)
        for session in self.sessions():
            session.closing = True
            session.notify()

    def sessions(self) -> list[Session]:
        """Every open stream."""
        return [session for sessions in self._sessions.values() for session in sessions]

    async def connect(
        self, node: Node, notify: Callable[[], None], *, delta: bool, types: Iterable[str] = TYPES
    ) -> Session:
        """Open a stream for a node. Raises InvalidArgument, NotFound or ResourceExhausted."""
        if self._source.current(node.team) is None:
            raise NotFound(
                f"there is no team '{node.team}'", code="unknown_team", hint="check node.metadata.headgate.team"
            )
        if node.scope not in ("team", "all", "allowlist"):
            raise InvalidArgument(
                f"'{node.scope}' is no scope",
                code="unknown_scope",
                hint="node.metadata.headgate.scope: team, all or allowlist",
            )
        if sum(map(len, self._sessions.values())) >= self.settings.max_streams:
            raise ResourceExhausted("too many streams on this replica", code="too_many_streams", retry_after=5)
        refused = await self._ledger.connected(node, lambda: self.report(node))
        key: ScopeKey = (node.scope, node.team, node.listeners)
        stream = Stream(
            f"{self.settings.identifier}-{next(self._numbers)}",
            self.view(key),
            delta=delta,
            types=types,
            grace=self.settings.grace,
            max_bytes=self.settings.max_bytes,
            refused=refused,
        )
        session = Session(node, stream, notify, key, self)
        session.closing = self.closing  # it may have been on its way in when all streams were told to end
        self._sessions.setdefault(key, set()).add(session)
        self._nodes.setdefault(node.key, []).append(session)
        self.metrics.streams.labels(_mode(delta)).inc()
        return session

    def disconnect(self, session: Session) -> None:
        """Close a stream; the last one of a scope takes the view with it."""
        self.metrics.streams.labels(_mode(session.stream.delta)).dec()
        self._sessions.get(session.key, set()).discard(session)
        if not self._sessions.get(session.key):
            self._sessions.pop(session.key, None)
            self._views.pop(session.key, None)
        sessions = self._nodes.get(session.node.key, [])
        if session in sessions:
            if len(sessions) == 1:
                self._ledger.disconnected(session.node)
                del self._nodes[session.node.key]
            sessions.remove(session)

    def view(self, key: ScopeKey) -> View:
        """What a scope is to have now."""
        if key not in self._views:
            self._views[key] = self._build(key)
        return self._views[key]

    def touched(self, node: Node) -> None:
        """Let the ledger know that a dataplane answered or was sent something."""
        self._ledger.touched(node)

    def report(self, node: Node) -> Report:
        """What a dataplane holds now. Of several streams with one type, the newest counts."""
        newest: dict[str, Stream] = {}
        for session in self._nodes.get(node.key, ()):
            newest.update({t: session.stream for t, channel in session.stream.channels.items() if channel.started})
        streams = list({id(stream): stream for stream in newest.values()}.values())
        acked = [stream.acknowledged_revision for stream in streams]
        return Report(
            mode=_mode(any(stream.delta for stream in streams)),
            revision_wanted=self._source_revision(node.team),
            revision_acked=min((revision for revision in acked if revision is not None), default=None)
            if None not in acked
            else None,
            types={
                SHORT_NAMES[type_url]: _type_report(newest[type_url], type_url)
                for type_url in TYPES
                if type_url in newest
            },
            refused={
                (type_url, name): refused
                for type_url, stream in newest.items()
                for name, refused in stream.channels[type_url].refused.items()
            },
            nacks=sum(stream.counters.nacks for stream in streams),
        )

    def _source_revision(self, team: str) -> int:
        snapshot = self._source.current(team)
        return snapshot.revision if snapshot else 0

    def _build(self, key: ScopeKey) -> View:
        scope, team, listeners = key
        own = self._source.current(team)
        assert own is not None  # noqa: S101 - connect refused unknown teams, and teams are never removed
        if scope == "team":
            return team_view(own)
        if scope == "allowlist":
            return allowlist_view(own, listeners)
        snapshots = [snapshot for name in sorted(self._source.teams()) if (snapshot := self._source.current(name))]
        return union_view(own.revision, snapshots)

    def _on_snapshot(self, snapshot: TeamSnapshot) -> None:
        self._moved.add(snapshot.team)
        self._awake.set()

    async def _fan_out(self) -> None:
        while True:
            await self._awake.wait()
            await asyncio.sleep(self.settings.debounce)
            self._awake.clear()
            moved, self._moved = self._moved, set()
            keys = [key for key in self._sessions if key[1] in moved or key[0] == "all"]
            for key in sorted(keys, key=lambda key: key[0] == "all"):
                self._views[key] = self._build(key)
                await self._wake(key)

    async def _wake(self, key: ScopeKey) -> None:
        for number, session in enumerate(list(self._sessions.get(key, ())), start=1):
            session.notify()
            if number % self.settings.chunk == 0:
                await asyncio.sleep(0)


def _mode(delta: bool) -> str:
    return "delta" if delta else "sotw"


def _lowest(revisions: Sequence[int | None]) -> int | None:
    known = [revision for revision in revisions if revision is not None]
    return min(known) if known and len(known) == len(revisions) else None


def _type_report(stream: Stream, type_url: str) -> TypeReport:
    return TypeReport(
        wanted=stream.view.version(type_url),
        acknowledged=stream.channels[type_url].acknowledged_version,
        in_sync=stream.in_sync(type_url),
        resources=sum(1 for _ in stream.channels[type_url].all_held()),
        waiting=stream.waiting_for(type_url),
    )
