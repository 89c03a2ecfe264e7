"""What the xDS server counts, in Prometheus' terms. Labels are types and modes: their number is fixed."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headgate.controlplane.translate.resource import SHORT_NAMES

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class XdsMetrics:
    """Registered once per process, in the registry of `headgate.kit.observe.metrics.Metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("headgate_xds_streams", "Open discovery streams.", ("mode",), registry=registry)
        self.responses = Counter(
            "headgate_xds_responses", "Discovery responses sent, by type.", ("type",), registry=registry
        )
        self.bytes = Counter("headgate_xds_response_bytes", "Bytes of discovery responses sent.", registry=registry)
        self.acks = Counter("headgate_xds_acks", "Responses acknowledged by dataplanes.", registry=registry)
        self.nacks = Counter("headgate_xds_nacks", "Responses refused by dataplanes.", registry=registry)
        self.stale = Counter(
            "headgate_xds_stale_nonces", "Requests with a nonce that is not current.", registry=registry
        )
        self.convergence = Histogram(
            "headgate_xds_convergence_seconds",
            "Time from a change being known here until a dataplane acknowledged all of it.",
            buckets=_BUCKETS,
            registry=registry,
        )
        for name in SHORT_NAMES.values():
            self.responses.labels(name)
        for mode in ("delta", "sotw"):
            self.streams.labels(mode)
