"""The figures of calls: plain numbers in one process, and in files where several workers share them.

Counting a call touches eight figures. In one process they are kept side by side and made into metrics when
somebody scrapes, which is several times cheaper than eight metrics of prometheus-client; workers need those.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from headgate.kit.controls.call import Call
from headgate.kit.observe.series import Labels, SeriesOfCalls

PROTOCOLS: Final = ("http", "websocket", "grpc", "grpc-web", "connect")
_EXEMPLAR_SECONDS: Final = 1.0

_Family = tuple[str, str, Labels]
"""Name, help, names of the labels."""

_REQUESTS: Final[_Family] = ("headgate_requests", "Calls answered.", ("protocol", "route", "method", "status", "code"))
_SECONDS: Final[_Family] = (
    "headgate_request_duration_seconds",
    "Time from a call's arrival until the last byte of its answer.",
    ("protocol", "route", "method", "outcome"),
)
_FIRST_BYTE: Final[_Family] = (
    "headgate_time_to_first_byte_seconds",
    "Time from a call's arrival until the first byte of its streamed answer.",
    ("protocol", "route"),
)
_BYTES_IN: Final[_Family] = ("headgate_request_bytes", "Bytes of bodies received.", ("protocol", "route"))
_BYTES_OUT: Final[_Family] = ("headgate_response_bytes", "Bytes of bodies sent.", ("protocol", "route"))
_RUNNING: Final[_Family] = ("headgate_requests_in_flight", "Calls being answered.", ("protocol",))
_STREAMS: Final[_Family] = ("headgate_streams_in_flight", "Answers being streamed.", ("protocol",))


class _Times:
    """A histogram's figures; one more bucket than bounds."""

    __slots__ = ("buckets", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * (buckets + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, other: "_Times") -> None:
        """Count in another one's figures."""
        self.total += other.total
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets, strict=True)]
        self.exemplars.update(other.exemplars)


class _PlainSeries:
    """The figures of calls of the same labels."""

    __slots__ = ("_bounds", "_exemplar_after", "_lock", "bytes_in", "bytes_out", "count", "first", "labels", "times")

    def __init__(self, labels: Labels, bounds: Sequence[float], lock: Lock) -> None:
        self.labels = labels
        self.count = self.bytes_in = self.bytes_out = 0
        self.times = _Times(len(bounds))
        self.first: _Times | None = None
        self._bounds = bounds
        self._lock = lock
        self._exemplar_after = 0.0

    def add(self, call: Call, *, stream: bool) -> None:
        """Count one that has ended."""
        seconds = call.ended - call.started
        bucket = bisect_left(self._bounds, seconds)
        times = self.times
        with self._lock:
            self.count += 1
            times.total += seconds
            times.buckets[bucket] += 1
            self.bytes_in += call.bytes_in
            self.bytes_out += call.bytes_out
            if stream and call.first_byte is not None and call.messages_out > 1:
                self._first_byte(call.first_byte - call.started)
        if call.trace is not None and call.trace.sampled and call.ended >= self._exemplar_after:
            # One a second is enough to find a trace by.
            self._exemplar_after = call.ended + _EXEMPLAR_SECONDS
            trace = {"trace_id": call.trace.trace_id, "span_id": call.trace.span_id}
            times.exemplars[bucket] = Exemplar(trace, seconds, time.time())

    def _first_byte(self, seconds: float) -> None:
        if self.first is None:
            self.first = _Times(len(self._bounds))
        self.first.total += seconds
        self.first.buckets[bisect_left(self._bounds, seconds)] += 1


