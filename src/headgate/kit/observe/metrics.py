"""Metrics in Prometheus' text format, in a registry of our own.

Labels never hold what a caller can choose: a request is counted under its route's template, a known
method and its status class, so the number of series is bounded by the code.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
UNMATCHED: Final = "(unmatched)"

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one process. Other rooms register theirs in `registry`, named `headgate_*`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("route", "method", "status")
        self._requests = Counter(
            "headgate_http_requests", "Requests answered, by route template.", labels, registry=self.registry
        )
        self._seconds = Histogram(
            "headgate_http_request_seconds",
            "Time from the request's arrival until its response was sent, by route template.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "headgate_http_requests_in_flight", "Requests that are being answered.", registry=self.registry
        )

    def observe_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request. `route` is a template, "" when none matched."""
        labels = (route or UNMATCHED, method if method in _METHODS else "OTHER", f"{status // 100}xx")
        self._requests.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)

    def render(self) -> bytes:
        """The exposition, to be served as `CONTENT_TYPE`."""
        return generate_latest(self.registry)
