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

from headgate.kit.controls.call import Call
from headgate.kit.observe.exposition import Exemplar, Family, Labels, Text, Times
from headgate.kit.observe.series import SeriesOfCalls

PROTOCOLS: Final = ("http", "websocket", "grpc", "grpc-web", "connect", "socket", "nats", "local")
_EXEMPLAR_SECONDS: Final = 1.0

_REQUESTS: Final = Family("headgate_requests", "Calls answered.", ("protocol", "route", "method", "status", "code"))
_SECONDS: Final = Family(
    "headgate_request_duration_seconds",
    "Time from a call's arrival until the last byte of its answer.",
    ("protocol", "route", "method", "outcome"),
)
_FIRST_BYTE: Final = Family(
    "headgate_time_to_first_byte_seconds",
    "Time from a call's arrival until the first byte of its streamed answer.",
    ("protocol", "route"),
)
_BYTES_IN: Final = Family("headgate_request_bytes", "Bytes of bodies received.", ("protocol", "route"))
_BYTES_OUT: Final = Family("headgate_response_bytes", "Bytes of bodies sent.", ("protocol", "route"))
_RUNNING: Final = Family("headgate_requests_in_flight", "Calls being answered.", ("protocol",))
_STREAMS: Final = Family("headgate_streams_in_flight", "Answers being streamed.", ("protocol",))


class _PlainSeries:
    """The figures of calls of the same labels."""

    __slots__ = ("_bounds", "_exemplar_after", "_lock", "bytes_in", "bytes_out", "count", "first", "labels", "times")

    def __init__(self, labels: Labels, bounds: Sequence[float], lock: Lock) -> None:
        self.labels = labels
        self.count = self.bytes_in = self.bytes_out = 0
        self.times = Times(len(bounds))
        self.first: Times | None = None
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
            times.exemplars[bucket] = Exemplar(call.trace.trace_id, call.trace.span_id, seconds, time.time())

    def _first_byte(self, seconds: float) -> None:
        if self.first is None:
            self.first = Times(len(self._bounds))
        self.first.total += seconds
        self.first.buckets[bisect_left(self._bounds, seconds)] += 1


class PlainCalls:
    """The figures of one process's calls, and their text. `most` bounds the label sets."""

    def __init__(self, buckets: Sequence[float], most: int) -> None:
        self._lock = Lock()
        self._bounds = tuple(buckets)
        self._series = SeriesOfCalls(lambda labels: _PlainSeries(labels, self._bounds, self._lock), most)
        self._running = dict.fromkeys(PROTOCOLS, 0)
        self._streams = dict.fromkeys(PROTOCOLS, 0)
        self._text = Text(self._bounds)

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

    def render(self, *, open_metrics: bool) -> bytes:
        """The metrics as they stand, in the one format or the other."""
        series = self._series.all()
        counts = {each.labels[:5]: each.count for each in series}
        seconds = _added((_duration_labels(each.labels), each.times) for each in series)
        first = _added((each.labels[:2], each.first) for each in series if each.first is not None)
        received = _sums((each.labels[:2], each.bytes_in) for each in series)
        sent = _sums((each.labels[:2], each.bytes_out) for each in series)
        text = self._text
        lines = [
            *text.numbers(_REQUESTS, "counter", counts, open_metrics=open_metrics),
            *text.histogram(_SECONDS, seconds, open_metrics=open_metrics),
            *text.histogram(_FIRST_BYTE, first, open_metrics=open_metrics),
            *text.numbers(_BYTES_IN, "counter", received, open_metrics=open_metrics),
            *text.numbers(_BYTES_OUT, "counter", sent, open_metrics=open_metrics),
            *text.numbers(_RUNNING, "gauge", _by_protocol(self._running), open_metrics=open_metrics),
            *text.numbers(_STREAMS, "gauge", _by_protocol(self._streams), open_metrics=open_metrics),
        ]
        return "".join(lines).encode()


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
        self._counts = Counter(*_arguments(_REQUESTS), registry=registry)
        self._seconds = Histogram(*_arguments(_SECONDS), buckets=buckets, registry=registry)
        self._first_byte = Histogram(*_arguments(_FIRST_BYTE), buckets=buckets, registry=registry)
        self._bytes_in = Counter(*_arguments(_BYTES_IN), registry=registry)
        self._bytes_out = Counter(*_arguments(_BYTES_OUT), registry=registry)
        self._series = SeriesOfCalls(self._make, most)
        running = Gauge(*_arguments(_RUNNING), registry=registry, multiprocess_mode="livesum")
        streams = Gauge(*_arguments(_STREAMS), registry=registry, multiprocess_mode="livesum")
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


def _sums(figures: Iterable[tuple[Labels, int]]) -> dict[Labels, float]:
    sums: dict[Labels, float] = {}
    for labels, value in figures:
        sums[labels] = sums.get(labels, 0) + value
    return sums


def _added(figures: Iterable[tuple[Labels, Times]]) -> dict[Labels, Times]:
    added: dict[Labels, Times] = {}
    for labels, times in figures:
        known = added.get(labels)
        if known is None:
            known = added[labels] = Times(len(times.buckets) - 1)
        known.add(times)
    return added


def _by_protocol(figures: dict[str, int]) -> dict[Labels, float]:
    return {(protocol,): value for protocol, value in figures.items()}


def _arguments(family: Family) -> tuple[str, str, Labels]:
    return family.name, family.text, family.labels
