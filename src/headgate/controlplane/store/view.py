"""A team as one transaction sees it: its revision, and its rows at that revision."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import ColumnElement, Table, func, select, tuple_
from sqlalchemy.engine import Row as Record
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.rows import Document, Row, RowKind
from headgate.controlplane.store.api_definitions import ApiDefinition, read_definitions
from headgate.controlplane.store.codec import loads
from headgate.controlplane.store.tables import KIND_TABLES, REFERENCE_TABLES, listeners, routes, teams
from headgate.kit.controls.faults import NotFound

CHUNK: Final = 500
"""Names per query: far below what either database allows."""


def chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """The items, CHUNK at a time."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row, the revision that last changed it, and when it was made and changed."""

    row: Row
    revision: int
    created_at: datetime
    updated_at: datetime


class Dependant(NamedTuple):
    """Somebody (`kind`, `name`) who names `target`."""

    kind: RowKind
    name: str
    target: str


class Lane(NamedTuple):
    """The routes of a virtual host: the largest position, how many, and, if asked for, each position by name."""

    last: int
    size: int
    positions: dict[str, int] | None = None


LaneKey = tuple[str, str]
"""(route config, virtual host)."""


class TeamView:
    """Reads within one transaction. `revision` is the team's at its start, `floor` how far its history goes back."""

    def __init__(self, connection: AsyncConnection, team: str, team_id: int, revision: int, floor: int) -> None:
        self.connection = connection
        self.team = team
        self.team_id = team_id
        self.revision = revision
        self.floor = floor

    @classmethod
    async def find(cls, connection: AsyncConnection, team: str) -> Self:
        """Start reading a team. Raises NotFound (`unknown_team`)."""
        query = select(teams.c.id, teams.c.revision, teams.c.history_floor).where(teams.c.name == team)
        record = (await connection.execute(query)).first()
        if record is None:
            raise unknown_team(team)
        return cls(connection, team, record.id, record.revision, record.history_floor)

    @property
    def base(self) -> int:
        """The revision whose rows are seen."""
        return self.revision

    async def rows(self, kind: RowKind, names: Collection[str]) -> dict[str, StoredRow]:
        """Those of `names` that exist."""
        table = KIND_TABLES[kind]
        found: dict[str, StoredRow] = {}
        for chunk in chunks(sorted(names)):
            for record in await self._select(table, table.c.name.in_(chunk)):
                found[record.name] = stored_row(kind, record)
        return found

    async def existing(self, kind: RowKind, names: Collection[str]) -> set[str]:
        """Those of `names` that exist, without reading them."""
        table = KIND_TABLES[kind]
        found: set[str] = set()
        for chunk in chunks(sorted(names)):
            query = select(table.c.name).where(table.c.team_id == self.team_id, table.c.name.in_(chunk))
            found.update((await self.connection.execute(query)).scalars())
        return found

    async def routes_of(self, configs: Collection[str]) -> list[StoredRow]:
        """Every route of the route configs, by position within its virtual host."""
        found: list[StoredRow] = []
        for chunk in chunks(sorted(configs)):
            condition = routes.c.route_config.in_(chunk)
            records = await self._select(routes, condition, order=[routes.c.position, routes.c.name])
            found += [stored_row("route", record) for record in records]
        return found

    async def lanes(self, keys: Collection[LaneKey], *, whole: bool) -> dict[LaneKey, Lane]:
        """The virtual hosts that have routes, with the position of every route when `whole`."""
        return {key: await (self._whole_lane(key) if whole else self._tail(key)) for key in sorted(keys)}

    async def _tail(self, key: LaneKey) -> Lane:
        query = select(func.max(routes.c.position), func.count()).where(*self._lane(key))
        last, count = (await self.connection.execute(query)).one()
        return Lane(last or 0, count)

    async def _whole_lane(self, key: LaneKey) -> Lane:
        query = select(routes.c.name, routes.c.position).where(*self._lane(key))
        positions = {record.name: record.position for record in await self.connection.execute(query)}
        return Lane(max(positions.values(), default=0), len(positions), positions)

    def _lane(self, key: LaneKey) -> list[ColumnElement[bool]]:
        config, host = key
        return [routes.c.team_id == self.team_id, routes.c.route_config == config, routes.c.virtual_host == host]

    async def dependants(self, kind: RowKind, names: Collection[str]) -> list[Dependant]:
        """Who names any of `names`."""
        found: list[Dependant] = []
        for (source, target), table in REFERENCE_TABLES.items():
            if target == kind:
                for chunk in chunks(sorted(names)):
                    found += await self._dependants(source, table, chunk)
        return found

    async def _dependants(self, source: RowKind, table: Table, names: list[str]) -> list[Dependant]:
        query = (
            select(table.c.source, table.c.target)
            .where(table.c.team_id == self.team_id, table.c.target.in_(names))
            .order_by(table.c.source)
        )
        return [Dependant(source, record.source, record.target) for record in await self.connection.execute(query)]

    async def listeners_on(self, ports: Collection[int]) -> list[tuple[str, str, int]]:
        """The listeners on these ports: (name, address, port)."""
        query = select(listeners.c.name, listeners.c.address, listeners.c.port).where(
            listeners.c.team_id == self.team_id, listeners.c.port.in_(sorted(ports))
        )
        return [(record.name, record.address, record.port) for record in await self.connection.execute(query)]

    async def definitions(self, names: Collection[str]) -> dict[str, ApiDefinition]:
        """Those of the API definitions that exist."""
        return await read_definitions(self.connection, self.team_id, sorted(names))

    async def page(
        self, kind: RowKind, *, name_contains: str, owner: str | None, limit: int, after: str
    ) -> tuple[list[StoredRow], int]:
        """At most `limit` rows by name behind `after`, and how many match in all."""
        table = KIND_TABLES[kind]
        conditions = [table.c.team_id == self.team_id]
        if name_contains:
            conditions.append(func.lower(table.c.name).contains(name_contains.lower(), autoescape=True))
        if owner is not None:
            conditions.append(table.c.owner == owner)
        total = (await self.connection.execute(select(func.count()).select_from(table).where(*conditions))).scalar_one()
        query = select(table).where(*conditions, table.c.name > after).order_by(table.c.name).limit(limit)
        return [stored_row(kind, record) for record in await self.connection.execute(query)], total

    async def route_page(
        self, lane: LaneKey, *, name_contains: str, owner: str | None, limit: int, after: tuple[int, str] | None
    ) -> tuple[list[StoredRow], int]:
        """At most `limit` routes of a virtual host behind (position, name), in order, and how many match in all.

        `name_contains` is looked for in the route's own name, not in those of its parents.
        """
        conditions = self._lane(lane)
        if name_contains:
            own_name = func.substr(routes.c.name, len("/".join(lane)) + 2)
            conditions.append(func.lower(own_name).contains(name_contains.lower(), autoescape=True))
        if owner is not None:
            conditions.append(routes.c.owner == owner)
        total = (
            await self.connection.execute(select(func.count()).select_from(routes).where(*conditions))
        ).scalar_one()
        if after is not None:
            conditions.append(tuple_(routes.c.position, routes.c.name) > after)
        query = select(routes).where(*conditions).order_by(routes.c.position, routes.c.name).limit(limit)
        return [stored_row("route", record) for record in await self.connection.execute(query)], total

    async def all_rows(self) -> list[Row]:
        """Every row of the team, each kind after those it refers to."""
        found: list[Row] = []
        for kind, table in KIND_TABLES.items():
            columns = [table.c.name, table.c.spec, table.c.owner]
            if kind == "route":
                columns.append(table.c.position)
            query = select(*columns).where(table.c.team_id == self.team_id).order_by(table.c.name)
            found += [plain_row(kind, record) for record in await self.connection.execute(query)]
        return found

    async def _select(
        self, table: Table, condition: ColumnElement[bool], order: Iterable[ColumnElement[Any]] = ()
    ) -> Iterable[Record[Any]]:
        query = select(table).where(table.c.team_id == self.team_id, condition).order_by(*order)
        return await self.connection.execute(query)


def plain_row(kind: RowKind, record: Record[Any]) -> Row:
    """A row out of a record of its table."""
    position = record.position if kind == "route" else 0
    return Row(kind, record.name, loads(record.spec), position, record.owner)


def stored_row(kind: RowKind, record: Record[Any]) -> StoredRow:
    """A row with its revision and times out of a record of its table."""
    return StoredRow(plain_row(kind, record), record.revision, record.created_at, record.updated_at)


def unknown_team(team: str) -> NotFound:
    """The fault for a team that is not there."""
    return NotFound(f"There is no team '{team}'.", code="unknown_team")


def place_of(spec: Document) -> tuple[str, int]:
    """Address, in its shortest form, and port of a listener's document."""
    address = spec.get("address") or Listener.model_fields["address"].default
    return str(ip_address(address)), spec["port"]
