"""From what is there to what an owner wants to publish: the changes in between. Pure.

What the owner published last is merged with what is stored now and what is wanted next, so that fields
people edited survive; routes are put where their requests reach them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.gateway import Spot, with_hosts
from headgate.controlplane.core.publication import Holdings, Kept, Placement, Publication, Work
from headgate.controlplane.core.validation import MODELS, label
from headgate.controlplane.model.merge import merge
from headgate.controlplane.model.rows import Document
from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.placement import Obstacle, Placed, before_whom, obstacles
from headgate.controlplane.store.api_definitions import ApiDefinition
from headgate.controlplane.store.view import StoredRow
from headgate.kit.controls.faults import AlreadyExists


def work_out(holdings: Holdings, publication: Publication, spot: Spot) -> Work:
    """Work out how to get what is wanted.

    Raises AlreadyExists (`name_taken`) when somebody else has a cluster of a wanted name.
    """
    routes = _Routes(holdings, publication, spot)
    wanted = {name: doc for name, (doc, _) in publication.routes.items() if name not in routes.obstacles}
    needed = {document["forward"]["cluster"] for document in wanted.values()}
    clusters = _Clusters(
        holdings, publication, {name: doc for name, doc in publication.clusters.items() if name in needed}
    )
    last, placement = Placement.of(holdings.record), _placement(holdings, spot)
    left = last if last and not _same_host(last, placement) else None
    gone = _removable(holdings, left, publication.owner)
    applied = {f"cluster/{name}": doc for name, doc in clusters.wanted.items()}
    applied |= {f"route/{spot.route_config}/{spot.virtual_host}/{name}": doc for name, doc in wanted.items()}
    record = ApiDefinition(
        publication.definition,
        publication.document_hash,
        {**publication.options, "placement": placement.document()},
        applied,
    )
    hosts = _host_changes(holdings, spot if wanted else None, gone)
    guard = [] if hosts else _guard(holdings, spot, routes.places)
    changes = [
        *clusters.changes,
        *(spot.making if wanted else ()),
        *hosts,
        *guard,
        *routes.changes(),
        *_deleted_routes(holdings, publication.owner, {key.removeprefix("route/") for key in applied}, gone),
        *_deleted_clusters(holdings, publication.owner, clusters.wanted),
    ]
    kept = (*clusters.kept, *routes.kept)
    guards = frozenset(change.name for change in guard)
    return Work(changes, publication.definition, record, routes.obstacles, kept, guards)


def withdraw(holdings: Holdings, publication: Publication) -> Work:
    """Work out how to take back everything the owner has."""
    gone = _removable(holdings, Placement.of(holdings.record), publication.owner)
    changes = [
        *_host_changes(holdings, None, gone),
        *_deleted_routes(holdings, publication.owner, frozenset(), gone),
        *_deleted_clusters(holdings, publication.owner, frozenset()),
    ]
    return Work(changes, publication.definition, None)


class _Clusters:
    """The wanted clusters: what to create and to replace."""

    def __init__(self, holdings: Holdings, publication: Publication, wanted: Mapping[str, Document]) -> None:
        self.wanted = wanted
        self.changes: list[Change] = []
        self.kept: list[Kept] = []
        for name, document in wanted.items():
            stored = holdings.clusters.get(name)
            if stored is None:
                self.changes.append(Change("create", "cluster", name, document, owner=publication.owner))
                continue
            if stored.row.owner != publication.owner:
                raise AlreadyExists(
                    f"There is a {label('cluster', name)} already, and '{publication.owner}' does not own it.",
                    code="name_taken",
                    hint="Choose another name (--name).",
                )
            merged = _merged(holdings, stored, document, self.kept)
            if merged != stored.row.spec:
                self.changes.append(Change("replace", "cluster", name, merged, if_match=_etag(stored)))


class _Routes:
    """The wanted routes: merged with what is stored, placed, and less those that cannot be had."""

    def __init__(self, holdings: Holdings, publication: Publication, spot: Spot) -> None:
        self._owner = publication.owner
        self._prefix = f"{spot.route_config}/{spot.virtual_host}/"
        self.kept: list[Kept] = []
        lane = holdings.lane(spot.route_config, spot.virtual_host)
        self._mine = {_short(stored): stored for stored in lane if stored.row.owner == self._owner}
        existing = [Placed(_short(stored), stored.row.owner, Footprint.of(stored.row.spec)) for stored in lane]
        before = {placed.name: placed.footprint for placed in existing if placed.owner == self._owner}
        self._documents: dict[str, Document] = {}
        fresh: dict[str, Footprint] = {}
        for name, (document, _) in publication.routes.items():
            stored = self._mine.get(name)
            merged = _merged(holdings, stored, document, self.kept) if stored else document
            self._documents[name] = merged
            footprint = Footprint.of(merged)
            if before.get(name) != footprint:
                fresh[name] = footprint
        staying = [
            placed
            for placed in existing
            if placed.owner != self._owner or (placed.name in self._documents and placed.name not in fresh)
        ]
        self.places = before_whom(fresh, staying)
        self.obstacles: Mapping[str, Obstacle] = obstacles(fresh, staying, self._owner, self.places)

    def changes(self) -> list[Change]:
        """Fresh routes in the order of their specificity, then those that stay where they are."""
        changes: list[Change] = []
        for name in [*self.places, *(name for name in self._documents if name not in self.places)]:
            stored, document = self._mine.get(name), self._documents[name]
            if name in self.obstacles:
                continue
            if stored is None:
                change = Change("create", "route", self._prefix + name, document, owner=self._owner)
            elif document != stored.row.spec:
                change = Change("replace", "route", self._prefix + name, document, if_match=_etag(stored))
            else:
                continue
            changes.append(_placed_before(change, self.places.get(name)))
        return changes


def _placed_before(change: Change, before: str | None) -> Change:
    # A new route without a place goes last anyway, and then the others need not be read.
    if before is None or (before == "" and change.operation == "create"):
        return change
    return Change(change.operation, "route", change.name, change.document, change.if_match, change.owner, before=before)


def _merged(holdings: Holdings, stored: StoredRow, wanted: Document, kept: list[Kept]) -> Document:
    kind, name = stored.row.kind, stored.row.name
    base = holdings.record.last_applied.get(f"{kind}/{name}", {}) if holdings.record else {}
    result = merge(base, stored.row.spec, wanted)
    if not result.kept:
        return result.document
    try:
        MODELS[kind].model_validate(result.document)
    except ValidationError:
        # The edit and the wish do not go together: the edit stays.
        kept.append(Kept(kind, name, result.kept, result.kept))
        return stored.row.spec
    kept.append(Kept(kind, name, result.kept, result.contested))
    return result.document


def _placement(holdings: Holdings, spot: Spot) -> Placement:
    last = Placement.of(holdings.record)
    here = Placement(spot.listener, spot.route_config, spot.virtual_host, spot.makes_host)
    stays = last is not None and _same_host(last, here)
    return Placement(
        here.listener, here.route_config, here.virtual_host, here.made_host or (stays and bool(last and last.made_host))
    )


def _same_host(one: Placement, other: Placement) -> bool:
    return (one.route_config, one.virtual_host) == (other.route_config, other.virtual_host)


def _removable(holdings: Holdings, placement: Placement | None, owner: str) -> Mapping[str, str]:
    """The virtual host that was made for the owner and has nobody else's routes, by route config."""
    if placement is None or not placement.made_host:
        return {}
    config, host = placement.route_config, placement.virtual_host
    stored = holdings.configs.get(config)
    there = stored and any(known["name"] == host for known in stored.row.spec.get("virtual_hosts", []))
    alone = all(row.row.owner == owner for row in holdings.lane(config, host))
    return {config: host} if there and alone else {}


