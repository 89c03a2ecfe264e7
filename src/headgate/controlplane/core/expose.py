"""Exposed services: a URL under a path of the gateway, in one revision."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from headgate.controlplane.core.changes import Actor, Outcome, Page
from headgate.controlplane.core.gateway import GatewayAddress, Spot, checked_domain, find_spot
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.core.publication import Placement, Publication, Work, read_holdings, settled
from headgate.controlplane.core.publishing import withdraw, work_out
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.model.base import NAME_PATTERN
from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.publish import cluster_document, host_rewrite, read_mount, read_upstream
from headgate.controlplane.openapi.servers import Origin, Server
from headgate.controlplane.store.api_definitions import ApiDefinition, get_definition, list_definitions
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import AlreadyExists, InvalidArgument, NotFound, Violation

_PREFIX = "expose/"


@dataclass(frozen=True, slots=True)
class ExposeOptions:
    """What to publish where.

    A `url` with a path, even `/`, has that path instead of `path` in requests to the service; one without
    leaves the path as it is. `domain` and `listener` may be empty: every domain, the default listener.
    """

    name: str
    url: str
    path: str
    domain: str = ""
    listener: str = ""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A service that is exposed."""

    options: ExposeOptions
    placement: Placement | None
    revision: int
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ExposeReport:
    """What exposing did, or in a dry run would do. `edits` says which fields keep what was set by hand."""

    options: ExposeOptions
    spot: Spot
    outcome: Outcome
    edits: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self.spot.url + (self.options.path or "/")


class Expose:
    """The use cases on exposed services. `address` is where the default listener is made when it is absent."""

    def __init__(self, store: Store, resources: Resources, *, address: GatewayAddress | None = None) -> None:
        self._store = store
        self._resources = resources
        self._address = address or GatewayAddress()

    async def run(self, actor: Actor, team: str, options: ExposeOptions, *, dry_run: bool = False) -> ExposeReport:
        """Publish a URL, or change what is published under the name.

        Raises InvalidArgument (`invalid_name`, `invalid_upstream`, `invalid_path`, `invalid_domain`),
        AlreadyExists (`name_taken`, `path_taken`), and what `find_spot` and `Resources.apply` raise.
        """
        checked = _checked(options)
        publication = _publication(checked, read_upstream(options.url, "/url"))
        return await settled(lambda: self._attempt(actor, team, checked, publication, dry_run=dry_run))

    async def list(self, team: str, *, limit: int = 50, cursor: str = "") -> Page[Exposed]:
        """Return the exposed services by name."""
        check_limit(limit)
        after = read_cursor(cursor, str)
        records = [record for record in await list_definitions(self._store, team) if record.name.startswith(_PREFIX)]
        rest = [record for record in records if not after or record.name > after[0]]
        more = make_cursor(rest[limit - 1].name) if len(rest) > limit else ""
        return Page([_exposed(record) for record in rest[:limit]], len(records), more)

    async def get(self, team: str, name: str) -> Exposed:
        """Return one exposed service. Raises NotFound (`unknown_service`)."""
        record = await get_definition(self._store, team, _PREFIX + name)
        if record is None:
            raise NotFound(f"Nothing is exposed under the name '{name[:100]}'.", code="unknown_service")
        return _exposed(record)

    async def delete(self, actor: Actor, team: str, name: str, *, dry_run: bool = False) -> Outcome:
        """Take back what was exposed. Raises NotFound (`unknown_service`), FailedPrecondition (`in_use`)."""
        await self.get(team, name)
        publication = Publication(_PREFIX + name, _PREFIX + name)

        async def attempt() -> Outcome:
            async with self._store.read(team) as view:
                work = withdraw(await read_holdings(view, publication), publication)
            return await self._resources.apply(
                actor, team, work.changes, definitions=[work.definition()], dry_run=dry_run, message=f"unexpose {name}"
            )

        return await settled(attempt)

    async def _attempt(
        self, actor: Actor, team: str, options: ExposeOptions, publication: Publication, *, dry_run: bool
    ) -> ExposeReport:
        async with self._store.read(team) as view:
            spot = await find_spot(view, options.listener, options.domain, options.name, self._address)
            work = work_out(await read_holdings(view, publication, spot), publication, spot)
        _refuse_obstacles(options, work)
        outcome = await self._resources.apply(
            actor,
            team,
            work.changes,
            definitions=[work.definition()],
            dry_run=dry_run,
            message=f"expose {options.name}",
        )
        edits = tuple(f"{row.kind} '{row.name}': {', '.join(row.pointers)}" for row in work.kept)
        return ExposeReport(options, spot, work.told(outcome), edits)


def _checked(options: ExposeOptions) -> ExposeOptions:
    if not re.fullmatch(NAME_PATTERN, options.name):
        rule = "must be 1 to 100 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
        raise InvalidArgument(
            f"'{options.name[:100]}' is not a name for a service: it {rule}.",
            code="invalid_name",
            violations=[Violation("/name", rule)],
        )
    domain = checked_domain(options.domain) if options.domain else ""
    return ExposeOptions(options.name, options.url.strip(), read_mount(options.path), domain, options.listener)


def _publication(options: ExposeOptions, server: Server) -> Publication:
    origin = server.origin or Origin("http", "", 0)
    document = _route(options, server, origin)
    wanted = {
        "name": options.name,
        "url": options.url,
        "path": options.path or "/",
        "domain": options.domain,
        "listener": options.listener,
    }
    return Publication(
        _PREFIX + options.name,
        _PREFIX + options.name,
        {options.name: cluster_document(origin)},
        {options.name: (document, Footprint.of(document))},
        options={"target": wanted},
    )


def _route(options: ExposeOptions, server: Server, origin: Origin) -> dict[str, Any]:
    path = {"path_separated_prefix": options.path} if options.path else {"prefix": "/"}
    forward = {"cluster": options.name, "upgrades": ["websocket"], **host_rewrite(origin)}
    replacement = server.base + ("/" if urlsplit(options.url).path.endswith("/") else "")
    if replacement and (options.path or replacement != "/"):
        # Of two slashes that would meet, one stays.
        slash = "/?" if replacement.endswith("/") or not options.path else ""
        end = "" if replacement.endswith("/") or options.path else "/"
        pattern = f"^{re.escape(options.path)}{slash}"
        forward["regex_rewrite"] = {"pattern": pattern, "substitution": replacement + end}
    return {"name": options.name, "match": {"path": path}, "forward": forward}


def _refuse_obstacles(options: ExposeOptions, work: Work) -> None:
    for obstacle in work.obstacles.values():
        way = "is taken by" if obstacle.code == "taken" else "cannot be had beside"
        raise AlreadyExists(
            f"The path '{options.path or '/'}' {way} {obstacle.holder.described}.",
            code="path_taken",
            hint="Choose another path (--path), or a domain (--domain).",
            violations=[Violation("/path", f"{way} '{obstacle.holder.name}'")],
        )


def _exposed(record: ApiDefinition) -> Exposed:
    options = ExposeOptions(**record.options["target"])
    return Exposed(options, Placement.of(record), record.revision, record.created_at, record.updated_at)
