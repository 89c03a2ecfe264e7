"""`/api/v1/native/{clusters,route-configs,listeners,secrets}`: the six operations on each kind."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.model.kinds import PLURALS, Kind
from headgate.controlplane.native.answers import resource
from headgate.controlplane.native.bodies import JSON, MERGE_PATCH, NewResource, read, read_spec
from headgate.controlplane.native.describe import CREATED, ETAG, REVISED, TITLES, WRITTEN, answer, body, patch_schema
from headgate.controlplane.native.examples import PATCHES, SPECS
from headgate.controlplane.native.preconditions import (
    Precondition,
    must_match,
    must_match_or_be_absent,
    not_modified,
)
from headgate.controlplane.native.writes import Writer, Writing
from headgate.controlplane.web.answers import Json, page
from headgate.controlplane.web.queries import Page

Name = Annotated[str, Path(max_length=100, description="The resource's name.")]
NameContains = Annotated[str, Query(max_length=100, description="Only those whose name holds this text.")]
Owner = Annotated[str | None, Query(max_length=200, description="Only those of this owner; empty: written by hand.")]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="ETags held already: 304 when one of them is current.")
]


May = Callable[..., Awaitable[Caller]]
"""The dependency that lets a caller in."""


def add_resources(router: APIRouter, kind: Kind, resources: Resources, authorise: Authorise) -> None:
    """Add the operations on resources of one kind."""
    _add_reads(router, kind, resources, authorise(f"{PLURALS[kind]}:read"))
    writer = Writer(resources, lambda name: f"{router.prefix}/{PLURALS[kind]}/{quote(name)}")
    may_write = authorise(f"{PLURALS[kind]}:write")
    _add_create_and_put(router, kind, writer, may_write)
    _add_patch_and_delete(router, kind, writer, may_write)


def _words(kind: Kind) -> tuple[str, str, str]:
    """(path, words for one, title in shapes and operation ids)."""
    return f"/{PLURALS[kind]}", kind.replace("_", " "), TITLES[kind]


def _add_reads(router: APIRouter, kind: Kind, resources: Resources, may_read: May) -> None:
    path, words, title = _words(kind)

    @router.get(
        path,
        operation_id=f"list{title}s",
        summary=f"List {words}s",
        responses={200: answer("One page, by name.", f"{title}Page")},
    )
    async def list_resources(
        caller: Annotated[Caller, Depends(may_read)],
        paging: Page,
        name_contains: NameContains = "",
        owner: Owner = None,
    ) -> Response:
        found = await resources.list(
            caller.team, kind, name_contains=name_contains, owner=owner, limit=paging.limit, cursor=paging.cursor
        )
        return page(found, resource)

    @router.get(
        f"{path}/{{name}}",
        operation_id=f"get{title}",
        summary=f"Read a {words}",
        responses={
            200: answer(f"The {words}.", f"{title}Resource", headers=ETAG),
            304: answer("The ETag held is current.", headers=ETAG),
        },
    )
    async def get_resource(
        caller: Annotated[Caller, Depends(may_read)], name: Name, if_none_match: IfNoneMatch = None
    ) -> Response:
        stored = await resources.get(caller.team, kind, name)
        headers = {"ETag": stored.etag}
        if not_modified(if_none_match, stored.etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers=headers)
        return Json(resource(stored), headers=headers)


def _add_create_and_put(router: APIRouter, kind: Kind, writer: Writer, may_write: May) -> None:
    path, words, title = _words(kind)

    @router.post(
        path,
        operation_id=f"create{title}",
        summary=f"Create a {words}",
        status_code=HTTPStatus.CREATED,
        responses={
            200: answer("Dry run: what would change.", "Outcome"),
            201: answer("Created.", f"{title}Resource", headers=CREATED),
        },
        openapi_extra=body(f"New{title}", {"name": "orders", "spec": SPECS[kind]}),
    )
    async def create_resource(
        request: Request, caller: Annotated[Caller, Depends(may_write)], writing: Annotated[Writing, Depends()]
    ) -> Response:
        new = await read(request, NewResource)
        return await writer.write(caller, Change("create", kind, new.name, new.spec), writing, wrapped=True)

    @router.put(
        f"{path}/{{name}}",
        operation_id=f"put{title}",
        summary=f"Create or replace a {words}",
        responses={
            200: answer(
                "Replaced; or, in a dry run, what would change.", f"{title}Resource", "Outcome", headers=WRITTEN
            ),
            201: answer("Created.", f"{title}Resource", headers=CREATED),
        },
        openapi_extra=body(title, SPECS[kind]),
    )
    async def put_resource(
        request: Request,
        caller: Annotated[Caller, Depends(may_write)],
        name: Name,
        condition: Annotated[Precondition, Depends(must_match_or_be_absent)],
        writing: Annotated[Writing, Depends()],
    ) -> Response:
        spec = await read_spec(request)
        change = Change("put", kind, name, spec, if_match=condition.if_match)
        return await writer.write(caller, change, writing, absent=condition.absent)


def _add_patch_and_delete(router: APIRouter, kind: Kind, writer: Writer, may_write: May) -> None:
    path, words, title = _words(kind)

    @router.patch(
        f"{path}/{{name}}",
        operation_id=f"patch{title}",
        summary=f"Change parts of a {words}",
        responses={
            200: answer("Changed; or, in a dry run, what would change.", f"{title}Resource", "Outcome", headers=WRITTEN)
        },
        openapi_extra=body(patch_schema(words), PATCHES[kind], MERGE_PATCH, JSON),
    )
    async def patch_resource(
        request: Request,
        caller: Annotated[Caller, Depends(may_write)],
        name: Name,
        condition: Annotated[Precondition, Depends(must_match)],
        writing: Annotated[Writing, Depends()],
    ) -> Response:
        patch = await read_spec(request, MERGE_PATCH, JSON)
        return await writer.write(caller, Change("patch", kind, name, patch, if_match=condition.if_match), writing)

    @router.delete(
        f"{path}/{{name}}",
        operation_id=f"delete{title}",
        summary=f"Delete a {words}",
        status_code=HTTPStatus.NO_CONTENT,
        responses={
            200: answer("Dry run: what would change.", "Outcome"),
            204: answer("Deleted.", headers=REVISED),
        },
    )
    async def delete_resource(
        caller: Annotated[Caller, Depends(may_write)],
        name: Name,
        condition: Annotated[Precondition, Depends(must_match)],
        writing: Annotated[Writing, Depends()],
    ) -> Response:
        return await writer.delete(caller, Change("delete", kind, name, if_match=condition.if_match), writing)
