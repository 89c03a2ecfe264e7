"""What it costs to tell of a call: log line, figures, audit record, span; beside what libraries take for the same."""

import io
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, Histogram

from benchmarks.report import Measure, at_most, observed, publish
from headgate.kit.controls.access_log import AccessLog
from headgate.kit.controls.audit import Audit
from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.measure import Measure as MeasureControl
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.redaction import redact
from headgate.kit.controls.trace import Trace, attributes
from headgate.kit.observe.audit import AuditLog
from headgate.kit.observe.audit_sinks import FileSink
from headgate.kit.observe.logs import AccessLines, configure_logs
from headgate.kit.observe.metrics import Metrics
from headgate.kit.observe.traces import Traces

ROUNDS = 60
HITS = 400
ROUTES = 200
LENGTH = [(b"content-type", b"application/json"), (b"content-length", b"512")]


def _call() -> Call:
    call = Call("http", "GET", "/orders/12345", [(b"host", b"shop.example")], "203.0.113.9", 100.0)
    call.request_id, call.route, call.status = "0123456789abcdef" * 2, "/orders/{id}", 200
    call.ended, call.complete, call.bytes_out, call.principal = 100.0014, True, 512, Principal("shop")
    return call


def _fastest(acts: Sequence[Callable[[], object]], between: Callable[[], object] = lambda: None) -> list[float]:
    """Microseconds of each act in its fastest round, in turns so that noise meets all of them."""
    fastest = [float("inf")] * len(acts)
    for _ in range(ROUNDS):
        for position, act in enumerate(acts):
            started = time.perf_counter()
            for _ in range(HITS):
                act()
            fastest[position] = min(fastest[position], (time.perf_counter() - started) / HITS * 1e6)
            between()
    return fastest


def _through(control: Control) -> Callable[[], None]:
    """One call through every phase of a control."""
    call = _call()

    def act() -> None:
        call.state = call.trace = None
        control.identify(call)
        control.respond(call, LENGTH)
        control.settle(call)

    return act


FIELDS = {"method": "GET", "path": "/orders/12345", "status": 200, "milliseconds": 1.4, "client": "203.0.113.9"}


def _structlog_line() -> Callable[[], object]:
    """A line as structlog's documentation has it, through the standard library's handler."""
    handler = logging.StreamHandler(io.StringIO())
    renderer = structlog.processors.JSONRenderer()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer))
    logger = logging.Logger("structlog-line")  # noqa: LOG001 - on its own, outside of what is configured
    logger.addHandler(handler)
    log = structlog.wrap_logger(
        logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return lambda: log.info("request", request_id="0123456789abcdef" * 2, **FIELDS)


def _stdlib_line() -> Callable[[], object]:
    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            told = {"time": self.formatTime(record), "level": record.levelname, "event": record.getMessage()}
            return json.dumps({**told, **record.__dict__["fields"]})

    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(Formatter())
    logger = logging.Logger("stdlib-line")  # noqa: LOG001
    logger.addHandler(handler)
    return lambda: logger.info("request", extra={"fields": {"request_id": "0123456789abcdef" * 2, **FIELDS}})


def _lines(stream: Any) -> list[Measure]:
    access = _through(AccessLog(AccessLines()))
    log = structlog.get_logger("benchmark")

    def ordinary() -> None:
        log.info("request", request_id="0123456789abcdef" * 2, **FIELDS)

    configure_logs("info", "json", stream=stream)
    direct, line, masked = _fastest([access, ordinary, lambda: redact(FIELDS)])
    configure_logs("info", "json", stream=stream, buffer_bytes=64 * 1024 * 1024)
    (buffered,) = _fastest([access])
    configure_logs("error", "json", stream=stream)
    theirs, stdlib = _fastest([_structlog_line(), _stdlib_line()])
    return [
        at_most("access line, written at once", direct, "microseconds", 5),
        observed("access line, written by a thread", buffered, "microseconds"),
        observed("any other line, masked", line, "microseconds"),
        observed("masking of its values alone", masked, "microseconds"),
        observed("structlog through logging, not masked", theirs, "microseconds"),
        observed("logging with json, not masked", stdlib, "microseconds"),
    ]


def _figures() -> list[Measure]:
    registry = CollectorRegistry()
    counter = Counter("requests", "-", ("route", "method", "status"), registry=registry)
    histogram = Histogram("seconds", "-", ("route", "method"), registry=registry)

    def pair() -> None:
        counter.labels("/orders/{id}", "GET", "200").inc()
        histogram.labels("/orders/{id}", "GET").observe(0.0014)

    metrics = Metrics()
    ours, theirs = _fastest([_through(MeasureControl(metrics)), pair])
    call = _call()
    for route in range(ROUTES):
        call.route = f"/r/{route}"
        metrics.ended(call, counted=False, stream=False)
    started = time.perf_counter()
    body, _ = metrics.expose()
    return [
        at_most("eight figures of a call", ours, "microseconds", 3),
        observed("prometheus-client, counter and histogram", theirs, "microseconds"),
        observed(f"exposition of {ROUTES} routes", (time.perf_counter() - started) * 1e3, "milliseconds"),
        observed("its size", len(body) / 1e3, "kB"),
    ]


def _records(directory: Path) -> list[Measure]:
    measures = []
    for name, chain in (("audit record", False), ("audit record, chained", True)):
        audit = AuditLog(FileSink(directory / f"{chain}.log"), service="shop", chain=chain)
        (given,) = _fastest([_through(Audit(audit))], audit.flush)
        started = time.perf_counter()
        for _ in range(5_000):
            audit.write({"event.action": "GET /orders/{id}", "url.path": "/orders/12345"})
        audit.flush(60)
        written = (time.perf_counter() - started) / 5_000 * 1e6
        audit.close()
        measures += [
            observed(f"{name}, for the caller", given, "microseconds"),
            observed(f"{name}, until it is in the file", written, "microseconds"),
        ]
    return measures


class _Forgets(SpanProcessor):
    """Takes spans and sends them nowhere."""


def _spans() -> list[Measure]:
    measures = []
    for name, rate in (("unsampled", 0.0), ("sampled", 1.0)):
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(rate)), shutdown_on_exit=False)
        provider.add_span_processor(_Forgets())
        tracer, told, root = provider.get_tracer("benchmark"), attributes(_call()), Context()

        def by_hand(tracer: Any = tracer, told: Any = told, root: Any = root) -> None:
            span = tracer.start_span("GET", root, SpanKind.SERVER)
            for key, value in told.items():
                span.set_attribute(key, value)
            span.end()

        ours, theirs = _fastest([_through(Trace(Traces(provider))), by_hand])
        measures += [
            observed(f"{name} span", ours, "microseconds"),
            observed(f"{name} span by hand, attribute by attribute", theirs, "microseconds"),
        ]
    return measures


def main() -> int:
    """Measure everything and print the figures."""
    with Path("/dev/null").open("w") as stream, tempfile.TemporaryDirectory() as directory:
        measures = [*_lines(stream), *_figures(), *_records(Path(directory)), *_spans()]
    return publish("kit_observe", measures)


if __name__ == "__main__":
    sys.exit(main())
