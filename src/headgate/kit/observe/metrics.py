"""Metrics in Prometheus' text formats, in a registry of our own.

Labels never hold what a caller can choose: a call is counted under its route's template, a known method and
its code, and the number of label sets has a bound beyond which they count as "(other)".

    metrics = Metrics()
    Measure(metrics)                                       # the control which counts calls
    Breakers(..., observer=metrics.breakers)               # rooms tell what they do
    body, content_type = metrics.expose("application/openmetrics-text")

With several workers, `PROMETHEUS_MULTIPROC_DIR` names a directory they share (`headgate.kit.observe.workers`);
whichever is asked then answers for all of them. Exemplars are for one process only.
"""

import os
import platform
from typing import Any, Final

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from headgate import __version__
from headgate.kit.controls.call import Call
from headgate.kit.observe.calls import PlainCalls, SharedCalls
from headgate.kit.observe.observers import BreakerMetrics, Families, RetryMetrics, SafetyMetrics, StoreMetrics
from headgate.kit.observe.series import Bounded
from headgate.kit.observe.workers import SHARED_DIRECTORY, collect_workers

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_OPEN_METRICS: Final = "application/openmetrics-text;version=1.0.0"

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MOST_REFUSALS: Final = 500


class Metrics:
    """The metrics of one process. Other rooms register theirs in `registry`, named `headgate_*`.

    The figures of calls are not in the registry, but in every exposition.

    `most_series` bounds the label sets of calls, `most_targets` those of each observer.
    """

    def __init__(
        self, *, most_series: int = 2_000, most_targets: int = 200, buckets: tuple[float, ...] = _BUCKETS
    ) -> None:
        values: Any = prometheus_client.values
        if SHARED_DIRECTORY in os.environ and not getattr(values.ValueClass, "_multiprocess", False):
            # The library decides when it is imported; a forked worker learns of the directory later.
            values.ValueClass = values.get_value_class()
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        families = Families(self.registry, most_targets)
        self._calls: PlainCalls | SharedCalls = (
            SharedCalls(self.registry, buckets, most_series)
            if SHARED_DIRECTORY in os.environ
            else PlainCalls(buckets, most_series)
        )
        self.began = self._calls.began
        """A call has arrived: the first of what `Measure` tells."""
        self.stream_began = self._calls.stream_began
        """Its answer is a stream."""
        self._describe_rooms(families)
        self.breakers = BreakerMetrics(families)
        """Give it to breakers as their observer."""
        self.retries = RetryMetrics(families)
        """Give it to retries as their observer."""
        self.limiter_store = StoreMetrics(families)
        """Give it to the store of the limits as its observer."""
        self.safety = SafetyMetrics(families)
        """Give it to the content gate as its observer."""

    def _describe_rooms(self, families: Families) -> None:
        refusals = families.counter("refusals", "Calls refused, by the control that did.", "control", "code")
        self._refusals = Bounded(refusals, _MOST_REFUSALS)
        self._cache = families.bounded_counter("cache_events", "What caches did.", "cache", "event")
        self._audit = families.counter("audit_records", "Records of the audit log.", "outcome")
        self._lost_lines = families.counter("log_lines_dropped", "Lines of the log its stream did not take.")
        build = families.gauge("build_info", "The version that runs.", "version", "python", mode="livemax")
        build.labels(__version__, platform.python_version()).set(1)

    def ended(self, call: Call, *, counted: bool, stream: bool) -> None:
        """A call is over. `counted` whether it was told of by `began`, `stream` by `stream_began`."""
        self._calls.ended(call, counted=counted, stream=stream)
        if call.refused_by and call.fault is not None:
            self._refusals.labels(call.refused_by, call.fault.code).inc()

    def cache_event(self, cache: str, event: str) -> None:
        """A cache answered, missed, waited, called, threw out: an observer of `FlowCache`."""
        self._cache.labels(cache or "(all)", event).inc()

    def audit_records(self, outcome: str, count: int) -> None:
        """So many records were `written`, `delayed` (the sink did not take them yet) or `dropped`."""
        self._audit.labels(outcome).inc(count)

    def lost_lines(self, count: int) -> None:
        """The log's stream did not take so many lines: for `watch_lost_lines`."""
        self._lost_lines.inc(count)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition in the format an `Accept` header asks for, OpenMetrics or plain text, and its content type."""
        # What the library makes of the header itself is not made for every header there can be.
        open_metrics = _OPEN_METRICS.partition(";")[0] in accept
        encode, content_type = choose_encoder(_OPEN_METRICS if open_metrics else "")
        if isinstance(self._calls, SharedCalls):
            return collect_workers(encode), content_type
        calls, others = self._calls.render(open_metrics=open_metrics), encode(self.registry)
        return calls + others, content_type

    def render(self) -> bytes:
        """The exposition, to be served as `CONTENT_TYPE`."""
        return self.expose()[0]
