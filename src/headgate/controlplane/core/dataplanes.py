"""The dataplanes: what each is to have, has acknowledged and has refused, kept and shown.

The xDS hub says who is connected and that something changed; what exactly is asked of it only when
someone looks, and when the recorder writes. The truth is what dataplanes acknowledged, never what was sent.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from headgate.controlplane.core.dataplane_state import (
    DataplaneStatus,
    Node,
    Refused,
    RefusedResource,
    Report,
    TypeReport,
)
from headgate.controlplane.store import dataplanes as table
from headgate.controlplane.store.dataplanes import DataplaneRecord, RefusalRecord
from headgate.controlplane.store.store import Store
from headgate.controlplane.translate.blame import blame, explained
from headgate.controlplane.translate.resource import SHORT_NAMES, Resource
from headgate.kit.controls.faults import FailedPrecondition, NotFound
from headgate.kit.tasks import end

_log = structlog.get_logger("headgate.dataplanes")

HEARTBEAT = timedelta(seconds=15)
"""How often a connected dataplane's `last_seen` is written."""
LOST_AFTER = 3 * HEARTBEAT
"""A dataplane of another replica counts as connected this long after it was last seen."""


@dataclass(slots=True)
class _Live:
    node: Node
    report: Callable[[], Report]
    first_seen: datetime
    recorded: datetime
    acked: int = 0
    refusals: dict[tuple[str, str], RefusalRecord] | None = None
    unwritten: dict[tuple[str, str], RefusalRecord] = field(default_factory=dict)
    """Refusals that were shown before the recorder came round."""

    def record_of(self, key: tuple[str, str], refused: Refused) -> RefusalRecord:
        """The record of a refusal: the same one whenever it is asked for, with the time it was first seen."""
        for known in (self.refusals or {}, self.unwritten):
            record = known.get(key)
            if record and record.version == refused.version:
                return record
        record = self.unwritten[key] = _refusal(self.node.key, *key, refused)
        return record


