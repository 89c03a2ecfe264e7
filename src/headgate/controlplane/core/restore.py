"""Back to an earlier revision: what was touched since is wanted as it was then."""

from headgate.controlplane.core.draft import Draft
from headgate.controlplane.core.validation import label, parse
from headgate.controlplane.store.api_definitions import DefinitionChange
from headgate.controlplane.store.history import states_at
from headgate.controlplane.store.view import TeamView
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, NotFound, OutOfRange


async def draft_of_revision(view: TeamView, number: int) -> tuple[Draft, list[DefinitionChange]]:
    """A draft that wants the rows, and the definitions, of revision `number`.

    Raises NotFound (`unknown_revision`), FailedPrecondition (`not_restorable`) when a document of then is
    not valid any more.
    """
    try:
        rows, definitions = await states_at(view, number)
    except OutOfRange as fault:
        raise NotFound(
            f"Team '{view.team}' has no revision {number} to go back to.",
            code="unknown_revision",
            hint=f"Revisions {view.floor} to {view.base} can be restored.",
        ) from fault
    draft = Draft()
    for kind in {change.row.kind for change in rows}:
        names = {change.row.name for change in rows if change.row.kind == kind}
        draft.add_stored((await view.rows(kind, names)).values())
    for change in rows:
        wanted, kind, name = change.before, change.row.kind, change.row.name
        if wanted is None:
            draft.remove(kind, name, "")
            continue
        try:
            draft.put(wanted, None if kind == "secret" else parse(kind, name, wanted.spec), "")
        except InvalidArgument as fault:
            raise FailedPrecondition(
                f"Revision {number} cannot be restored: the {label(kind, name)} of then is not valid any more.",
                code="not_restorable",
                hint=fault.message,
                violations=fault.violations,
            ) from None
    return draft, [DefinitionChange(edit.name, edit.before) for edit in definitions]
