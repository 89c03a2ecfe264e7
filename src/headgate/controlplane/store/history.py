"""What happened to a team: its revisions, newest first, and the row changes of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Row as Record

from headgate.controlplane.model.rows import RowChange
from headgate.controlplane.store.api_definitions import DefinitionEdit
from headgate.controlplane.store.codec import DEFINITION_KIND, load_change, load_definition
from headgate.controlplane.store.edit import RevisionStamp
from headgate.controlplane.store.tables import changes, revisions
from headgate.controlplane.store.view import TeamView
from headgate.kit.controls.faults import OutOfRange


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """One revision of a team."""

    number: int
    stamp: RevisionStamp


async def revision_page(view: TeamView, limit: int, before: int | None) -> tuple[list[RevisionRecord], int]:
    """At most `limit` revisions below `before`, newest first, and how many are kept in all."""
    mine = revisions.c.team_id == view.team_id
    total = (await view.connection.execute(select(func.count()).select_from(revisions).where(mine))).scalar_one()
    query = select(revisions).where(mine).order_by(revisions.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(revisions.c.number < before)
    return [_revision(record) for record in await view.connection.execute(query)], total


async def find_revision(view: TeamView, number: int) -> RevisionRecord | None:
    """One revision, or None when there was none or it is pruned."""
    query = select(revisions).where(revisions.c.team_id == view.team_id, revisions.c.number == number)
    record = (await view.connection.execute(query)).first()
    return None if record is None else _revision(record)


def _revision(record: Record[Any]) -> RevisionRecord:
    stamp = RevisionStamp(record.at, record.actor, record.surface, record.token_id, record.request_id, record.message)
    return RevisionRecord(record.number, stamp)


async def changes_of(view: TeamView, number: int) -> tuple[list[RowChange], list[DefinitionEdit]]:
    """What a revision did to rows and to definitions."""
    query = (
        select(changes.c.kind, changes.c.name, changes.c.before, changes.c.after)
        .where(changes.c.team_id == view.team_id, changes.c.revision == number)
        .order_by(changes.c.seq)
    )
    return _load((await view.connection.execute(query)).all())


async def changes_after(view: TeamView, number: int) -> list[RowChange]:
    """Every row change after revision `number`, in order.

    Raises OutOfRange (`history_pruned`) when the history does not connect with `number`.
    """
    _require_history(view, number)
    query = (
        select(changes.c.kind, changes.c.name, changes.c.before, changes.c.after)
        .where(changes.c.team_id == view.team_id, changes.c.revision > number, changes.c.kind != DEFINITION_KIND)
        .order_by(changes.c.revision, changes.c.seq)
    )
    return _load((await view.connection.execute(query)).all())[0]


async def states_at(view: TeamView, number: int) -> tuple[list[RowChange], list[DefinitionEdit]]:
    """Everything touched after revision `number`: `before` is what it was at that revision.

    `after` is what the first change made of it, which is of no use here. Raises OutOfRange.
    """
    _require_history(view, number)
    later = (changes.c.team_id == view.team_id) & (changes.c.revision > number)
    first = (
        select(changes.c.kind, changes.c.name, func.min(changes.c.revision).label("revision"))
        .where(later)
        .group_by(changes.c.kind, changes.c.name)
        .subquery()
    )
    same = (
        (changes.c.kind == first.c.kind) & (changes.c.name == first.c.name) & (changes.c.revision == first.c.revision)
    )
    query = (
        select(changes.c.kind, changes.c.name, changes.c.before, changes.c.after)
        .join(first, same)
        .where(later)
        .order_by(changes.c.kind, changes.c.name)
    )
    return _load((await view.connection.execute(query)).all())


def _require_history(view: TeamView, number: int) -> None:
    if not view.floor <= number <= view.revision:
        raise OutOfRange(
            f"The history of team '{view.team}' reaches from revision {view.floor} to {view.revision}; "
            f"{number} is outside.",
            code="history_pruned",
        )


def _load(records: Iterable[Any]) -> tuple[list[RowChange], list[DefinitionEdit]]:
    rows: list[RowChange] = []
    definitions: list[DefinitionEdit] = []
    for kind, name, before, after in records:
        if kind == DEFINITION_KIND:
            definitions.append(DefinitionEdit(name, load_definition(name, before), load_definition(name, after)))
        else:
            rows.append(load_change(kind, name, before, after))
    return rows, definitions
