"""What an audit row says of a change: how many of what, and the first of them by name. Never a document."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

_NAMED: Final = 50
Touched = tuple[str, str, str]
"""(kind, name, what became of it)."""


def target_of(touched: Sequence[Touched]) -> str:
    """`kind/name` of the one resource, or how many there are."""
    if len(touched) == 1:
        kind, name, _ = touched[0]
        return f"{kind}/{name}"
    return f"{len(touched)} resources"


def detail_of(touched: Sequence[Touched], message: str) -> dict[str, Any]:
    """{"message", "counts": {what: how many}, "resources": the first 50 as [kind, name, what]}."""
    counts = Counter(what for _, _, what in touched)
    return {"message": message, "counts": dict(counts), "resources": [list(item) for item in touched[:_NAMED]]}
