"""Imported API definitions: what was imported, how, and what it made the last time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headgate.controlplane.model.rows import Document

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


async def get_definition(store: "Store", team: str, name: str) -> ApiDefinition | None:
    """Return one definition of a team, or None."""
    raise NotImplementedError


async def list_definitions(store: "Store", team: str) -> list[ApiDefinition]:
    """Return a team's definitions by name."""
    raise NotImplementedError
