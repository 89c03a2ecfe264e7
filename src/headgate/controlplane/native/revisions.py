"""`/api/v1/native/revisions`: what changed, when, by whom and why; and back to any of it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.native.answers import revision
from headgate.controlplane.native.describe import REVISED, answer
from headgate.controlplane.web.answers import Json, outcome, page, written
from headgate.controlplane.web.queries import DryRun, Page

Number = Annotated[int, Path(ge=0, le=2**63 - 1, description="The revision.")]


def add_revisions(router: APIRouter, resources: Resources, authorise: Authorise) -> None:
    """Add the operations."""
    may_read, may_write = authorise("revisions:read"), authorise("revisions:write")

    @router.get(
        "/revisions",
        operation_id="listRevisions",
        summary="List revisions, newest first",
        responses={200: answer("One page, without the changes.", "RevisionPage")},
    )
    async def list_revisions(caller: Annotated[Caller, Depends(may_read)], paging: Page) -> Response:
        found = await resources.revisions(caller.team, limit=paging.limit, cursor=paging.cursor)
        return page(found, lambda entry: revision(entry, changes=False))

    @router.get(
        "/revisions/{revision}",
        operation_id="getRevision",
        summary="Read a revision: each row before and after",
        responses={200: answer("The revision. Secrets are shown as fingerprints.", "RevisionWithChanges")},
    )
    async def get_revision(
        caller: Annotated[Caller, Depends(may_read)], number: Annotated[Number, Path(alias="revision")]
    ) -> Response:
        return Json(revision(await resources.revision(caller.team, number), changes=True))

    @router.post(
        "/revisions/{revision}/restore",
        operation_id="restoreRevision",
        summary="Go back to a revision",
        description="Makes a new revision whose state equals that of the given one; history is not rewritten.",
        responses={200: answer("What changed, or, in a dry run, would change.", "Outcome", headers=REVISED)},
    )
    async def restore_revision(
        caller: Annotated[Caller, Depends(may_write)],
        number: Annotated[Number, Path(alias="revision")],
        dry_run: DryRun = False,
    ) -> Response:
        done = await resources.restore(caller.actor, caller.team, number, dry_run=dry_run)
        return written(outcome(done))
