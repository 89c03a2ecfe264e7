"""Publications: clusters and routes that Headgate keeps for an owner (an imported API, an exposed service).

spot = await find_spot(view, ...)                         where it goes
holdings = await read_holdings(view, publication, spot)   what is there
work = work_out(holdings, publication, spot)              what has to change (pure)
await resources.apply(actor, team, work.changes, definitions=[work.definition()])
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from headgate.controlplane.core.changes import Change, Outcome
from headgate.controlplane.core.gateway import Spot
from headgate.controlplane.model.rows import Document, RowKind
from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.placement import Obstacle
from headgate.controlplane.store.api_definitions import ApiDefinition, DefinitionChange
from headgate.controlplane.store.view import StoredRow, TeamView
from headgate.kit.controls.faults import Aborted, Fault

T = TypeVar("T")

ATTEMPTS: Final = 12
"""How often a publication is worked out: of writers that race, one wins each time."""

_RACES: Final = frozenset({"etag_mismatch", "conflict", "already_exists", "not_found"})
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Publication:
    """What an owner wants to have: clusters and routes by name, with the requests each route takes.

    `definition` names the record of it, where `document_hash` and `options` are kept.
    """

    owner: str
    definition: str
    clusters: Mapping[str, Document] = field(default_factory=dict)
    routes: Mapping[str, tuple[Document, Footprint]] = field(default_factory=dict)
    document_hash: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an owner's routes are, as recorded. `made_host`: the virtual host was made for them."""

    listener: str
    route_config: str
    virtual_host: str
    made_host: bool

    @classmethod
    def of(cls, record: ApiDefinition | None) -> "Placement | None":
        """The placement in a record."""
        options = record.options.get("placement") if record else None
        return cls(**options) if options else None

    def document(self) -> dict[str, Any]:
        """As it is recorded."""
        return {name: getattr(self, name) for name in ("listener", "route_config", "virtual_host", "made_host")}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is there: the record of the last time, the clusters in question, and whole route configs."""

    record: ApiDefinition | None
    clusters: Mapping[str, StoredRow]
    configs: Mapping[str, StoredRow]
    routes: Mapping[str, Sequence[StoredRow]]

    def lane(self, config: str, host: str) -> list[StoredRow]:
        """The routes of a virtual host, in order."""
        start = f"{config}/{host}/"
        return [stored for stored in self.routes.get(config, ()) if stored.row.name.startswith(start)]


@dataclass(frozen=True, slots=True)
class Kept:
    """Fields of a row that hold somebody's edit; `contested` are those where what is wanted changed too."""

    kind: RowKind
    name: str
    pointers: Sequence[str]
    contested: Sequence[str]


@dataclass(frozen=True, slots=True)
class Work:
    """What has to change; the record `name` to keep, None to delete it; the wanted routes that cannot be had,
    by name; and the edits that were kept.
    """  # noqa: D205

    changes: Sequence[Change]
    name: str
    record: ApiDefinition | None
    obstacles: Mapping[str, Obstacle] = field(default_factory=dict)
    kept: Sequence[Kept] = ()
    guards: frozenset[str] = frozenset()
    """Route configs that `changes` name only to insist on their ETag."""

    def told(self, outcome: Outcome) -> Outcome:
        """The outcome of the changes without what merely guards them."""
        diffs = [diff for diff in outcome.diffs if diff.kind != "route_config" or diff.name not in self.guards]
        return replace(outcome, diffs=diffs)

    def definition(self, **options: Any) -> DefinitionChange:
        """The change of the record, with these options added to it."""
        record = self.record and replace(self.record, options={**self.record.options, **options})
        return DefinitionChange(self.name, record)


async def settled(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do what reads, works out and applies; again when somebody changed the same things meanwhile."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except Fault as fault:
            if fault.code not in _RACES:
                raise
    raise Aborted(
        f"Others changed the same route config {ATTEMPTS} times while this was worked out.",
        code="conflict",
        hint="Try again.",
    )


async def read_holdings(view: TeamView, publication: Publication, spot: Spot | None = None) -> Holdings:
    """Read what is there of the owner, and what is at the spot."""
    owned = await owned_rows(view, "route", publication.owner)
    configs = {stored.row.name.partition("/")[0] for stored in owned} | ({spot.route_config} if spot else set())
    record = (await view.definitions([publication.definition])).get(publication.definition)
    placement = Placement.of(record)
    if placement:
        configs.add(placement.route_config)
    routes: dict[str, list[StoredRow]] = {}
    for stored in await view.routes_of(configs):
        routes.setdefault(stored.row.name.partition("/")[0], []).append(stored)
    clusters = await view.rows("cluster", publication.clusters)
    clusters |= {stored.row.name: stored for stored in await owned_rows(view, "cluster", publication.owner)}
    return Holdings(record, clusters, await view.rows("route_config", configs), routes)


async def owned_rows(view: TeamView, kind: RowKind, owner: str) -> list[StoredRow]:
    """Every row of a kind that the owner manages, by name."""
    found: list[StoredRow] = []
    while True:
        after = found[-1].row.name if found else ""
        page, _ = await view.page(kind, name_contains="", owner=owner, limit=_PAGE, after=after)
        found += page
        if len(page) < _PAGE:
            return found
