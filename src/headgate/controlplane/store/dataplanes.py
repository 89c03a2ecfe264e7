"""What is known of every data plane: who it is, what it acknowledged, and what it refused.

Written by the xDS hub, read by the status use cases. A refusal keeps the last good bytes, so that a
restarted control plane goes on serving them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Select, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row as Record
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.store.tables import dataplanes, refusals, teams
from headgate.kit.controls.faults import NotFound

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class DataplaneRecord:
    """One Envoy. `id` is chosen by the hub and stable over reconnects; `state` is a JSON object.

    `scope` is `all`, `team` or `allowlist`; `revision_acked` is the newest team revision it runs whole.
    """

    id: str
    team: str
    node_id: str
    scope: str
    envoy_version: str
    replica: str
    connected: bool
    first_seen: datetime
    last_seen: datetime
    revision_acked: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One resource that a data plane refused: what it said, and the field that caused it (when known).

    `type` is a type URL, `resource` the Envoy name, `kind` and `name` the user's resource, `pointer`
    the place in it. `last_good` is what the data plane runs instead; None when it runs nothing.
    """

    dataplane_id: str
    type: str
    resource: str
    version: str
    message: str
    at: datetime
    pointer: str = ""
    kind: str = ""
    name: str = ""
    last_good: bytes | None = field(default=None, repr=False)
    last_good_version: str = ""


async def upsert_dataplane(store: "Store", record: DataplaneRecord) -> None:
    """Insert the record or replace the one with the same id; `first_seen` of an existing one stays."""
    await upsert_dataplanes(store, [record])


async def upsert_dataplanes(store: "Store", records: Sequence[DataplaneRecord]) -> None:
    """Do the same for several, in one transaction. Raises NotFound (`unknown_team`)."""
    if not records:
        return
    async with store.transaction() as connection:
        ids = await _team_ids(connection, {record.team for record in records if record.team})
        values = [_values(record, ids) for record in records]
        await connection.execute(_upsert(connection, dataplanes, ["id"], keep=["first_seen"]), values)


def _values(record: DataplaneRecord, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": record.id,
        "team_id": ids[record.team] if record.team else None,
        "node_id": record.node_id,
        "scope": record.scope,
        "envoy_version": record.envoy_version,
        "replica": record.replica,
        "connected": record.connected,
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
        "revision_acked": record.revision_acked,
        "state": orjson.dumps(record.state).decode(),
    }


async def _team_ids(connection: AsyncConnection, names: Collection[str]) -> dict[str, int]:
    query = select(teams.c.name, teams.c.id).where(teams.c.name.in_(sorted(names)))
    ids = {record.name: record.id for record in await connection.execute(query)}
    for name in sorted(names):
        if name not in ids:
            raise NotFound(f"There is no team '{name}'.", code="unknown_team")
    return ids


def _upsert(connection: AsyncConnection, table: Table, key: Sequence[str], keep: Sequence[str] = ()) -> Any:
    statement = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    fresh = {column.name: column for column in statement.excluded if column.name not in (*key, *keep)}
    return statement.on_conflict_do_update(index_elements=list(key), set_=fresh)


async def record_refusals(store: "Store", records: Sequence[RefusalRecord]) -> None:
    """Insert refusals, or replace those of the same data plane, type and resource. The data planes must exist."""
    if not records:
        return
    async with store.transaction() as connection:
        statement = _upsert(connection, refusals, ["dataplane_id", "type", "resource"])
        await connection.execute(statement, [asdict(record) for record in records])


async def clear_refusals(
    store: "Store", dataplane_id: str, *, type_url: str | None = None, resources: Sequence[str] | None = None
) -> int:
    """Forget refusals of a data plane (of one type; of these resources) and return how many there were."""
    condition = refusals.c.dataplane_id == dataplane_id
    if type_url is not None:
        condition &= refusals.c.type == type_url
    if resources is not None:
        condition &= refusals.c.resource.in_(resources)
    async with store.transaction() as connection:
        return (await connection.execute(delete(refusals).where(condition))).rowcount


async def list_refusals(
    store: "Store", *, team: str | None = None, dataplane_id: str | None = None
) -> list[RefusalRecord]:
    """Return the refusals of a team or a data plane (or all), newest first."""
    query = select(refusals).select_from(refusals).order_by(refusals.c.at.desc(), refusals.c.resource)
    if team is not None:
        query = query.join(dataplanes, dataplanes.c.id == refusals.c.dataplane_id)
        query = query.join(teams, teams.c.id == dataplanes.c.team_id).where(teams.c.name == team)
    if dataplane_id is not None:
        query = query.where(refusals.c.dataplane_id == dataplane_id)
    async with store.reading() as connection:
        return [RefusalRecord(**record) for record in (await connection.execute(query)).mappings()]


async def list_dataplanes(store: "Store", team: str | None = None) -> list[DataplaneRecord]:
    """Return the data planes of a team, or all, by id. One of scope `all` may belong to no team ("")."""
    query = _known().order_by(dataplanes.c.id)
    if team is not None:
        query = query.where(teams.c.name == team)
    async with store.reading() as connection:
        return [_dataplane(record) for record in await connection.execute(query)]


async def get_dataplane(store: "Store", dataplane_id: str) -> DataplaneRecord | None:
    """Return one data plane, or None."""
    async with store.reading() as connection:
        record = (await connection.execute(_known().where(dataplanes.c.id == dataplane_id))).first()
        return None if record is None else _dataplane(record)


async def delete_dataplane(store: "Store", dataplane_id: str) -> bool:
    """Forget a data plane and what it refused; say whether it was known."""
    async with store.transaction() as connection:
        return bool((await connection.execute(delete(dataplanes).where(dataplanes.c.id == dataplane_id))).rowcount)


def _known() -> Select[Any]:
    return select(dataplanes, teams.c.name.label("team")).select_from(dataplanes.outerjoin(teams))


def _dataplane(record: Record[Any]) -> DataplaneRecord:
    return DataplaneRecord(
        id=record.id,
        team=record.team or "",
        node_id=record.node_id,
        scope=record.scope,
        envoy_version=record.envoy_version,
        replica=record.replica,
        connected=record.connected,
        first_seen=record.first_seen,
        last_seen=record.last_seen,
        revision_acked=record.revision_acked,
        state=orjson.loads(record.state),
    )
