"""`/api/v1/native/dataplanes`: what each Envoy is to have, has acknowledged, and has refused."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.dataplane_state import DataplaneStatus
from headgate.controlplane.core.dataplanes import Dataplanes
from headgate.controlplane.native.answers import listed
from headgate.controlplane.native.describe import answer
from headgate.controlplane.web.answers import Json
from headgate.controlplane.web.queries import Page

Id = Annotated[str, Path(max_length=500, description="The dataplane's id: `node.id` of its Envoy.")]


def add_dataplanes(router: APIRouter, dataplanes: Dataplanes, authorise: Authorise) -> None:
    """Add the operations."""
    may_read, may_write = authorise("dataplanes:read"), authorise("dataplanes:write")

    @router.get(
        "/dataplanes",
        operation_id="listDataplanes",
        summary="List dataplanes",
        responses={200: answer("One page, by id.", "DataplanePage")},
    )
    async def list_dataplanes(caller: Annotated[Caller, Depends(may_read)], paging: Page) -> Response:
        found = {status.id: status for status in await dataplanes.list(caller.team)}
        return listed(found, paging, _shown)

    @router.get(
        "/dataplanes/{id:path}",
        operation_id="getDataplane",
        summary="Read a dataplane",
        responses={200: answer("The dataplane.", "Dataplane")},
    )
    async def get_dataplane(
        caller: Annotated[Caller, Depends(may_read)], node_id: Annotated[Id, Path(alias="id")]
    ) -> Response:
        return Json(_shown(await dataplanes.get(caller.team, node_id)))

    @router.delete(
        "/dataplanes/{id:path}",
        operation_id="forgetDataplane",
        summary="Forget a dataplane that is not connected",
        status_code=HTTPStatus.NO_CONTENT,
        responses={204: answer("Forgotten.")},
    )
    async def forget_dataplane(
        caller: Annotated[Caller, Depends(may_write)], node_id: Annotated[Id, Path(alias="id")]
    ) -> Response:
        await dataplanes.forget(caller.team, node_id)
        return Response(status_code=HTTPStatus.NO_CONTENT.value)


def _shown(status: DataplaneStatus) -> dict[str, Any]:
    return {**asdict(status), "state": status.state}
