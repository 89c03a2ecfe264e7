"""One write of one resource: to the use case, and back as what the caller gets to see."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from headgate.controlplane.core.caller import Caller
from headgate.controlplane.core.changes import Change, Diff, Outcome, Stored
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.native.answers import resource
from headgate.controlplane.native.bodies import relocated
from headgate.controlplane.web.answers import REVISION_HEADER, Json, outcome
from headgate.controlplane.web.queries import DryRun
from headgate.kit.controls.faults import Aborted, AlreadyExists, Fault, NotFound

Locate = Callable[[str], str]
Message = Annotated[str, Query(max_length=500, description="Why; kept with the revision.")]


@dataclass(frozen=True, slots=True)
class Writing:
    """How to write: for real or not, and what to note down."""

    dry_run: DryRun = False
    message: Message = ""


class Writer:
    """Writes one resource at a time. `locate` gives a resource's path from its name."""

    def __init__(self, resources: Resources, locate: Locate) -> None:
        self._resources = resources
        self._locate = locate

    async def write(
        self, caller: Caller, change: Change, writing: Writing, *, absent: bool = False, wrapped: bool = False
    ) -> Response:
        """Make the change and answer with the resource; with the outcome when it is a dry run.

        `absent` is the precondition that there is no such resource yet; `wrapped` says that the body is
        `{"name", "spec"}`, not the specification itself.
        """
        if absent:
            change = replace(change, operation="create")
        try:
            done = await self._resources.apply(
                caller.actor, caller.team, [change], dry_run=writing.dry_run, message=writing.message
            )
        except Fault as fault:
            if absent and isinstance(fault, AlreadyExists) and fault.code == "already_exists":
                hint = "it exists: read it, then send If-Match"
                raise Aborted(fault.message, code="etag_mismatch", hint=hint) from None
            raise (relocated(fault, spec="/spec", name="/name") if wrapped else relocated(fault)) from None
        return Json(outcome(done)) if writing.dry_run else await self._answer(caller.team, change, done)

    async def delete(self, caller: Caller, change: Change, writing: Writing) -> Response:
        """Delete the resource."""
        done = await self._resources.apply(
            caller.actor, caller.team, [change], dry_run=writing.dry_run, message=writing.message
        )
        if writing.dry_run:
            return Json(outcome(done))
        return Response(status_code=HTTPStatus.NO_CONTENT.value, headers={REVISION_HEADER: str(done.revision)})

    async def _answer(self, team: str, change: Change, done: Outcome) -> Response:
        diff = next(diff for diff in done.diffs if (diff.kind, diff.name) == (change.kind, change.name))
        stored = await self._read_back(team, diff)
        headers = {"ETag": stored.etag, REVISION_HEADER: str(done.revision)}
        status = HTTPStatus.OK.value
        if diff.what == "created":
            status = HTTPStatus.CREATED.value
            headers["Location"] = self._locate(diff.name)
        return Json(resource(stored), status_code=status, headers=headers)

    async def _read_back(self, team: str, diff: Diff) -> Stored:
        """What was written, even when somebody else has written or deleted it since."""
        assert diff.after is not None  # noqa: S101 - only deletions leave nothing
        revision = int(diff.etag.strip('"'))
        try:
            stored = await self._resources.get(team, diff.kind, diff.name)
        except NotFound:
            now = datetime.now(UTC)
            return Stored(team, diff.kind, diff.name, diff.after, diff.etag, revision, "", now, now)
        return replace(stored, document=diff.after, etag=diff.etag, revision=revision)
