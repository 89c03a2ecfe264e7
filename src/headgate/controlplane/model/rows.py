"""The rows a team's configuration is kept in, and what happens to them.

A route config travels as one document and is kept as one row for itself (its virtual hosts without
their routes) and one row per route, so that an edit of one route among thousands reads, writes,
records and translates one row.

A row's name is unique per team and kind; that of a route is `route_config/virtual_host/route`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

RowKind = Literal["cluster", "route_config", "route", "listener", "secret"]

Document = Mapping[str, Any]
"""A JSON object as the user wrote it: fields left out are absent, so defaults are never frozen into it."""

POSITION_GAP = 1 << 20
"""Distance between neighbours when routes are numbered afresh: an insertion then moves no other row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored document. `position` orders the routes of a virtual host; `owner` names what manages the
    row (`""` a person through the Native API, `api/NAME` an imported API definition, `expose/NAME`).
    """  # noqa: D205

    kind: RowKind
    name: str
    spec: Document
    position: int = 0
    owner: str = ""


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row before and after; None is absent. One of the two is there."""

    before: Row | None
    after: Row | None

    @property
    def row(self) -> Row:
        """The newest state of the row that there was."""
        row = self.after or self.before
        assert row is not None  # noqa: S101 - the type cannot say "not both None"
        return row


def explode(name: str, spec: Document) -> tuple[Document, list[tuple[str, Document]]]:
    """Split a route config document.

    Returns the document with the routes of every virtual host taken out, and the routes in order,
    each as (row name, document).
    """
    routes = [
        (f"{name}/{host['name']}/{route['name']}", route)
        for host in spec.get("virtual_hosts", [])
        for route in host.get("routes", [])
    ]
    hosts = [{key: value for key, value in host.items() if key != "routes"} for host in spec.get("virtual_hosts", [])]
    return ({**spec, "virtual_hosts": hosts} if "virtual_hosts" in spec else dict(spec)), routes


def assemble(spec: Document, routes: Iterable[Row]) -> dict[str, Any]:
    """Put a route config document together again from its row's spec and its route rows."""
    by_host: dict[str, list[Row]] = {}
    for row in routes:
        by_host.setdefault(row.name.split("/")[1], []).append(row)
    hosts = []
    for host in spec.get("virtual_hosts", []):
        rows = sorted(by_host.get(host["name"], ()), key=lambda row: row.position)
        hosts.append({**host, "routes": [row.spec for row in rows]} if rows else dict(host))
    return {**spec, "virtual_hosts": hosts} if "virtual_hosts" in spec else dict(spec)
