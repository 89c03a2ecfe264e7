"""`/api/v1/native/audit`: who did what, and who was refused."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.native.authorise import chosen_team
from headgate.controlplane.native.describe import answer
from headgate.controlplane.web.answers import page
from headgate.controlplane.web.queries import Page

Since = Annotated[AwareDatetime | None, Query(description="From this time on (RFC 3339, with a time zone).")]
Until = Annotated[AwareDatetime | None, Query(description="Before this time (RFC 3339, with a time zone).")]
By = Annotated[str, Query(max_length=200, description="Only acts of this token's name.")]
Action = Annotated[str, Query(max_length=100, description="Only this action, such as `apply` or `authenticate`.")]


def add_audit(router: APIRouter, audit: AuditLog, authorise: Authorise) -> None:
    """Add the operation."""

    @router.get(
        "/audit",
        operation_id="listAuditEntries",
        summary="List the audit trail, newest first",
        description="A token of no team sees every team's entries, and those of none, unless it names a team.",
        responses={200: answer("One page.", "AuditPage")},
    )
    async def list_entries(
        *,
        request: Request,
        caller: Annotated[Caller, Depends(authorise("audit:read"))],
        paging: Page,
        actor: By = "",
        action: Action = "",
        since: Since = None,
        until: Until = None,
    ) -> Response:
        found = await audit.list(
            team=chosen_team(request, caller),
            actor=actor,
            action=action,
            since=since,
            until=until,
            limit=paging.limit,
            cursor=paging.cursor,
        )
        return page(found, asdict)
