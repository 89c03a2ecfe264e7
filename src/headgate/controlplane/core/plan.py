"""What a change comes to: rows, definitions, and the differences to report. Made for one revision of the team."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from headgate.controlplane.core.changes import Change, Diff, DiffKind
from headgate.controlplane.core.draft import Draft
from headgate.controlplane.core.graph import check_graph
from headgate.controlplane.core.secretbox import redact
from headgate.controlplane.model.rows import Document, RowChange, RowKind
from headgate.controlplane.store.api_definitions import ApiDefinition, DefinitionChange, DefinitionEdit
from headgate.controlplane.store.edit import Key, Names
from headgate.controlplane.store.view import TeamView


@dataclass(frozen=True, slots=True)
class Plan:
    """Checked row changes on top of revision `base`. `keys` are the resources asked for, in order."""

    base: int
    changes: Sequence[RowChange]
    names: Names
    definitions: Sequence[DefinitionEdit]
    draft: Draft
    keys: Sequence[Key]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes and not self.definitions

    def diffs(self, revision: int | None) -> list[Diff]:
        """What becomes of each resource asked for. `revision` is the new one; None when none is made."""
        touched = {(change.row.kind, change.row.name) for change in self.changes}
        touched |= {("route_config", name.split("/")[0]) for kind, name in touched if kind == "route"}
        return [self._diff(key, key in touched, revision) for key in self.keys]

    def _diff(self, key: Key, touched: bool, revision: int | None) -> Diff:
        kind, name = key
        before = shown(kind, self.draft.document_before(kind, name))
        after = shown(kind, self.draft.document(kind, name))
        what = _what(before, after) if touched else "unchanged"
        stored = self.draft.stored.get(key)
        number = revision if touched else (stored.revision if stored else None)
        return Diff(kind, name, what, before, after, f'"{number}"' if number is not None and after is not None else "")


def _what(before: Document | None, after: Document | None) -> DiffKind:
    if before is None:
        return "created"
    return "deleted" if after is None else "updated"


def shown(kind: RowKind | str, document: Document | None) -> Document | None:
    """The document as it may be shown: of a secret only its summary."""
    return redact(document) if kind == "secret" and document is not None else document


def keys_of(changes: Iterable[Change]) -> list[Key]:
    """The resources that changes are about, each once."""
    return list(dict.fromkeys((change.kind, change.name) for change in changes))


async def make_plan(
    view: TeamView, draft: Draft, definitions: Sequence[DefinitionChange], keys: Sequence[Key] | None = None
) -> Plan:
    """Check the draft as a whole. Without `keys`, every row that changes is reported."""
    changes = draft.changes()
    names = await check_graph(view, draft, changes) if changes else {}
    edits = await _edits(view, definitions)
    if keys is None:
        keys = [(change.row.kind, change.row.name) for change in changes]
    return Plan(view.base, changes, names, edits, draft, keys)


async def _edits(view: TeamView, definitions: Sequence[DefinitionChange]) -> list[DefinitionEdit]:
    if not definitions:
        return []
    stored = await view.definitions([wanted.name for wanted in definitions])
    edits = [DefinitionEdit(wanted.name, stored.get(wanted.name), wanted.definition) for wanted in definitions]
    return [edit for edit in edits if _content(edit.before) != _content(edit.after)]


def _content(definition: ApiDefinition | None) -> Any:
    if definition is None:
        return None
    content = (definition.document_hash, definition.options, definition.last_applied)
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
