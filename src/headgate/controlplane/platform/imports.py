"""`POST /api/v1/platform/import/openapi`: publish what an OpenAPI document describes."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.imports import ImportOptions, Imports
from headgate.controlplane.platform.access import may_publish
from headgate.controlplane.platform.answers import import_report
from headgate.controlplane.platform.shapes import ImportReport
from headgate.controlplane.web.answers import encode, written
from headgate.controlplane.web.queries import DryRun
from headgate.kit.asgi.problems import defect, problem_document, status_of
from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.current import current_request_id
from headgate.kit.tasks import end

NDJSON: Final = "application/x-ndjson"
REPEAT_SECONDS: Final = 2.0
"""How long an import may have nothing new to tell; then it says again where it is: who only waits seems to hang."""
_MEDIA_TYPE: Final = re.compile(r"(application/([\w.+-]+[.+-])?(json|yaml)|text/[\w.+-]+)\s*(;.*)?", re.IGNORECASE)

DESCRIPTION: Final = """\
The body is the document: Swagger 2.0 or OpenAPI 3.0 to 3.2, in JSON or YAML. Clusters are made of its servers
(or of `upstream`), a route of every operation, all in one revision; what is imported again is updated, and
fields edited by hand are kept. The report accounts for every operation.

With `Accept: application/x-ndjson` the answer is a stream of JSON lines: `{"progress": {"stage", "done",
"total"}}` as it goes on, and at the end `{"report": ...}` or `{"problem": ...}`.
"""

_log = structlog.get_logger("headgate.import")


@dataclass(frozen=True, slots=True)
class Target:
    """How to publish the document."""

    name: Annotated[
        str, Query(max_length=100, description="Name of the API; unless given, made of the document's title.")
    ] = ""
    upstream: Annotated[
        str, Query(max_length=2000, description="URL of the API, instead of the document's servers.")
    ] = ""
    path: Annotated[
        str, Query(max_length=300, description="Serve under this path, and take it off before the upstream.")
    ] = ""
    domain: Annotated[
        str, Query(max_length=253, description="Serve for this domain only, in a virtual host of its own.")
    ] = ""
    listener: Annotated[str, Query(max_length=100, description="The listener; `gateway` unless given.")] = ""
    source_url: Annotated[
        str, Query(max_length=2000, description="Where the document came from: relative URLs in it start there.")
    ] = ""


def add_import(router: APIRouter, imports: Imports, authorise: Authorise) -> None:
    """Add the operation."""
    schema = {"schema": {"type": "string"}}
    content = dict.fromkeys(("application/json", "application/yaml", "text/plain"), schema)

    @router.post(
        "/import/openapi",
        operation_id="importOpenapi",
        summary="Import an OpenAPI document",
        description=DESCRIPTION,
        responses={200: {"description": "What the import did, or would do.", "model": ImportReport}},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def import_openapi(
        request: Request,
        caller: Annotated[Caller, Depends(may_publish(authorise))],
        target: Annotated[Target, Depends()],
        dry_run: DryRun = False,
    ) -> Response:
        raw = await _document(request, imports.limits.document_bytes)
        run = _Run(imports, caller, raw, ImportOptions(**asdict(target)), dry_run=dry_run)
        if NDJSON in request.headers.get("accept", ""):
            return StreamingResponse(run.lines(request.url.path), media_type=NDJSON)
        return written(await run.report())


async def _document(request: Request, most: int) -> bytes:
    kind = request.headers.get("content-type", "")
    encoding = request.headers.get("content-encoding", "identity")
    if (kind and not _MEDIA_TYPE.fullmatch(kind)) or encoding.lower() != "identity":
        what = f"content type '{kind[:100]}'" if encoding.lower() == "identity" else f"encoding '{encoding[:100]}'"
        raise InvalidArgument(
            f"A document of {what} is not read here.",
            code="unsupported_media_type",
            hint="Send it as it is with content-type application/json or application/yaml.",
        )
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise ResourceExhausted(
                f"The document is larger than {most:,} bytes.",
                code="body_too_large",
                hint="Split it, or raise the setting import_max_document_bytes.",
            )
        parts.append(part)
    return b"".join(parts)


class _Run:
    """One import, told at its end or as it goes on."""

    def __init__(self, imports: Imports, caller: Caller, raw: bytes, options: ImportOptions, *, dry_run: bool) -> None:
        self._imports = imports
        self._caller = caller
        self._raw = raw
        self._options = options
        self._dry_run = dry_run
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._newest: dict[str, Any] | None = {"stage": "reading", "done": 0, "total": 1}

    async def report(self) -> dict[str, Any]:
        """Import and return the report."""
        caller = self._caller
        done = await self._imports.run(
            caller.actor, caller.team, self._raw, self._options, dry_run=self._dry_run, progress=self._tell
        )
        return await asyncio.to_thread(import_report, done)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """Import, and yield a line whenever there is something to tell; the last is the report or the problem."""
        task = asyncio.create_task(self.report())
        task.add_done_callback(lambda _: self._told.put_nowait(None))
        try:
            while (progress := await self._news()) is not None:
                yield encode({"progress": progress}) + b"\n"
            yield await self._last_line(task, path)
        finally:
            await end(task)

    async def _news(self) -> dict[str, Any] | None:
        """The next progress; the last one again when none comes for a while. None when the import is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REPEAT_SECONDS):
                self._newest = await self._told.get()
        return self._newest

    async def _last_line(self, task: "asyncio.Task[dict[str, Any]]", path: str) -> bytes:
        try:
            return encode({"report": await task}) + b"\n"
        except Fault as fault:
            found = fault
        except Exception:  # noqa: BLE001 - the status is sent already, so nobody else can tell the caller
            _log.exception("import failed")
            found = defect()
        problem = problem_document(
            status=status_of(found),
            code=found.code,
            detail=found.message,
            instance=path,
            hint=found.hint,
            violations=found.violations,
            request_id=current_request_id(),
        )
        return encode({"problem": problem}) + b"\n"

    def _tell(self, stage: str, done: int, total: int) -> None:
        progress = {"stage": stage, "done": done, "total": total}
        self._loop.call_soon_threadsafe(self._told.put_nowait, progress)
