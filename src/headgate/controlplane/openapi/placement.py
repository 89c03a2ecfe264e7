"""Placement: where routes go among those a virtual host has, and which of them cannot be reached there.

Envoy takes the first route that matches. Routes that Headgate places (of imported APIs and of exposed
services) are kept in the order of their specificity; routes that people wrote stay where they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headgate.controlplane.openapi.footprint import Footprint


@dataclass(frozen=True, slots=True)
class Placed:
    """A route that is there. `owner` is "" for one that people wrote."""

    name: str
    owner: str
    footprint: Footprint

    @property
    def described(self) -> str:
        """The route in a sentence."""
        return f"the route '{self.name}'" + (f" of {self.owner}" if self.owner else ", which somebody wrote by hand")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a route cannot be placed: code `taken` (its requests go elsewhere already), `shadowed` (a broader
    route stands in front) or `name_taken`; and the route in the way.
    """  # noqa: D205

    code: str
    holder: Placed


def obstacles(
    fresh: Mapping[str, Footprint], staying: Sequence[Placed], owner: str, places: Mapping[str, str]
) -> dict[str, Obstacle]:
    """The fresh routes of `owner` that cannot be had beside the staying ones of others.

    `places` names the staying route each is to be put in front of (see `before_whom`).
    """
    order = {placed.name: index for index, placed in enumerate(staying)}
    others = [placed for placed in staying if placed.owner != owner]
    names = {placed.name: placed for placed in others}
    by_shape: dict[tuple[str, ...], list[Placed]] = defaultdict(list)
    for placed in others:
        by_shape[placed.footprint.shape].append(placed)
    walls = _Walls(placed for placed in others if not placed.owner)
    found: dict[str, Obstacle] = {}
    for name, footprint in fresh.items():
        taken = next((held for held in by_shape[footprint.shape] if held.footprint.meets(footprint)), None)
        if name in names:
            found[name] = Obstacle("name_taken", names[name])
        elif taken:
            found[name] = Obstacle("taken", taken)
        else:
            end = order.get(places[name], len(staying))
            wall = next((wall for wall in walls.around(footprint) if order[wall.name] < end), None)
            if wall:
                found[name] = Obstacle("shadowed", wall)
    return found


def before_whom(fresh: Mapping[str, Footprint], staying: Sequence[Placed]) -> dict[str, str]:
    """For every fresh route, in the order they are to be inserted: the staying route to put it in front of.

    "" puts it last. Inserted one after another, the fresh ones end up ordered by specificity.
    """
    managed = [placed for placed in staying if placed.owner]
    end = _end(staying)
    places: dict[str, str] = {}
    index = 0
    for name, footprint in sorted(fresh.items(), key=lambda item: (item[1].specificity, item[0])):
        while index < len(managed) and managed[index].footprint.specificity <= footprint.specificity:
            index += 1
        places[name] = managed[index].name if index < len(managed) else end
    return places


def _end(existing: Sequence[Placed]) -> str:
    """The first of the routes at the very end that take everything: what is put behind them is never tried."""
    end = ""
    for placed in reversed(existing):
        if placed.owner or not placed.footprint.takes_everything:
            break
        end = placed.name
    return end


class _Walls:
    """Routes that may take the requests of others away, found by how many segments they have."""

    def __init__(self, routes: Iterable[Placed]) -> None:
        self._deep: list[Placed] = []
        self._by_length: dict[int, list[Placed]] = defaultdict(list)
        for placed in routes:
            pattern = placed.footprint.pattern
            if pattern is not None and not pattern.prefix and not pattern.greedy:
                self._by_length[len(pattern.segments)].append(placed)
            else:
                self._deep.append(placed)

    def around(self, footprint: Footprint) -> Iterator[Placed]:
        """Those that take every request of the footprint when they are tried first."""
        length = len(footprint.pattern.segments) if footprint.pattern else 0
        for wall in (*self._deep, *self._by_length[length]):
            if wall.footprint.swallows(footprint):
                yield wall
