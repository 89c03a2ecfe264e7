"""`/api/v1/native/route-configs/{config}/virtual-hosts/{host}/routes`: one route among thousands.

A route is a row of its own: reading or changing it touches nothing else of its route config.
"""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.route_list import RouteList
from headgate.controlplane.native.answers import resource
from headgate.controlplane.native.bodies import JSON, MERGE_PATCH, invalid, read_spec
from headgate.controlplane.native.describe import CREATED, ETAG, REVISED, WRITTEN, answer, body, patch_schema
from headgate.controlplane.native.examples import PATCHES, ROUTE
from headgate.controlplane.native.preconditions import Precondition, must_match, must_match_or_be_absent, not_modified
from headgate.controlplane.native.resources import IfNoneMatch, May, NameContains, Owner
from headgate.controlplane.native.writes import Writer, Writing
from headgate.controlplane.web.answers import Json, page
from headgate.controlplane.web.queries import Page
from headgate.kit.controls.faults import Violation

ROUTES = "/route-configs/{config}/virtual-hosts/{host}/routes"

Config = Annotated[str, Path(max_length=100, description="The route config's name.")]
Host = Annotated[str, Path(max_length=100, description="The virtual host's name.")]
RouteName = Annotated[str, Path(alias="route", max_length=200, description="The route's name.")]
Before = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Put it in front of this route of the virtual host; empty: last. "
        "Left out, it keeps its place, and a new one goes last.",
    ),
]


def add_routes(router: APIRouter, resources: Resources, route_list: RouteList, authorise: Authorise) -> None:
    """Add the operations on single routes."""
    _add_reads(router, resources, route_list, authorise("route-configs:read"))
    writer = Writer(resources, lambda name: _path(router.prefix, name))
    may_write = authorise("route-configs:write")
    _add_create_and_put(router, writer, may_write)
    _add_patch_and_delete(router, writer, may_write)


def _path(prefix: str, row_name: str) -> str:
    config, host, name = (quote(part, safe="") for part in row_name.split("/", 2))
    return f"{prefix}/route-configs/{config}/virtual-hosts/{host}/routes/{name}"


def _add_reads(router: APIRouter, resources: Resources, route_list: RouteList, may_read: May) -> None:
    @router.get(
        ROUTES,
        operation_id="listRoutes",
        summary="List the routes of a virtual host",
        responses={200: answer("One page, in the order the routes are tried.", "RoutePage")},
    )
    async def list_routes(
        *,
        caller: Annotated[Caller, Depends(may_read)],
        config: Config,
        host: Host,
        paging: Page,
        name_contains: NameContains = "",
        owner: Owner = None,
    ) -> Response:
        found = await route_list.list(
            caller.team,
            config,
            host,
            name_contains=name_contains,
            owner=owner,
            limit=paging.limit,
            cursor=paging.cursor,
        )
        return page(found, resource)

    @router.get(
        f"{ROUTES}/{{route}}",
        operation_id="getRoute",
        summary="Read a route",
        responses={
            200: answer("The route.", "RouteResource", headers=ETAG),
            304: answer("The ETag held is current.", headers=ETAG),
        },
    )
    async def get_route(
        caller: Annotated[Caller, Depends(may_read)],
        config: Config,
        host: Host,
        name: RouteName,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        stored = await resources.get(caller.team, "route", f"{config}/{host}/{name}")
        headers = {"ETag": stored.etag}
        if not_modified(if_none_match, stored.etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers=headers)
        return Json(resource(stored), headers=headers)


def _add_create_and_put(router: APIRouter, writer: Writer, may_write: May) -> None:
    @router.post(
        ROUTES,
        operation_id="createRoute",
        summary="Create a route",
        status_code=HTTPStatus.CREATED,
        responses={
            200: answer("Dry run: what would change.", "Outcome"),
            201: answer("Created.", "RouteResource", headers=CREATED),
        },
        openapi_extra=body("Route", ROUTE),
    )
    async def create_route(
        *,
        request: Request,
        caller: Annotated[Caller, Depends(may_write)],
        config: Config,
        host: Host,
        writing: Annotated[Writing, Depends()],
        before: Before = None,
    ) -> Response:
        spec = await read_spec(request)
        name = _name_of(spec)
        return await writer.write(
            caller, Change("create", "route", f"{config}/{host}/{name}", spec, before=before), writing
        )

    @router.put(
        f"{ROUTES}/{{route}}",
        operation_id="putRoute",
        summary="Create or replace a route",
        responses={
            200: answer("Replaced; or, in a dry run, what would change.", "RouteResource", "Outcome", headers=WRITTEN),
            201: answer("Created.", "RouteResource", headers=CREATED),
        },
        openapi_extra=body("Route", ROUTE),
    )
    async def put_route(
        *,
        request: Request,
        caller: Annotated[Caller, Depends(may_write)],
        config: Config,
        host: Host,
        name: RouteName,
        condition: Annotated[Precondition, Depends(must_match_or_be_absent)],
        writing: Annotated[Writing, Depends()],
        before: Before = None,
    ) -> Response:
        spec = await read_spec(request)
        row_name = f"{config}/{host}/{name}"
        change = Change("put", "route", row_name, spec, if_match=condition.if_match, before=before)
        return await writer.write(caller, change, writing, absent=condition.absent)


def _add_patch_and_delete(router: APIRouter, writer: Writer, may_write: May) -> None:
    @router.patch(
        f"{ROUTES}/{{route}}",
        operation_id="patchRoute",
        summary="Change parts of a route, or its place",
        responses={
            200: answer("Changed; or, in a dry run, what would change.", "RouteResource", "Outcome", headers=WRITTEN)
        },
        openapi_extra=body(patch_schema("route"), PATCHES["route"], MERGE_PATCH, JSON),
    )
    async def patch_route(
        *,
        request: Request,
        caller: Annotated[Caller, Depends(may_write)],
        config: Config,
        host: Host,
        name: RouteName,
        condition: Annotated[Precondition, Depends(must_match)],
        writing: Annotated[Writing, Depends()],
        before: Before = None,
    ) -> Response:
        patch = await read_spec(request, MERGE_PATCH, JSON)
        row_name = f"{config}/{host}/{name}"
        change = Change("patch", "route", row_name, patch, if_match=condition.if_match, before=before)
        return await writer.write(caller, change, writing)

    @router.delete(
        f"{ROUTES}/{{route}}",
        operation_id="deleteRoute",
        summary="Delete a route",
        status_code=HTTPStatus.NO_CONTENT,
        responses={
            200: answer("Dry run: what would change.", "Outcome"),
            204: answer("Deleted.", headers=REVISED),
        },
    )
    async def delete_route(
        *,
        caller: Annotated[Caller, Depends(may_write)],
        config: Config,
        host: Host,
        name: RouteName,
        condition: Annotated[Precondition, Depends(must_match)],
        writing: Annotated[Writing, Depends()],
    ) -> Response:
        change = Change("delete", "route", f"{config}/{host}/{name}", if_match=condition.if_match)
        return await writer.delete(caller, change, writing)


def _name_of(spec: dict[str, Any]) -> str:
    name = spec.get("name")
    if not isinstance(name, str) or not name or "/" in name:
        message = "is required" if name is None else "must be 1 to 200 of A-Z, a-z, 0-9 and '._~:-'"
        raise invalid([Violation("/name", message, "the name of the new route, unique in its virtual host")])
    return name
