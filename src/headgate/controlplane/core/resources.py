"""Clusters, route configs, routes, listeners and secrets: read, change, look back, restore."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from headgate.controlplane.audit.summary import Touched, detail_of, target_of
from headgate.controlplane.core.changes import Actor, Change, ChangeKind, Outcome, Page, Revision, Stored
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.core.plan import Plan, keys_of, make_plan, shown
from headgate.controlplane.core.planner import Planner
from headgate.controlplane.core.restore import draft_of_revision
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.validation import label
from headgate.controlplane.model.rows import Row, RowChange, RowKind, assemble
from headgate.controlplane.store.api_definitions import DefinitionChange, DefinitionEdit
from headgate.controlplane.store.audit import AuditEntry
from headgate.controlplane.store.edit import RevisionStamp
from headgate.controlplane.store.history import RevisionRecord, changes_of, find_revision, revision_page
from headgate.controlplane.store.store import Store
from headgate.controlplane.store.view import StoredRow, TeamView
from headgate.kit.controls.faults import InvalidArgument, NotFound, Violation

_LONGEST_MESSAGE: Final = 1000
_MOST_VIOLATIONS: Final = 100


@dataclass(frozen=True, slots=True)
class RowViolation:
    """Something wrong with a row; `pointer` is relative to the row's own document."""

    kind: RowKind
    name: str
    pointer: str
    message: str
    hint: str = ""


class Preflight(Protocol):
    """Asks Envoy before the change is committed."""

    async def check(self, team: str, changes: Sequence[RowChange]) -> Sequence[RowViolation]:
        """Return what Envoy would refuse; empty when it accepts. Secrets arrive sealed.

        It is called outside the transaction, and again inside it when another change came between: it
        must remember what was accepted.
        """
        ...


