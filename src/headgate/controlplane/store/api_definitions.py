"""Imported API definitions: what was imported, how, and what it made the last time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Row as Record
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.model.rows import Document
from headgate.controlplane.store.tables import api_definitions

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class ApiDefinition:
    """One imported document. `last_applied` maps `kind/name` to the document the import wrote there.

    `revision` and the times are the store's; they are ignored when a definition is written.
    """

    name: str
    document_hash: str
    options: Mapping[str, Any] = field(default_factory=dict)
    last_applied: Mapping[str, Document] = field(default_factory=dict)
    revision: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """A definition to write, or to delete (`definition` None), in the transaction of an `apply`."""

    name: str
    definition: ApiDefinition | None


class DefinitionEdit(NamedTuple):
    """A definition before and after an `apply`; None is absent."""

    name: str
    before: ApiDefinition | None
    after: ApiDefinition | None


async def get_definition(store: "Store", team: str, name: str) -> ApiDefinition | None:
    """Return one definition of a team, or None. Raises NotFound for an unknown team."""
    async with store.read(team) as view:
        return (await read_definitions(view.connection, view.team_id, [name])).get(name)


async def list_definitions(store: "Store", team: str) -> list[ApiDefinition]:
    """Return a team's definitions by name. Raises NotFound for an unknown team."""
    async with store.read(team) as view:
        return list((await read_definitions(view.connection, view.team_id)).values())


async def read_definitions(
    connection: AsyncConnection, team_id: int, names: Sequence[str] | None = None
) -> dict[str, ApiDefinition]:
    """Those of `names` that exist, or all, by name."""
    query = select(api_definitions).where(api_definitions.c.team_id == team_id).order_by(api_definitions.c.name)
    if names is not None:
        query = query.where(api_definitions.c.name.in_(names))
    return {record.name: _definition(record) for record in await connection.execute(query)}


def _definition(record: Record[Any]) -> ApiDefinition:
    return ApiDefinition(
        name=record.name,
        document_hash=record.document_hash,
        options=orjson.loads(record.options),
        last_applied=orjson.loads(record.last_applied),
        revision=record.revision,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


async def write_definitions(
    connection: AsyncConnection, team_id: int, revision: int, at: datetime, edits: Sequence[DefinitionEdit]
) -> None:
    """Insert, update or delete each."""
    for edit in edits:
        key = {"team_id": team_id, "name": edit.name}
        there = (api_definitions.c.team_id == team_id) & (api_definitions.c.name == edit.name)
        if edit.after is None:
            await connection.execute(delete(api_definitions).where(there))
            continue
        values = {
            "document_hash": edit.after.document_hash,
            "options": orjson.dumps(edit.after.options).decode(),
            "last_applied": orjson.dumps(edit.after.last_applied).decode(),
            "revision": revision,
            "updated_at": at,
        }
        if edit.before is None:
            await connection.execute(insert(api_definitions), {**key, **values, "created_at": at})
        else:
            await connection.execute(update(api_definitions).where(there).values(values))