class Dataplanes:
    """What this replica's hub reports, joined with what the store knows of the others. `delay` is in seconds."""

    def __init__(self, store: Store, *, replica: str, delay: float = 0.2) -> None:
        self._store = store
        self._replica = replica
        self._delay = delay
        self._live: dict[str, _Live] = {}
        self._dirty: set[str] = set()
        self._gone: dict[str, tuple[_Live, DataplaneRecord]] = {}
        self._owed: dict[tuple[str, str, str], RefusalRecord | None] = {}
        """What is to be written of (dataplane, type, resource): a refusal, or None that it is over."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # From the hub

    async def connected(self, node: Node, report: Callable[[], Report]) -> Mapping[tuple[str, str], Refused]:
        """Record a new stream; return the versions this dataplane refused before."""
        now = datetime.now(UTC)
        live = self._live.get(node.key)
        if live is None and node.key in self._gone:
            live = self._live[node.key] = self._gone.pop(node.key)[0]
        if live is None:
            known = await table.get_dataplane(self._store, node.key)
            refusals = await table.list_refusals(self._store, dataplane_id=node.key)
            live = _Live(node, report, known.first_seen if known else now, now, known.revision_acked if known else 0)
            live.refusals = {(refusal.type, refusal.resource): refusal for refusal in refusals}
            live = self._live.setdefault(node.key, live)
        live.node, live.report = node, report
        self._gone.pop(node.key, None)
        self.touched(node)
        return {key: _refused(record) for key, record in (live.refusals or {}).items()}

    def touched(self, node: Node) -> None:
        """Something changed at a dataplane: it will be asked and recorded soon."""
        self._dirty.add(node.key)
        self._wake.set()

    def disconnected(self, node: Node) -> None:
        """The last stream of a dataplane ended."""
        live = self._live.pop(node.key, None)
        if live:
            report = live.report()
            # Whoever stops right after a refusal must find it again, or it would be sent once more.
            self._compare(live, report)
            self._gone[node.key] = live, replace(self._record(live, report), connected=False)
            self._wake.set()

    # For users

    async def list(self, team: str | None = None) -> Sequence[DataplaneStatus]:
        """Return the dataplanes of a team, or of all teams, by team and id."""
        refusals: dict[str, list[RefusalRecord]] = {}
        for refusal in await table.list_refusals(self._store, team=team):
            refusals.setdefault(refusal.dataplane_id, []).append(refusal)
        statuses = {
            record.id: _status(record, refusals.get(record.id, []))
            for record in await table.list_dataplanes(self._store, team)
        }
        for key, live in self._live.items():
            if team in (None, live.node.team):
                statuses[key] = self._live_status(live)
        return [statuses[key] for key in sorted(statuses)]

    async def get(self, team: str, node_id: str) -> DataplaneStatus:
        """Return one dataplane. Raises NotFound."""
        key = f"{team}/{node_id}"
        live = self._live.get(key)
        if live:
            return self._live_status(live)
        record = await table.get_dataplane(self._store, key)
        if record is None:
            raise NotFound(f"there is no dataplane '{node_id}' in team '{team}'", code="unknown_dataplane")
        return _status(record, await table.list_refusals(self._store, dataplane_id=key))

    async def forget(self, team: str, node_id: str) -> None:
        """Forget a dataplane that is not connected. Raises NotFound or FailedPrecondition."""
        status = await self.get(team, node_id)
        if status.connected:
            raise FailedPrecondition(
                f"dataplane '{node_id}' is connected", code="dataplane_connected", hint="stop the Envoy first"
            )
        await table.delete_dataplane(self._store, f"{team}/{node_id}")

    # The recorder

    async def start(self) -> None:
        """Write what changes, and heartbeats, until `stop`."""
        self._task = asyncio.create_task(self._run(), name="dataplane-recorder")

    async def stop(self) -> None:
        """Write what is left and stop."""
        await end(self._task)
        await self._flush()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT.total_seconds()):
                    await self._wake.wait()
            await asyncio.sleep(self._delay)
            self._wake.clear()
            due = datetime.now(UTC) - HEARTBEAT
            self._dirty.update(key for key, live in self._live.items() if live.recorded < due)
            try:
                await self._flush()
            except Exception:  # noqa: BLE001 - status is written again with the next change or heartbeat
                _log.exception("dataplane status not recorded")

    async def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        gone, self._gone = self._gone, {}
        owed: dict[tuple[str, str, str], RefusalRecord | None] = {}
        try:
            records = [record for _, record in gone.values()]
            for live in [self._live[key] for key in dirty if key in self._live]:
                report = live.report()
                records.append(self._record(live, report))
                self._compare(live, report)
                live.recorded = datetime.now(UTC)
            owed, self._owed = self._owed, {}
            await table.upsert_dataplanes(self._store, records)
            await table.record_refusals(self._store, [record for record in owed.values() if record])
            for key, type_url, resource in [place for place, record in owed.items() if record is None]:
                await table.clear_refusals(self._store, key, type_url=type_url, resources=[resource])
        except BaseException:
            self._dirty |= dirty
            self._gone = {key: left for key, left in gone.items() if key not in self._live} | self._gone
            self._owed = owed | self._owed
            raise

    def _compare(self, live: _Live, report: Report) -> None:
        """Note which refusals are new and which are over."""
        known = live.refusals or {}
        # A stream that has not spoken of a type yet says nothing about its refusals.
        current = {key: record for key, record in known.items() if SHORT_NAMES.get(key[0]) not in report.types}
        current.update((key, live.record_of(key, refused)) for key, refused in report.refused.items())
        live.refusals, live.unwritten = current, {}
        self._owed.update(((live.node.key, *key), None) for key in known if key not in current)
        for key, record in current.items():
            if known.get(key) is not record:
                self._owed[live.node.key, *key] = record
                _log.warning(
                    "dataplane refused a resource",
                    dataplane=live.node.key,
                    type=SHORT_NAMES.get(record.type, record.type),
                    resource=record.resource,
                    reason=record.message,
                    pointer=record.pointer,
                )

    def _record(self, live: _Live, report: Report) -> DataplaneRecord:
        live.acked = report.revision_acked if report.revision_acked is not None else live.acked
        return DataplaneRecord(
            id=live.node.key,
            team=live.node.team,
            node_id=live.node.id,
            scope=live.node.scope,
            envoy_version=live.node.version,
            replica=self._replica,
            connected=True,
            first_seen=live.first_seen,
            last_seen=datetime.now(UTC),
            revision_acked=live.acked,
            state={
                "mode": report.mode,
                "revision_wanted": report.revision_wanted,
                "types": {name: asdict(entry) for name, entry in report.types.items()},
            },
        )

    def _live_status(self, live: _Live) -> DataplaneStatus:
        report = live.report()
        self._compare_soon(live, report)
        refusals = [live.record_of(key, refused) for key, refused in report.refused.items()]
        return _status(self._record(live, report), refusals)

    def _compare_soon(self, live: _Live, report: Report) -> None:
        if report.refused.keys() != (live.refusals or {}).keys():
            self.touched(live.node)


def _refused(record: RefusalRecord) -> Refused:
    good = None
    if record.last_good is not None:
        good = Resource(record.type, record.resource, record.last_good_version, record.last_good)
    return Refused(record.version, record.message, good)


def _refusal(key: str, type_url: str, resource: str, refused: Refused) -> RefusalRecord:
    found = blame(refused.resource, refused.message) if refused.resource else None
    return RefusalRecord(
        dataplane_id=key,
        type=type_url,
        resource=resource,
        version=refused.version,
        message=found.explanation if found else explained(refused.message),
        at=datetime.now(UTC),
        pointer=found.pointer if found else "",
        kind=found.kind if found else "",
        name=found.name if found else "",
        last_good=refused.last_good.body if refused.last_good else None,
        last_good_version=refused.last_good.version if refused.last_good else "",
    )


def _status(record: DataplaneRecord, refusals: Sequence[RefusalRecord]) -> DataplaneStatus:
    state: Mapping[str, Any] = record.state
    return DataplaneStatus(
        id=record.node_id,
        team=record.team,
        scope=record.scope,
        version=record.envoy_version,
        mode=state.get("mode", ""),
        replica=record.replica,
        connected=record.connected and datetime.now(UTC) - record.last_seen < LOST_AFTER,
        first_seen=record.first_seen,
        last_seen=record.last_seen,
        revision_wanted=state.get("revision_wanted", 0),
        revision_acked=record.revision_acked,
        types={name: TypeReport(**entry) for name, entry in state.get("types", {}).items()},
        refused=[
            RefusedResource(
                type=SHORT_NAMES.get(refusal.type, refusal.type),
                resource=refusal.resource,
                version=refusal.version,
                message=refusal.message,
                at=refusal.at,
                kind=refusal.kind,
                name=refusal.name,
                pointer=refusal.pointer,
                last_good_version=refusal.last_good_version,
            )
            for refusal in refusals
        ],
    )
