"""`/api/v1/platform/expose`: publish a URL under a path of the gateway."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.expose import Expose, ExposeOptions
from headgate.controlplane.platform.access import READ, may_publish
from headgate.controlplane.platform.answers import expose_report, exposed
from headgate.controlplane.platform.shapes import ExposedService, ExposedServicePage, ExposeReport, PublishOutcome
from headgate.controlplane.web.answers import Json, outcome, page, written
from headgate.controlplane.web.queries import DryRun, Page
from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import violations_of

Name = Annotated[str, Path(max_length=100, description="Name of the service.")]

EXAMPLE: Final = {"name": "hello", "url": "http://127.0.0.1:3001", "path": "/hello"}
DESCRIPTION: Final = """\
Cluster, route and, if need be, the listener are made in one revision; what has the name already is updated.

A `url` with a path, even `/`, has that path in the place of `path` when the request is passed on; with a `url`
without a path the request goes on as it came. WebSockets pass.
"""


class ExposeBody(BaseModel):
    """What to publish where."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    name: str = Field(max_length=100)
    """Name of the cluster and of the route."""
    url: str = Field(max_length=2000)
    """Where the service is: http://HOST:PORT or https://HOST, and a path if need be."""
    path: str = Field(default="", max_length=300)
    """Path at the gateway; unless given, `/` and the name."""
    domain: str = Field(default="", max_length=253)
    """Serve for this domain only; unless given, for every one."""
    listener: str = Field(default="", max_length=100)
    """`gateway` unless given."""


def add_expose(router: APIRouter, expose: Expose, authorise: Authorise) -> None:
    """Add the operations."""
    may_read = authorise(READ)
    content = {"application/json": {"schema": ExposeBody.model_json_schema(), "example": EXAMPLE}}

    @router.post(
        "/expose",
        operation_id="exposeService",
        summary="Publish a URL under a path of the gateway",
        description=DESCRIPTION,
        responses={200: {"description": "What was, or would be, published.", "model": ExposeReport}},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def expose_service(
        request: Request, caller: Annotated[Caller, Depends(may_publish(authorise))], dry_run: DryRun = False
    ) -> Response:
        wanted = _read(await request.body())
        options = ExposeOptions(
            wanted.name, wanted.url, wanted.path or f"/{wanted.name}", wanted.domain, wanted.listener
        )
        return written(expose_report(await expose.run(caller.actor, caller.team, options, dry_run=dry_run)))

    @router.get(
        "/expose",
        operation_id="listExposedServices",
        summary="List exposed services by name",
        responses={200: {"description": "One page.", "model": ExposedServicePage}},
    )
    async def list_exposed(caller: Annotated[Caller, Depends(may_read)], paging: Page) -> Response:
        found = await expose.list(caller.team, limit=paging.limit, cursor=paging.cursor)
        return page(found, exposed)

    @router.get(
        "/expose/{name}",
        operation_id="getExposedService",
        summary="Read an exposed service",
        responses={200: {"description": "The service.", "model": ExposedService}},
    )
    async def get_exposed(caller: Annotated[Caller, Depends(may_read)], name: Name) -> Response:
        return Json(exposed(await expose.get(caller.team, name)))

    @router.delete(
        "/expose/{name}",
        operation_id="unexposeService",
        summary="Take back what was exposed",
        responses={200: {"description": "What was, or would be, deleted.", "model": PublishOutcome}},
    )
    async def unexpose_service(
        caller: Annotated[Caller, Depends(may_publish(authorise))], name: Name, dry_run: DryRun = False
    ) -> Response:
        done = await expose.delete(caller.actor, caller.team, name, dry_run=dry_run)
        return written(outcome(done, unchanged=False))


def _read(body: bytes) -> ExposeBody:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise InvalidArgument(
            f"the body is not JSON: {where}", code="malformed_json", violations=[Violation("", where)]
        ) from None
    try:
        return ExposeBody.model_validate(document)
    except ValidationError as error:
        violations = violations_of(error, model=ExposeBody)
    first = violations[0]
    raise InvalidArgument(
        f"The body is not valid: {first.pointer or 'it'} {first.message}.",
        code="invalid_document",
        hint=first.hint,
        violations=violations,
    )
