"""The page of metrics: what registries hold, by name, with kind, labels and what it says."""

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from headgate.kit.observe.calls import SharedCalls
from headgate.kit.observe.metrics import Metrics
from headgate.kit.reference.markdown import GENERATED, cell, table


def registry_of_kit() -> CollectorRegistry:
    """A registry with every metric of the kit."""
    registry = Metrics().registry
    # The figures of calls are in no registry, but where workers share them.
    SharedCalls(registry, (1.0,), 1)
    return registry


def metrics_page(sections: Sequence[tuple[str, CollectorRegistry]]) -> str:
    """The page of all metrics; `sections` are titles and registries."""
    tables = "\n".join(f"## {title}\n\n{_table(registry)}" for title, registry in sections)
    return f"""{GENERATED}
# Metrics

What `/metrics` answers, in Prometheus' text format or OpenMetrics. Of a histogram there are `_bucket`, `_sum` and
`_count`. Processes tell of their memory and files, too (`process_*`, `python_*`), unless several workers share one
exposition. Who may read it, and what the labels mean, is in [Observability](../guides/observability.md).

{tables}"""


def _table(registry: CollectorRegistry) -> str:
    return table(("metric", "kind", "labels", "what it says"), sorted(_rows(registry)))


def _rows(registry: CollectorRegistry) -> Iterator[tuple[str, ...]]:
    # Metrics without a label set yet are not in an exposition, and the library tells of them nowhere else.
    known: Any = registry
    for metric in known._collector_to_names:  # noqa: SLF001
        kind = getattr(metric, "_type", "")
        if kind:
            name = metric._name + ("_total" if kind == "counter" else "")  # noqa: SLF001
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
            yield f"`{name}`", kind, labels, cell(metric._documentation)  # noqa: SLF001
