"""Where the routes of a virtual host stand: numbers with gaps, so that a change of order moves few rows. Pure."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence

from headgate.controlplane.model.rows import POSITION_GAP


def arrange(order: Sequence[str], stored: Mapping[str, int], moved: Collection[str] = ()) -> dict[str, int]:
    """Positions for the names in this order.

    As many names as can keep the position they have in `stored`; the others go into the gaps. Unless the
    order is as stored, names in `moved` get another position rather than those around them. Where a gap is
    too small, all are numbered afresh.
    """
    known = [(name, stored[name]) for name in order if name in stored]
    kept = _longest_rise(known)
    if moved and len(kept) < len(known):
        kept = _longest_rise([(name, position) for name, position in known if name not in moved])
    positions: dict[str, int] = {}
    waiting: list[str] = []
    last: int | None = None
    for name in order:
        if name not in kept:
            waiting.append(name)
            continue
        between = _fill(last, stored[name], len(waiting))
        if between is None:
            return {name: (index + 1) * POSITION_GAP for index, name in enumerate(order)}
        positions |= zip(waiting, between, strict=True)
        last = positions[name] = stored[name]
        waiting = []
    start = 0 if last is None else last
    positions |= {name: start + (index + 1) * POSITION_GAP for index, name in enumerate(waiting)}
    return positions


def _fill(low: int | None, high: int, count: int) -> list[int] | None:
    """`count` positions between two, evenly; None when there is no room."""
    if low is None:
        return [high - (count - index) * POSITION_GAP for index in range(count)]
    step = (high - low) // (count + 1)
    return None if step == 0 else [low + (index + 1) * step for index in range(count)]


def _longest_rise(items: Sequence[tuple[str, int]]) -> set[str]:
    """The names of a longest subsequence whose positions rise (patience sorting)."""
    tops: list[int] = []
    top_items: list[int] = []
    previous: list[int] = []
    for index, (_, position) in enumerate(items):
        pile = bisect_left(tops, position)
        previous.append(top_items[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [position]
        top_items[pile : pile + 1] = [index]
    chosen: set[str] = set()
    index = top_items[-1] if top_items else -1
    while index >= 0:
        chosen.add(items[index][0])
        index = previous[index]
    return chosen
