"""A team while it is being changed: locked, one revision ahead, written in an order the foreign keys allow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import bindparam, delete, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.model.kinds import Kind
from headgate.controlplane.model.rows import Row, RowChange, RowKind
from headgate.controlplane.store.api_definitions import DefinitionEdit, write_definitions
from headgate.controlplane.store.audit import AuditEntry, insert_audit
from headgate.controlplane.store.codec import DEFINITION_KIND, dump_definition, dump_row, dumps
from headgate.controlplane.store.tables import (
    KIND_TABLES,
    REFERENCE_TABLES,
    changes,
    revisions,
    route_configs,
    teams,
)
from headgate.controlplane.store.view import TeamView, chunks, place_of, unknown_team

Key = tuple[RowKind, str]
Names = Mapping[Key, frozenset[tuple[Kind, str]]]
"""For every row that is written: what it names."""


@dataclass(frozen=True, slots=True)
class RevisionStamp:
    """Who made a revision, when, and why."""

    at: datetime
    actor: str
    surface: str
    token_id: str
    request_id: str
    message: str


class TeamEdit(TeamView):
    """Reads and writes while the team's row is locked. `revision` is the new one; nothing stays without `write`."""

    written = False

    @property
    def base(self) -> int:
        """The revision whose rows are seen until something is written."""
        return self.revision - 1

    @classmethod
    async def lock(cls, connection: AsyncConnection, team: str) -> Self:
        """Wait for the team's lock and count its revision up. Raises NotFound (`unknown_team`)."""
        statement = (
            update(teams)
            .where(teams.c.name == team)
            .values(revision=teams.c.revision + 1)
            .returning(teams.c.id, teams.c.revision, teams.c.history_floor)
        )
        record = (await connection.execute(statement)).first()
        if record is None:
            raise unknown_team(team)
        return cls(connection, team, record.id, record.revision, record.history_floor)

    async def write(
        self,
        row_changes: Sequence[RowChange],
        names: Names,
        definitions: Sequence[DefinitionEdit],
        stamp: RevisionStamp,
        audit: AuditEntry,
    ) -> None:
        """Write rows, references, definitions, the history and the audit row."""
        by_kind = {kind: [c for c in row_changes if c.row.kind == kind] for kind in KIND_TABLES}
        for kind in KIND_TABLES:
            await self._insert(kind, [c.after for c in by_kind[kind] if c.after and not c.before], stamp.at)
            await self._update(kind, [c.after for c in by_kind[kind] if c.after and c.before], stamp.at)
        for kind in KIND_TABLES:
            await self._refer(kind, by_kind[kind], names)
        for kind in reversed(KIND_TABLES):
            await self._delete(kind, [c.row.name for c in by_kind[kind] if c.after is None])
        await self._touch_route_configs(row_changes, stamp.at)
        await write_definitions(self.connection, self.team_id, self.revision, stamp.at, definitions)
        await self._record(row_changes, definitions, stamp)
        await insert_audit(self.connection, replace(audit, team=self.team, revision=self.revision))
        if self.connection.dialect.name == "postgresql":
            await self.connection.execute(text("SELECT pg_notify('headgate', :team)"), {"team": self.team})
        self.written = True

    async def _insert(self, kind: RowKind, rows: Sequence[Row], at: datetime) -> None:
        if rows:
            values = [{**self._values(row, at), "created_at": at} for row in rows]
            await self.connection.execute(insert(KIND_TABLES[kind]), values)

    async def _update(self, kind: RowKind, rows: Sequence[Row], at: datetime) -> None:
        if not rows:
            return
        table = KIND_TABLES[kind]
        values = [self._values(row, at) for row in rows]
        keys = ("team_id", "name")
        statement = (
            update(table)
            .where(table.c.team_id == bindparam("key_team_id"), table.c.name == bindparam("key_name"))
            .values({column: bindparam(column) for column in values[0] if column not in keys})
        )
        await self.connection.execute(
            statement, [{f"key_{k}" if k in keys else k: v for k, v in value.items()} for value in values]
        )

    def _values(self, row: Row, at: datetime) -> dict[str, Any]:
        values = {
            "team_id": self.team_id,
            "name": row.name,
            "spec": dumps(row.spec),
            "owner": row.owner,
            "revision": self.revision,
            "updated_at": at,
        }
        if row.kind == "route":
            config, host, _ = row.name.split("/")
            values |= {"route_config": config, "virtual_host": host, "position": row.position}
        elif row.kind == "listener":
            address, port = place_of(row.spec)
            values |= {"address": address, "port": port}
        return values

    async def _refer(self, kind: RowKind, row_changes: Sequence[RowChange], names: Names) -> None:
        targets: list[Kind] = [target for source, target in REFERENCE_TABLES if source == kind]
        kept = [change for change in row_changes if change.after]
        updated = [change.row.name for change in kept if change.before]
        for target in targets:
            table = REFERENCE_TABLES[kind, target]
            for chunk in chunks(updated):
                await self.connection.execute(
                    delete(table).where(table.c.team_id == self.team_id, table.c.source.in_(chunk))
                )
            values = [
                {"team_id": self.team_id, "source": change.row.name, "target": name}
                for change in kept
                for named, name in sorted(names.get((kind, change.row.name), ()))
                if named == target
            ]
            if values:
                await self.connection.execute(insert(table), values)

    async def _delete(self, kind: RowKind, names: Iterable[str]) -> None:
        table = KIND_TABLES[kind]
        for chunk in chunks(names):
            await self.connection.execute(delete(table).where(table.c.team_id == self.team_id, table.c.name.in_(chunk)))

    async def _touch_route_configs(self, row_changes: Sequence[RowChange], at: datetime) -> None:
        """A route config's ETag stands for its routes too."""
        configs = {change.row.name.split("/")[0] for change in row_changes if change.row.kind == "route"}
        for chunk in chunks(sorted(configs)):
            await self.connection.execute(
                update(route_configs)
                .where(route_configs.c.team_id == self.team_id, route_configs.c.name.in_(chunk))
                .values(revision=self.revision, updated_at=at)
            )

    async def _record(
        self,
        row_changes: Sequence[RowChange],
        definitions: Sequence[DefinitionEdit],
        stamp: RevisionStamp,
    ) -> None:
        await self.connection.execute(
            insert(revisions),
            {
                "team_id": self.team_id,
                "number": self.revision,
                "at": stamp.at,
                "actor": stamp.actor,
                "surface": stamp.surface,
                "token_id": stamp.token_id,
                "request_id": stamp.request_id,
                "message": stamp.message,
            },
        )
        entries: list[tuple[str, str, str | None, str | None]] = [
            (c.row.kind, c.row.name, dump_row(c.before), dump_row(c.after)) for c in row_changes
        ]
        entries += [
            (DEFINITION_KIND, edit.name, dump_definition(edit.before), dump_definition(edit.after))
            for edit in definitions
        ]
        values = [
            {
                "team_id": self.team_id,
                "revision": self.revision,
                "seq": seq,
                "kind": kind,
                "name": name,
                "before": before,
                "after": after,
            }
            for seq, (kind, name, before, after) in enumerate(entries)
        ]
        if values:
            await self.connection.execute(insert(changes), values)