def _host_changes(holdings: Holdings, spot: Spot | None, gone: Mapping[str, str]) -> list[Change]:
    """Rewrite each route config once for the virtual hosts it gains and loses."""
    adding = {spot.route_config: spot.new_host} if spot and spot.new_host else {}
    changes = []
    for config in dict.fromkeys([*adding, *gone]):
        stored = holdings.configs[config]
        remove = [gone[config]] if config in gone else []
        document = with_hosts(stored, holdings.routes.get(config, ()), adding.get(config), remove)
        changes.append(Change("replace", "route_config", config, document, if_match=_etag(stored)))
    return changes


def _guard(holdings: Holdings, spot: Spot, places: Mapping[str, str]) -> list[Change]:
    """Change nothing of the route config, but insist that it is the one in which the places were found.

    Else two writers could put their routes in an order in which one hides the other.
    """
    stored = holdings.configs.get(spot.route_config)
    if stored is None or not places:
        return []
    return [Change("patch", "route_config", spot.route_config, {}, if_match=_etag(stored))]


def _deleted_routes(holdings: Holdings, owner: str, keep: Collection[str], gone: Mapping[str, str]) -> list[Change]:
    """Delete the owner's other routes, but for those which go with the virtual host they are in."""
    return [
        Change("delete", "route", stored.row.name)
        for config, rows in holdings.routes.items()
        for stored in rows
        if stored.row.owner == owner
        and stored.row.name not in keep
        and not (config in gone and stored.row.name.startswith(f"{config}/{gone[config]}/"))
    ]


def _deleted_clusters(holdings: Holdings, owner: str, keep: Collection[str]) -> list[Change]:
    owned = [name for name, stored in holdings.clusters.items() if stored.row.owner == owner]
    return [Change("delete", "cluster", name) for name in owned if name not in keep]


def _short(stored: StoredRow) -> str:
    return stored.row.name.split("/")[2]


def _etag(stored: StoredRow) -> str:
    return f'"{stored.revision}"'


def describe_route(document: Mapping[str, Any]) -> str:
    """What a route takes, in a few words: `GET /orders/{id}`."""
    match = document["match"]
    methods: Sequence[str] = match.get("methods") or ["*"]
    return f"{','.join(methods)} {next(iter(match['path'].values()))}"