class Resources:
    """The use cases on a team's configuration. `on_change` is called with the team after a commit."""

    def __init__(
        self,
        store: Store,
        *,
        preflight: Preflight | None,
        secrets: SecretBox,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._preflight = preflight
        self._secrets = secrets
        self._on_change = on_change

    async def apply(
        self,
        actor: Actor,
        team: str,
        changes: Sequence[Change],
        *,
        definitions: Sequence[DefinitionChange] = (),
        dry_run: bool = False,
        message: str = "",
    ) -> Outcome:
        """Make all changes, in one new revision, or none; no revision when nothing differs.

        There is one diff per resource named, in order. Pointers of violations go into the document of the
        change when there is one change, and start with the index of the change (`/0/...`) when there are
        several. Raises InvalidArgument (`invalid_document`, `invalid_name`, `invalid_pem`, `key_mismatch`,
        `unknown_route`, `refused_by_envoy`), NotFound, AlreadyExists (`already_exists`, `port_in_use`),
        FailedPrecondition (`unknown_reference`, `wrong_secret_type`, `in_use`), Aborted (`etag_mismatch`,
        `conflict`), ResourceExhausted (`too_many_routes`, `storage_full`), Unavailable.
        """

        async def plan(view: TeamView) -> Plan:
            draft = await Planner(view, self._secrets, changes).run()
            return await make_plan(view, draft, definitions, keys_of(changes))

        return await self._commit(actor, team, "apply", plan, dry_run=dry_run, message=message)

    async def restore(self, actor: Actor, team: str, number: int, *, dry_run: bool = False) -> Outcome:
        """Make a new revision whose state equals that of revision `number`; none when it does already.

        The diffs are per row: routes by themselves, route configs without them. Raises NotFound
        (`unknown_revision`), FailedPrecondition (`not_restorable`), and what `apply` raises.
        """

        async def plan(view: TeamView) -> Plan:
            draft, definitions = await draft_of_revision(view, number)
            return await make_plan(view, draft, definitions)

        message = f"restore of revision {number}"
        return await self._commit(actor, team, "restore", plan, dry_run=dry_run, message=message)

    async def _commit(
        self,
        actor: Actor,
        team: str,
        action: str,
        make: Callable[[TeamView], Awaitable[Plan]],
        *,
        dry_run: bool,
        message: str,
    ) -> Outcome:
        # Worked out before the lock is taken, so that it is held for the writes only; worked out again
        # under the lock when somebody was faster.
        async with self._store.read(team) as view:
            plan = await make(view)
        await self._ask_envoy(team, plan)
        if dry_run or plan.empty:
            return Outcome(team, plan.base, dry_run, plan.diffs(None))
        async with self._store.edit(team) as edit:
            if edit.base != plan.base:
                plan = await make(edit)
                await self._ask_envoy(team, plan)
            if plan.empty:
                return Outcome(team, plan.base, dry_run, plan.diffs(None))
            stamp = _stamp(actor, message)
            await edit.write(plan.changes, plan.names, plan.definitions, stamp, _audit(action, plan, stamp))
            outcome = Outcome(team, edit.revision, dry_run, plan.diffs(edit.revision))
        if self._on_change is not None:
            self._on_change(team)
        return outcome

    async def _ask_envoy(self, team: str, plan: Plan) -> None:
        if self._preflight is None or not plan.changes:
            return
        found = await self._preflight.check(team, plan.changes)
        if not found:
            return
        violations = [
            Violation(plan.draft.origins.get((item.kind, item.name), "") + item.pointer, item.message, item.hint)
            for item in found[:_MOST_VIOLATIONS]
        ]
        first = found[0]
        raise InvalidArgument(
            f"Envoy would refuse the {label(first.kind, first.name)}: {first.message}",
            code="refused_by_envoy",
            hint=first.hint or "Change what the pointer names; nothing was stored.",
            violations=violations,
        )

    async def get(self, team: str, kind: ChangeKind, name: str) -> Stored:
        """Return one resource. Raises NotFound."""
        async with self._store.read(team) as view:
            found = (await view.rows(kind, [name])).get(name)
            if found is None:
                raise NotFound(f"There is no {label(kind, name)}.")
            return (await _assembled(view, kind, [found]))[0]

    async def list(
        self,
        team: str,
        kind: ChangeKind,
        *,
        name_contains: str = "",
        owner: str | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Page[Stored]:
        """Return resources by name, those whose name holds `name_contains`, case aside."""
        after = read_cursor(cursor, str)
        async with self._store.read(team) as view:
            rows, total = await view.page(
                kind,
                name_contains=name_contains.replace("\0", "\ufffd"),
                owner=owner,
                limit=check_limit(limit) + 1,
                after=after[0] if after else "",
            )
            items = await _assembled(view, kind, rows[:limit])
        return Page(items, total, make_cursor(items[-1].name) if len(rows) > limit else "")

    async def revisions(self, team: str, *, limit: int = 50, cursor: str = "") -> Page[Revision]:
        """Return revisions, newest first, without their changes."""
        before = read_cursor(cursor, int)
        async with self._store.read(team) as view:
            records, total = await revision_page(view, check_limit(limit) + 1, before[0] if before else None)
        items = [_revision(team, record) for record in records[:limit]]
        return Page(items, total, make_cursor(items[-1].number) if len(records) > limit else "")

    async def revision(self, team: str, number: int) -> Revision:
        """Return one revision with its changes, each {"kind", "name", "before", "after", "moved", "owner"}.

        Secrets appear as their summary, API definitions without what they applied; `moved` is whether a
        route changed its place. Raises NotFound (`unknown_revision`).
        """
        async with self._store.read(team) as view:
            record = await find_revision(view, number)
            if record is None:
                raise NotFound(f"Team '{team}' has no revision {number}.", code="unknown_revision")
            rows, definitions = await changes_of(view, number)
        return _revision(team, record, [*map(_row_entry, rows), *map(_definition_entry, definitions)])


def _stamp(actor: Actor, message: str) -> RevisionStamp:
    return RevisionStamp(
        at=datetime.now(UTC),
        actor=actor.name,
        surface=actor.surface,
        token_id=actor.token_id,
        request_id=actor.request_id,
        message=message.replace("\0", "")[:_LONGEST_MESSAGE],
    )


def _audit(action: str, plan: Plan, stamp: RevisionStamp) -> AuditEntry:
    touched: list[Touched] = [
        (diff.kind, diff.name, diff.what) for diff in plan.diffs(None) if diff.what != "unchanged"
    ]
    touched += [
        ("api_definition", edit.name, "deleted" if edit.after is None else "updated" if edit.before else "created")
        for edit in plan.definitions
    ]
    return AuditEntry(
        at=stamp.at,
        actor=stamp.actor,
        surface=stamp.surface,
        action=action,
        target=target_of(touched),
        token_id=stamp.token_id,
        request_id=stamp.request_id,
        detail=detail_of(touched, stamp.message),
    )


async def _assembled(view: TeamView, kind: RowKind, rows: Sequence[StoredRow]) -> list[Stored]:
    """Rows as whole resources: route configs with their routes."""
    routes: dict[str, list[Row]] = {}
    if kind == "route_config":
        for stored in await view.routes_of([row.row.name for row in rows]):
            routes.setdefault(stored.row.name.split("/")[0], []).append(stored.row)
    return [_stored(view.team, stored, routes.get(stored.row.name, ())) for stored in rows]


def _stored(team: str, stored: StoredRow, routes: Iterable[Row]) -> Stored:
    row = stored.row
    document = assemble(row.spec, routes) if row.kind == "route_config" else shown(row.kind, row.spec)
    return Stored(
        team=team,
        kind=row.kind,
        name=row.name,
        document=document or {},
        etag=f'"{stored.revision}"',
        revision=stored.revision,
        owner=row.owner,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def _revision(team: str, record: RevisionRecord, entries: Sequence[Mapping[str, Any]] = ()) -> Revision:
    stamp = record.stamp
    return Revision(
        team, record.number, stamp.at, stamp.actor, stamp.surface, stamp.message, stamp.request_id, tuple(entries)
    )


def _row_entry(change: RowChange) -> Mapping[str, Any]:
    before, after = change.before, change.after
    return {
        "kind": change.row.kind,
        "name": change.row.name,
        "before": shown(change.row.kind, before.spec) if before else None,
        "after": shown(change.row.kind, after.spec) if after else None,
        "moved": before is not None and after is not None and before.position != after.position,
        "owner": change.row.owner,
    }


def _definition_entry(edit: DefinitionEdit) -> Mapping[str, Any]:
    def facts(definition: Any) -> Mapping[str, Any] | None:
        return definition and {"document_hash": definition.document_hash, "options": definition.options}

    return {
        "kind": "api_definition",
        "name": edit.name,
        "before": facts(edit.before),
        "after": facts(edit.after),
        "moved": False,
        "owner": "",
    }
