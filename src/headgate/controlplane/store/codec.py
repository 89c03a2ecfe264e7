"""Documents as JSON text, and rows of the history as JSON."""

from collections.abc import Mapping
from typing import Any

import orjson

from headgate.controlplane.model.rows import Row, RowChange, RowKind
from headgate.controlplane.store.api_definitions import ApiDefinition

DEFINITION_KIND = "api_definition"
"""Kind of a change in the history that is about an API definition and not about a row."""


def dumps(document: Any) -> str:
    """JSON text of a document."""
    return orjson.dumps(document).decode()


def loads(text: str) -> Any:
    """The document of JSON text."""
    return orjson.loads(text)


def dump_row(row: Row | None) -> str | None:
    """A row as the history keeps it."""
    return None if row is None else dumps({"spec": row.spec, "position": row.position, "owner": row.owner})


def load_row(kind: RowKind, name: str, text: str | None) -> Row | None:
    """A row out of the history."""
    if text is None:
        return None
    kept = loads(text)
    return Row(kind, name, kept["spec"], kept["position"], kept["owner"])


def load_change(kind: RowKind, name: str, before: str | None, after: str | None) -> RowChange:
    """A change out of the history."""
    return RowChange(load_row(kind, name, before), load_row(kind, name, after))


def dump_definition(definition: ApiDefinition | None) -> str | None:
    """A definition as the history keeps it."""
    if definition is None:
        return None
    return dumps(
        {
            "document_hash": definition.document_hash,
            "options": definition.options,
            "last_applied": definition.last_applied,
        }
    )


def load_definition(name: str, text: str | None) -> ApiDefinition | None:
    """A definition out of the history."""
    if text is None:
        return None
    kept: Mapping[str, Any] = loads(text)
    return ApiDefinition(name, kept["document_hash"], kept["options"], kept["last_applied"])
