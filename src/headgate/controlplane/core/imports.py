"""Imports: an OpenAPI document becomes clusters and routes that Envoy serves, and can be imported again."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from headgate.controlplane.core.changes import Actor, Outcome, Page
from headgate.controlplane.core.gateway import GatewayAddress, checked_domain, find_spot
from headgate.controlplane.core.import_report import (
    ImportedApi,
    ImportReport,
    account_document,
    edits,
    nothing_routed,
    totals,
    with_obstacles,
)
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.core.publication import Publication, read_holdings, settled
from headgate.controlplane.core.publishing import withdraw, work_out
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.model.base import NAME_PATTERN
from headgate.controlplane.openapi.document import Document, read_document
from headgate.controlplane.openapi.naming import api_name
from headgate.controlplane.openapi.plan import Account, Plan, Progress, Target, make_plan
from headgate.controlplane.openapi.text import parse_text
from headgate.controlplane.store.api_definitions import ApiDefinition, get_definition, list_definitions
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import InvalidArgument, NotFound, ResourceExhausted, Violation

_LONGEST_TITLE = 300


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to publish a document. Everything may be left empty.

    `name` is made of the document's title; `upstream` takes the place of its servers; `path` is served
    under, and taken off before the upstream; `domain` gives the API a virtual host of its own; `listener` is
    the default one. `source_url` is where the document came from: what is relative in it starts there.
    """

    name: str = ""
    upstream: str = ""
    path: str = ""
    domain: str = ""
    listener: str = ""
    source_url: str = ""


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The largest document, in bytes and in operations."""

    document_bytes: int = 32 * 1024 * 1024
    operations: int = 10_000


@dataclass(frozen=True, slots=True)
class _Job:
    """An import under way."""

    document: Document
    document_hash: str
    options: ImportOptions
    progress: Progress


class Imports:
    """The use cases on imported APIs. `address` is where the default listener is made when it is absent."""

    def __init__(
        self,
        store: Store,
        resources: Resources,
        *,
        address: GatewayAddress | None = None,
        limits: ImportLimits | None = None,
    ) -> None:
        self._store = store
        self._resources = resources
        self._address = address or GatewayAddress()
        self.limits = limits or ImportLimits()

    async def run(
        self,
        actor: Actor,
        team: str,
        raw: bytes,
        options: ImportOptions,
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Import a document, or say what that would do.

        `progress` is called, from other threads too, with a stage (`reading`, `planning`, `applying`), how
        many of its steps are done, and how many there are. Raises InvalidArgument for a document or options
        that cannot be used (`no_upstream` and `nothing_routable` unless it is a dry run), ResourceExhausted
        (`body_too_large`), AlreadyExists (`name_taken`, `all_taken`), and what `Resources.apply` raises.
        """
        if len(raw) > self.limits.document_bytes:
            raise ResourceExhausted(
                f"The document is larger than {self.limits.document_bytes:,} bytes.",
                code="body_too_large",
                hint="Split it, or raise the setting import_max_document_bytes.",
            )
        job = await asyncio.to_thread(self._read, raw, options, progress or _silent)
        return await settled(lambda: self._attempt(actor, team, job, dry_run=dry_run))

    async def list(self, team: str, *, limit: int = 50, cursor: str = "") -> Page[ImportedApi]:
        """Return the imported APIs by name."""
        check_limit(limit)
        after = read_cursor(cursor, str)
        records = [record for record in await list_definitions(self._store, team) if "/" not in record.name]
        rest = [record for record in records if not after or record.name > after[0]]
        more = make_cursor(rest[limit - 1].name) if len(rest) > limit else ""
        return Page([ImportedApi.of(record) for record in rest[:limit]], len(records), more)

    async def get(self, team: str, name: str) -> ImportedApi:
        """Return one imported API. Raises NotFound (`unknown_api`)."""
        record = await get_definition(self._store, team, name) if "/" not in name else None
        if record is None:
            raise NotFound(f"There is no imported API '{name[:100]}'.", code="unknown_api")
        return ImportedApi.of(record)

    async def delete(self, actor: Actor, team: str, name: str, *, dry_run: bool = False) -> Outcome:
        """Delete an API with the rows it owns.

        Raises NotFound (`unknown_api`), FailedPrecondition (`in_use`) naming routes of others that use its
        clusters.
        """
        await self.get(team, name)
        publication = Publication(f"api/{name}", name)

        async def attempt() -> Outcome:
            async with self._store.read(team) as view:
                work = withdraw(await read_holdings(view, publication), publication)
            return await self._resources.apply(
                actor,
                team,
                work.changes,
                definitions=[work.definition()],
                dry_run=dry_run,
                message=f"delete API {name}",
            )

        return await settled(attempt)

    def _read(self, raw: bytes, options: ImportOptions, progress: Progress) -> _Job:
        progress("reading", 0, 1)
        options = replace(options, source_url=_without_secrets(options.source_url))
        document = read_document(parse_text(raw), source_url=options.source_url, max_operations=self.limits.operations)
        progress("reading", 1, 1)
        name = options.name or api_name(document.title)
        if not re.fullmatch(NAME_PATTERN, name):
            rule = "must be 1 to 100 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
            raise InvalidArgument(
                f"'{name[:100]}' is not a name for an API: it {rule}.",
                code="invalid_name",
                violations=[Violation("/name", rule)],
            )
        domain = checked_domain(options.domain) if options.domain else ""
        return _Job(document, sha256(raw).hexdigest(), replace(options, name=name, domain=domain), progress)

    async def _attempt(self, actor: Actor, team: str, job: _Job, *, dry_run: bool) -> ImportReport:
        options = job.options
        record = await get_definition(self._store, team, options.name)
        plan = await asyncio.to_thread(_plan, job, record)
        publication = _publication(job, plan)
        async with self._store.read(team) as view:
            spot = await find_spot(view, options.listener, options.domain, options.name, self._address)
            holdings = await read_holdings(view, publication, spot)
        work = await asyncio.to_thread(work_out, holdings, publication, spot)
        accounts = with_obstacles(plan, work.obstacles)
        fault = nothing_routed(accounts)
        if fault and not dry_run:
            raise fault
        job.progress("applying", 0, len(work.changes))
        outcome = await self._resources.apply(
            actor,
            team,
            () if fault else work.changes,
            definitions=() if fault else [work.definition(summary=_summary(job, accounts))],
            dry_run=dry_run,
            message=f"import of {options.name}",
        )
        job.progress("applying", len(work.changes), len(work.changes))
        notes = (*plan.notes, *edits(work.kept))
        return ImportReport(
            options.name, job.document, job.document_hash, accounts, plan.servers, notes, spot, work.told(outcome)
        )


def _without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment: it is kept, and shown to whoever may look."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url)[0])


def _silent(_stage: str, _done: int, _total: int) -> None:
    return


def _plan(job: _Job, record: ApiDefinition | None) -> Plan:
    applied = record.last_applied if record else {}
    clusters = {key.removeprefix("cluster/"): doc for key, doc in applied.items() if key.startswith("cluster/")}
    target = Target(job.options.name, job.options.upstream, job.options.path)
    return make_plan(job.document, target, previous_clusters=clusters, progress=job.progress)


def _publication(job: _Job, plan: Plan) -> Publication:
    return Publication(
        f"api/{job.options.name}",
        job.options.name,
        plan.clusters,
        {route.name: (route.document, route.footprint) for route in plan.routes},
        job.document_hash,
        {"target": asdict(job.options)},
    )


def _summary(job: _Job, accounts: Sequence[Account]) -> dict[str, Any]:
    document = job.document
    return {
        "title": document.title[:_LONGEST_TITLE],
        "version": document.api_version[:_LONGEST_TITLE],
        "openapi": document.version,
        "totals": totals(accounts),
        "operations": [account_document(account) for account in accounts],
    }
