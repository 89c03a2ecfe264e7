"""The figures of calls as text, in Prometheus' two formats.

The library builds an object for each line of each histogram and formats its labels every time: tens of
milliseconds for some hundred routes, during which a service does nothing else. Here what stays the same of a
line is made once. https://prometheus.io/docs/instrumenting/exposition_formats/, RFC draft OpenMetrics 1.0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

Labels = tuple[str, ...]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it says, the names of its labels."""

    name: str
    text: str
    labels: Labels


class Exemplar(NamedTuple):
    """A call of a bucket: its trace, its seconds, and when it was, in seconds since 1970."""

    trace_id: str
    span_id: str
    seconds: float
    time: float


class Times:
    """A histogram's figures; one more bucket than bounds."""

    __slots__ = ("buckets", "exemplars", "total")

    def __init__(self, bounds: int) -> None:
        self.buckets = [0] * (bounds + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, other: "Times") -> None:
        """Count in another one's figures."""
        self.total += other.total
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets, strict=True)]
        self.exemplars.update(other.exemplars)


class Text:
    """Writes families; remembers what stays the same of their lines. `bounds` are those of all histograms."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*(repr(float(bound)) for bound in bounds), "+Inf")
        self._parts: dict[tuple[str, Labels], tuple[str, ...]] = {}

    def numbers(
        self, family: Family, kind: str, figures: Mapping[Labels, float], *, open_metrics: bool
    ) -> Iterable[str]:
        """A `counter` or `gauge`."""
        sample = f"{family.name}_total" if kind == "counter" else family.name
        yield from _head(family, family.name if open_metrics else sample, kind)
        for labels, value in figures.items():
            yield f"{self._prefix(family, sample, labels)}{value}\n"

    def histogram(self, family: Family, figures: Mapping[Labels, Times], *, open_metrics: bool) -> Iterable[str]:
        """A histogram, in OpenMetrics with its exemplars."""
        yield from _head(family, family.name, "histogram")
        for labels, times in figures.items():
            parts = self._histogram_parts(family, labels)
            exemplars = times.exemplars if open_metrics else {}
            total = 0
            for position, total in enumerate(accumulate(times.buckets)):
                exemplar = exemplars.get(position)
                yield f"{parts[position]}{total}{_told(exemplar) if exemplar else ''}\n"
            yield f"{parts[-2]}{total}\n{parts[-1]}{times.total!r}\n"

    def _prefix(self, family: Family, sample: str, labels: Labels) -> str:
        key = (family.name, labels)
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = (f"{sample}{{{_pairs(family.labels, labels)}}} ",)
        return found[0]

    def _histogram_parts(self, family: Family, labels: Labels) -> tuple[str, ...]:
        key = (family.name, labels)
        found = self._parts.get(key)
        if found is None:
            pairs = _pairs(family.labels, labels)
            buckets = (f'{family.name}_bucket{{{pairs},le="{bound}"}} ' for bound in self._bounds)
            found = (*buckets, f"{family.name}_count{{{pairs}}} ", f"{family.name}_sum{{{pairs}}} ")
            self._parts[key] = found
        return found


def _head(family: Family, name: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {family.text}\n", f"# TYPE {name} {kind}\n"


def _pairs(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))


def _told(exemplar: Exemplar) -> str:
    trace = f'trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"'
    return f" # {{{trace}}} {exemplar.seconds!r} {exemplar.time:.3f}"
