"""Three-way merge of documents: what was applied last, what is stored now, what is wanted next.

A field that people changed since the last application keeps their value; every other field follows what
is wanted. So an import can be repeated over rows that were edited through the Native API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_ABSENT: Final = object()

ATOMIC: Final = frozenset({"path"})
"""Objects with exactly one of several alternatives: halves of two of them make no whole."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged document. `kept` are the JSON pointers of the fields that hold somebody's edit, `contested`
    those of them where what is wanted changed too.
    """  # noqa: D205

    document: dict[str, Any]
    kept: tuple[str, ...]
    contested: tuple[str, ...]


@dataclass(slots=True)
class _Merge:
    kept: list[str] = field(default_factory=list)
    contested: list[str] = field(default_factory=list)

    def value(self, base: Any, stored: Any, wanted: Any, at: str, key: str = "") -> Any:
        if _same(stored, base) or _same(stored, wanted):
            return wanted
        if _same(wanted, base):
            self.kept.append(at)
            return stored
        if key not in ATOMIC:
            if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
                return self.object(base if isinstance(base, Mapping) else {}, stored, wanted, at)
            if _rows_alike(base, stored, wanted):
                triples = zip(base, stored, wanted, strict=True)
                return [self.object(*triple, f"{at}/{index}") for index, triple in enumerate(triples)]
        self.kept.append(at)
        self.contested.append(at)
        return stored

    def object(
        self, base: Mapping[str, Any], stored: Mapping[str, Any], wanted: Mapping[str, Any], at: str
    ) -> dict[str, Any]:
        merged = {}
        for key in [*wanted, *(key for key in stored if key not in wanted)]:
            pointer = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            sides = (base.get(key, _ABSENT), stored.get(key, _ABSENT), wanted.get(key, _ABSENT))
            value = self.value(*sides, pointer, key)
            if value is not _ABSENT:
                merged[key] = value
        return merged


def merge(base: Mapping[str, Any], stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> Merged:
    """Merge three documents of JSON values.

    A list is one value, unless all three are lists of as many objects, which are merged one by one.
    """
    merging = _Merge()
    document = merging.object(base, stored, wanted, "")
    return Merged(document, tuple(merging.kept), tuple(merging.contested))


def _same(one: Any, other: Any) -> bool:
    # In JSON true is not 1, and in Python it is.
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _rows_alike(*sides: Any) -> bool:
    return all(isinstance(side, Sequence) and not isinstance(side, str) for side in sides) and all(
        len(side) == len(sides[0]) and all(isinstance(row, Mapping) for row in side) for side in sides
    )
