"""The reference graph: whatever a row names must be there, and whatever is named must stay.

Only what the changes touch is looked at: one query for each kind of name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from headgate.controlplane.core.draft import Draft
from headgate.controlplane.core.validation import label
from headgate.controlplane.model.base import Spec
from headgate.controlplane.model.kinds import Kind, Reference, references
from headgate.controlplane.model.route_config import Route, RouteConfig
from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.store.edit import Key, Names
from headgate.controlplane.store.view import Dependant, TeamView, place_of
from headgate.kit.controls.faults import AlreadyExists, FailedPrecondition, Violation

_SHOWN: Final = 5
_AUTHORITY_FIELDS: Final = {"ca_secret", "client_ca_secret"}


async def check_graph(view: TeamView, draft: Draft, changes: Sequence[RowChange]) -> Names:
    """Check names, dependants and ports of all changed rows, and return what each of them names.

    Raises FailedPrecondition (`unknown_reference`, `wrong_secret_type`, `in_use`) or AlreadyExists
    (`port_in_use`), with pointers.
    """
    found = {key: list(_named(spec)) for key, spec in _changed_specs(draft, changes)}
    await _check_targets(view, draft, found)
    await _check_dependants(view, draft, changes)
    await _check_ports(view, draft, changes)
    return {key: frozenset((ref.kind, ref.name) for ref in refs) for key, refs in found.items()}


def _changed_specs(draft: Draft, changes: Iterable[RowChange]) -> Iterable[tuple[Key, Spec]]:
    for change in changes:
        key = (change.row.kind, change.row.name)
        if change.after is not None and key in draft.specs:
            yield key, draft.specs[key]


def _named(spec: Spec) -> Iterable[Reference]:
    if isinstance(spec, Route):
        return (Reference(pointer, "cluster", name) for pointer, name in spec.clusters())
    # The routes of a route config are rows of their own.
    return () if isinstance(spec, RouteConfig) else references(spec)


async def _check_targets(view: TeamView, draft: Draft, found: Mapping[Key, Sequence[Reference]]) -> None:
    wanted: dict[Kind, set[str]] = {}
    for refs in found.values():
        for ref in refs:
            wanted.setdefault(ref.kind, set()).add(ref.name)
    there: dict[Kind, set[str]] = {}
    for kind, names in wanted.items():
        if kind == "secret":
            rows = (await view.rows("secret", {n for n in names if ("secret", n) not in draft.wanted})).values()
            draft.add_stored(rows)
        unknown = {n for n in names if (kind, n) not in draft.wanted and (kind, n) not in draft.stored}
        there[kind] = await view.existing(kind, unknown) | {n for n in names if draft.current(kind, n)}
    dangling = [(key, ref) for key, refs in found.items() for ref in refs if ref.name not in there[ref.kind]]
    if dangling:
        raise _unknown_reference(draft, dangling)
    wrong = [(key, ref) for key, refs in found.items() for ref in refs if _is_wrong_type(draft, ref)]
    if wrong:
        raise _wrong_type(draft, wrong)


def _unknown_reference(draft: Draft, dangling: Sequence[tuple[Key, Reference]]) -> FailedPrecondition:
    hint = "Create it first, or in the same change."
    violations = [
        Violation(draft.origins.get(key, "") + ref.pointer, f"there is no {label(ref.kind, ref.name)}", hint)
        for key, ref in dangling
    ]
    (kind, name), first = dangling[0]
    return FailedPrecondition(
        f"The {label(kind, name)} names {label(first.kind, first.name)}, which does not exist{_more(dangling)}.",
        code="unknown_reference",
        hint=hint,
        violations=violations,
    )


def _type_wanted(ref: Reference) -> str:
    return "trusted_ca" if ref.pointer.rpartition("/")[2] in _AUTHORITY_FIELDS else "tls_certificate"


def _is_wrong_type(draft: Draft, ref: Reference) -> bool:
    row = draft.current("secret", ref.name) if ref.kind == "secret" else None
    return row is not None and _type(row) != _type_wanted(ref)


def _type(row: Row) -> str:
    return str(row.spec["summary"]["type"])


def _wrong_type(draft: Draft, wrong: Sequence[tuple[Key, Reference]]) -> FailedPrecondition:
    violations = [
        Violation(draft.origins.get(key, "") + ref.pointer, f"secret '{ref.name}' does not hold a {_type_wanted(ref)}")
        for key, ref in wrong
    ]
    (kind, name), first = wrong[0]
    return FailedPrecondition(
        f"The {label(kind, name)} needs a secret with {_type_wanted(first)}; '{first.name}' holds something else.",
        code="wrong_secret_type",
        hint=f"Name a secret that holds a {_type_wanted(first)}.",
        violations=violations,
    )


async def _check_dependants(view: TeamView, draft: Draft, changes: Sequence[RowChange]) -> None:
    """What is gone, or is another type of secret now, must not be named by a row that stays as it is."""
    changed = {(change.row.kind, change.row.name) for change in changes}
    for kind in ("cluster", "route_config", "secret"):
        names = {c.row.name for c in changes if c.row.kind == kind and (c.after is None or _turned(c))}
        if not names:
            continue
        holders = [d for d in await view.dependants(kind, names) if (d.kind, d.name) not in changed]
        if holders:
            raise _in_use(draft, kind, holders)


def _turned(change: RowChange) -> bool:
    if change.row.kind != "secret" or change.before is None or change.after is None:
        return False
    return _type(change.before) != _type(change.after)


def _in_use(draft: Draft, kind: Kind, holders: Sequence[Dependant]) -> FailedPrecondition:
    by_target: dict[str, list[Dependant]] = {}
    for holder in holders:
        by_target.setdefault(holder.target, []).append(holder)
    violations = [
        Violation(draft.origins.get((kind, target), ""), f"{label(kind, target)} is used by {_listing(users)}")
        for target, users in by_target.items()
    ]
    return FailedPrecondition(
        f"The {violations[0].message}{_more(violations)}.",
        code="in_use",
        hint="Change or delete what uses it first, or in the same change.",
        violations=violations,
    )


def _listing(users: Sequence[Dependant]) -> str:
    named = ", ".join(label(user.kind, user.name) for user in users[:_SHOWN])
    return f"{named} and {len(users) - _SHOWN} more" if len(users) > _SHOWN else named


def _more(items: Sequence[object]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""


async def _check_ports(view: TeamView, draft: Draft, changes: Sequence[RowChange]) -> None:
    changed = [change.after for change in changes if change.row.kind == "listener" and change.after]
    if not changed:
        return
    touched = {change.row.name for change in changes if change.row.kind == "listener"}
    holders: dict[tuple[str, int], str] = {
        (address, port): name
        for name, address, port in await view.listeners_on({place_of(row.spec)[1] for row in changed})
        if name not in touched
    }
    for row in changed:
        place = place_of(row.spec)
        holder = holders.setdefault(place, row.name)
        if holder != row.name:
            pointer = draft.origins.get(("listener", row.name), "") + "/port"
            raise AlreadyExists(
                f"Listener '{holder}' serves {place[0]} port {place[1]} already.",
                code="port_in_use",
                hint="Choose another port or address, or add a filter chain to that listener.",
                violations=[Violation(pointer, f"is taken by listener '{holder}'")],
            )
