"""`POST /api/v1/native/changes`: several resources in one revision, or none of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.changes import Change, Operation
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.model.kinds import PLURALS
from headgate.controlplane.model.rows import RowKind
from headgate.controlplane.native.bodies import Body, invalid, read
from headgate.controlplane.native.describe import REVISED, answer, body
from headgate.controlplane.native.examples import CHANGES
from headgate.controlplane.native.writes import Writing
from headgate.controlplane.web.answers import outcome, written
from headgate.kit.controls.faults import Fault, Violation

_BESIDE = {"invalid_name": "/name", "unknown_route": "/before"}
"""Codes of faults that are about what stands beside the specification, and where."""


class OneChange(Body):
    """One of the changes."""

    operation: Operation
    kind: RowKind
    name: str = Field(min_length=1, max_length=500)
    spec: dict[str, Any] | None = None
    if_match: str | None = None
    before: str | None = Field(default=None, max_length=200)


class ManyChanges(Body):
    """The changes, in order."""

    changes: list[OneChange] = Field(min_length=1, max_length=10_000)
    message: str = Field(default="", max_length=500)
    dry_run: bool = False


def add_changes(router: APIRouter, resources: Resources, audit: AuditLog, authorise: Authorise) -> None:
    """Add the operation."""

    @router.post(
        "/changes",
        operation_id="applyChanges",
        summary="Make several changes at once, or none",
        description="All changes become one revision. Each needs the `write` scope of its kind: "
        "`clusters:write`, `route-configs:write` (routes too), `listeners:write`, `secrets:write`.",
        responses={200: answer("What changed, or, in a dry run, would change.", "Outcome", headers=REVISED)},
        openapi_extra=body("Changes", CHANGES),
    )
    async def apply_changes(
        request: Request, caller: Annotated[Caller, Depends(authorise(""))], writing: Annotated[Writing, Depends()]
    ) -> Response:
        wanted = await read(request, ManyChanges)
        await _require_scopes(wanted, caller, audit)
        changes = [_change(index, change) for index, change in enumerate(wanted.changes)]
        writing = replace(writing, dry_run=writing.dry_run or wanted.dry_run, message=wanted.message or writing.message)
        try:
            done = await resources.apply(
                caller.actor,
                caller.team,
                changes,
                dry_run=writing.dry_run,
                message=writing.message,
            )
        except Fault as fault:
            fault.violations = tuple(
                Violation(_relocate(fault, each.pointer, wanted.changes), each.message, each.hint)
                for each in fault.violations
            )
            raise
        return written(outcome(done))


async def _require_scopes(wanted: ManyChanges, caller: Caller, audit: AuditLog) -> None:
    try:
        for scope in sorted({_scope(change.kind) for change in wanted.changes}):
            caller.require(scope)
    except Fault as fault:
        await audit.refused(caller.actor, "authorise", team=caller.team, target="changes", reason=fault.code)
        raise


def _scope(kind: RowKind) -> str:
    return f"{PLURALS['route_config' if kind == 'route' else kind]}:write"


def _change(index: int, wanted: OneChange) -> Change:
    if (wanted.operation == "delete") != (wanted.spec is None):
        message = "goes with every operation but delete" if wanted.spec is None else "does not go with delete"
        raise invalid([Violation(f"/changes/{index}/spec", message)])
    if wanted.before is not None and wanted.kind != "route":
        raise invalid([Violation(f"/changes/{index}/before", "goes with kind 'route' only: nothing else has an order")])
    return Change(
        wanted.operation, wanted.kind, wanted.name, wanted.spec, if_match=wanted.if_match, before=wanted.before
    )


def _relocate(fault: Fault, pointer: str, changes: Sequence[OneChange]) -> str:
    """Point into the body: the use case points into the one document, or starts with the change's index."""
    index, rest = "0", pointer
    if len(changes) > 1:
        index, slash, rest = pointer.removeprefix("/").partition("/")
        rest = slash + rest
        if not index.isdecimal():
            return pointer
    at = f"/changes/{index}"
    if fault.code in _BESIDE and rest == _BESIDE[fault.code]:
        return at + rest
    return at if changes[int(index)].spec is None else f"{at}/spec{rest}"
