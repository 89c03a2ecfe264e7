"""A team's rows while changes are worked out: as stored, and as they will be. Holds only what was loaded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headgate.controlplane.core.positions import arrange
from headgate.controlplane.model.base import Spec
from headgate.controlplane.model.rows import POSITION_GAP, Document, Row, RowChange, RowKind, assemble
from headgate.controlplane.store.edit import Key
from headgate.controlplane.store.view import Lane, LaneKey, StoredRow

_ORDER: Mapping[RowKind, int] = {"secret": 0, "cluster": 1, "route_config": 2, "route": 3, "listener": 4}


@dataclass
class LaneDraft:
    """The order of a virtual host's routes: all of it (`whole`), or only what is put at the end."""

    stored: Lane
    names: dict[str, None]
    """In order. A dict, because taking out and putting last must not cost a walk."""
    moved: set[str] = field(default_factory=set)

    @property
    def whole(self) -> bool:
        """Whether every route is known."""
        return self.stored.positions is not None

    def place(self, name: str, before: str, at: int | None) -> bool:
        """Put a route in front of another, or last (""). `at` is its position when it is there already."""
        if not before and not self.whole and not self.names and at == self.stored.last:
            return True
        self.drop(name)
        if at is not None:
            self.moved.add(name)
        if not before:
            self.names[name] = None
            return True
        if before not in self.names:
            return False
        order = list(self.names)
        order.insert(order.index(before), name)
        self.names = dict.fromkeys(order)
        return True

    def drop(self, name: str) -> None:
        """Take a route out."""
        self.names.pop(name, None)

    def positions(self) -> dict[str, int]:
        """The position of every route that is known here."""
        if self.stored.positions is not None:
            return arrange(list(self.names), self.stored.positions, self.moved)
        return {name: self.stored.last + (index + 1) * POSITION_GAP for index, name in enumerate(self.names)}


def lane_of(route: str) -> LaneKey:
    """The route config and the virtual host of a route's row name."""
    config, host, _ = route.split("/")
    return config, host


@dataclass
class Draft:
    """`whole` names the route configs all of whose routes are loaded; `origins` tells where each wanted row
    stands in what the caller sent, as a JSON pointer.
    """  # noqa: D205

    stored: dict[Key, StoredRow] = field(default_factory=dict)
    wanted: dict[Key, Row | None] = field(default_factory=dict)
    specs: dict[Key, Spec] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    lanes: dict[LaneKey, LaneDraft] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def before(self, kind: RowKind, name: str) -> Row | None:
        """The row as stored."""
        stored = self.stored.get((kind, name))
        return stored.row if stored else None

    def current(self, kind: RowKind, name: str) -> Row | None:
        """The row as it will be, as far as decided."""
        key = (kind, name)
        return self.wanted[key] if key in self.wanted else self.before(kind, name)

    def put(self, row: Row, spec: Spec | None, origin: str) -> None:
        """Want a row; `spec` is its validated model (None for what names nothing)."""
        key = (row.kind, row.name)
        self.wanted[key] = row
        self.origins[key] = origin
        if spec is not None:
            self.specs[key] = spec

    def remove(self, kind: RowKind, name: str, origin: str) -> None:
        """Want a row gone."""
        self.wanted[kind, name] = None
        self.origins[kind, name] = origin
        self.specs.pop((kind, name), None)
        if kind == "route" and (lane := self.lanes.get(lane_of(name))):
            lane.drop(name)

    def add_stored(self, rows: Iterable[StoredRow]) -> None:
        """Take in rows as stored."""
        self.stored |= {(stored.row.kind, stored.row.name): stored for stored in rows}

    def load_whole(self, config: str, routes: Sequence[StoredRow]) -> None:
        """Take in every route of a route config, in order."""
        self.add_stored(routes)
        self.whole.add(config)
        by_lane: dict[LaneKey, dict[str, int]] = {}
        for stored in routes:
            by_lane.setdefault(lane_of(stored.row.name), {})[stored.row.name] = stored.row.position
        for key, positions in by_lane.items():
            lane = Lane(max(positions.values()), len(positions), positions)
            self.lanes[key] = LaneDraft(lane, dict.fromkeys(positions))

    def lane(self, key: LaneKey) -> LaneDraft:
        """The order of a virtual host; empty when it was not loaded because there is nothing of it."""
        return self.lanes.setdefault(key, LaneDraft(Lane(0, 0, {}), {}))

    def routes_of(self, config: str) -> list[str]:
        """The row names of the routes of a whole route config, virtual host by virtual host, in order."""
        return [name for (owner, _), lane in self.lanes.items() if owner == config for name in lane.names]

    def settle(self) -> list[str]:
        """Give every wanted route its position; return the routes that move and are not loaded."""
        missing: list[str] = []
        for lane in self.lanes.values():
            for name, position in lane.positions().items():
                row = self.current("route", name)
                if row is not None and row.position != position:
                    self.wanted["route", name] = replace(row, position=position)
                elif row is None and lane.stored.positions and lane.stored.positions.get(name) != position:
                    missing.append(name)
        return missing

    def changes(self) -> list[RowChange]:
        """What differs, each kind after those it refers to."""
        found = [
            RowChange(self.before(*key), row)
            for key, row in self.wanted.items()
            if not (row is None and key not in self.stored) and row != self.before(*key)
        ]
        return sorted(found, key=lambda change: _ORDER[change.row.kind])

    def document_before(self, kind: RowKind, name: str) -> Document | None:
        """The whole document of a resource as stored."""
        row = self.before(kind, name)
        if row is None or kind != "route_config":
            return row.spec if row else None
        routes = [s.row for (k, n), s in self.stored.items() if k == "route" and n.startswith(f"{name}/")]
        return assemble(row.spec, routes)

    def document(self, kind: RowKind, name: str) -> Document | None:
        """The whole document of a resource as it will be."""
        row = self.current(kind, name)
        if row is None or kind != "route_config":
            return row.spec if row else None
        hosts = []
        for host in row.spec.get("virtual_hosts", []):
            lane = self.lanes.get((name, host["name"]))
            routes = [self.current("route", route) for route in (lane.names if lane else ())]
            hosts.append({**host, "routes": [route.spec for route in routes if route]} if routes else dict(host))
        return {**row.spec, "virtual_hosts": hosts} if "virtual_hosts" in row.spec else dict(row.spec)