class PlainCalls(Collector):
    """The figures of one process's calls, and the metrics they make. `most` bounds the label sets."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float], most: int) -> None:
        self._lock = Lock()
        self._bounds = tuple(buckets)
        self._series = SeriesOfCalls(lambda labels: _PlainSeries(labels, self._bounds, self._lock), most)
        self._running = dict.fromkeys(PROTOCOLS, 0)
        self._streams = dict.fromkeys(PROTOCOLS, 0)
        registry.register(self)

    def began(self, protocol: str) -> None:
        """A call has arrived."""
        with self._lock:
            self._running[protocol] += 1

    def stream_began(self, protocol: str) -> None:
        """Its answer is a stream, and begins."""
        with self._lock:
            self._streams[protocol] += 1

    def ended(self, call: Call, *, counted: bool, stream: bool) -> None:
        """It is over. `counted` whether it was told of by `began`, `stream` by `stream_began`."""
        self._series.of(call).add(call, stream=stream)
        with self._lock:
            if counted:
                self._running[call.protocol] -= 1
            if stream:
                self._streams[call.protocol] -= 1

    def describe(self) -> Iterable[Metric]:
        """The metrics without their figures."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand."""
        series = self._series.all()
        name, text, names = _REQUESTS
        requests = CounterMetricFamily(name, text, labels=names)
        for each in series:
            requests.add_metric(each.labels[:5], each.count)
        yield requests
        yield self._histogram(_SECONDS, ((_duration_labels(each.labels), each.times) for each in series))
        yield self._histogram(_FIRST_BYTE, ((each.labels[:2], each.first) for each in series if each.first))
        yield _sums(_BYTES_IN, ((each.labels[:2], each.bytes_in) for each in series))
        yield _sums(_BYTES_OUT, ((each.labels[:2], each.bytes_out) for each in series))
        for (name, text, names), figures in ((_RUNNING, self._running), (_STREAMS, self._streams)):
            gauge = GaugeMetricFamily(name, text, labels=names)
            for protocol, value in figures.items():
                gauge.add_metric((protocol,), value)
            yield gauge

    def _histogram(self, family: _Family, figures: Iterable[tuple[Labels, _Times]]) -> HistogramMetricFamily:
        added: dict[Labels, _Times] = {}
        for labels, times in figures:
            added.setdefault(labels, _Times(len(self._bounds))).add(times)
        name, text, names = family
        histogram = HistogramMetricFamily(name, text, labels=names)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, times in added.items():
            buckets: list[Any] = []
            total = 0
            for position, count in enumerate(times.buckets):
                total += count
                buckets.append((bounds[position], total, times.exemplars.get(position)))
            histogram.add_metric(labels, buckets, times.total)
        return histogram


class _SharedSeries:
    """The metrics of calls of the same labels: bound methods, looked up once."""

    __slots__ = ("_bytes_in", "_bytes_out", "_count", "_first_byte", "_seconds")

    def __init__(self, count: Any, seconds: Any, first_byte: Any, bytes_in: Any, bytes_out: Any) -> None:
        self._count: Callable[[], None] = count.inc
        self._seconds: Callable[[float], None] = seconds.observe
        self._first_byte: Callable[[float], None] = first_byte.observe
        self._bytes_in: Callable[[float], None] = bytes_in.inc
        self._bytes_out: Callable[[float], None] = bytes_out.inc

    def add(self, call: Call, *, stream: bool) -> None:
        """Count one that has ended."""
        self._count()
        self._seconds(call.ended - call.started)
        if call.bytes_in:
            self._bytes_in(call.bytes_in)
        if call.bytes_out:
            self._bytes_out(call.bytes_out)
        if stream and call.first_byte is not None and call.messages_out > 1:
            self._first_byte(call.first_byte - call.started)


class SharedCalls:
    """The same figures as `PlainCalls`, in metrics that workers share."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float], most: int) -> None:
        self._counts = Counter(*_REQUESTS, registry=registry)
        self._seconds = Histogram(*_SECONDS, buckets=buckets, registry=registry)
        self._first_byte = Histogram(*_FIRST_BYTE, buckets=buckets, registry=registry)
        self._bytes_in = Counter(*_BYTES_IN, registry=registry)
        self._bytes_out = Counter(*_BYTES_OUT, registry=registry)
        self._series = SeriesOfCalls(self._make, most)
        running = Gauge(*_RUNNING, registry=registry, multiprocess_mode="livesum")
        streams = Gauge(*_STREAMS, registry=registry, multiprocess_mode="livesum")
        self._running = {protocol: running.labels(protocol) for protocol in PROTOCOLS}
        self._streams = {protocol: streams.labels(protocol) for protocol in PROTOCOLS}

    def began(self, protocol: str) -> None:
        """A call has arrived."""
        self._running[protocol].inc()

    def stream_began(self, protocol: str) -> None:
        """Its answer is a stream, and begins."""
        self._streams[protocol].inc()

    def ended(self, call: Call, *, counted: bool, stream: bool) -> None:
        """It is over. `counted` whether it was told of by `began`, `stream` by `stream_began`."""
        self._series.of(call).add(call, stream=stream)
        if counted:
            self._running[call.protocol].dec()
        if stream:
            self._streams[call.protocol].dec()

    def _make(self, labels: Labels) -> _SharedSeries:
        return _SharedSeries(
            self._counts.labels(*labels[:5]),
            self._seconds.labels(*_duration_labels(labels)),
            self._first_byte.labels(*labels[:2]),
            self._bytes_in.labels(*labels[:2]),
            self._bytes_out.labels(*labels[:2]),
        )


def _duration_labels(labels: Labels) -> Labels:
    return (*labels[:3], labels[5])


def _sums(family: _Family, figures: Iterable[tuple[Labels, int]]) -> CounterMetricFamily:
    sums: dict[Labels, int] = {}
    for labels, value in figures:
        sums[labels] = sums.get(labels, 0) + value
    name, text, names = family
    counter = CounterMetricFamily(name, text, labels=names)
    for labels, value in sums.items():
        counter.add_metric(labels, value)
    return counter
