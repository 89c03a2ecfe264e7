"""`/api/v1/platform/apis`: what was imported."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.imports import Imports
from headgate.controlplane.platform.access import READ, may_publish
from headgate.controlplane.platform.answers import imported_api
from headgate.controlplane.platform.shapes import ImportedApiPage, PublishOutcome, WholeImportedApi
from headgate.controlplane.web.answers import Json, outcome, page, written
from headgate.controlplane.web.queries import DryRun, Page

Name = Annotated[str, Path(max_length=100, description="Name of the API.")]


def add_apis(router: APIRouter, imports: Imports, authorise: Authorise) -> None:
    """Add the operations."""
    may_read = authorise(READ)

    @router.get(
        "/apis",
        operation_id="listApis",
        summary="List imported APIs by name",
        responses={200: {"description": "One page.", "model": ImportedApiPage}},
    )
    async def list_apis(caller: Annotated[Caller, Depends(may_read)], paging: Page) -> Response:
        found = await imports.list(caller.team, limit=paging.limit, cursor=paging.cursor)
        return page(found, lambda api: imported_api(api, whole=False))

    @router.get(
        "/apis/{name}",
        operation_id="getApi",
        summary="Read an imported API: its rows, and the account of every operation",
        responses={200: {"description": "The API.", "model": WholeImportedApi}},
    )
    async def get_api(caller: Annotated[Caller, Depends(may_read)], name: Name) -> Response:
        return Json(imported_api(await imports.get(caller.team, name), whole=True))

    @router.delete(
        "/apis/{name}",
        operation_id="deleteApi",
        summary="Delete an imported API with the rows it owns",
        description="Refused when routes of others use its clusters; the problem names them.",
        responses={200: {"description": "What was, or would be, deleted.", "model": PublishOutcome}},
    )
    async def delete_api(
        caller: Annotated[Caller, Depends(may_publish(authorise))], name: Name, dry_run: DryRun = False
    ) -> Response:
        done = await imports.delete(caller.actor, caller.team, name, dry_run=dry_run)
        return written(outcome(done, unchanged=False))
