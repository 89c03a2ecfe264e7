"""Traces: spans of OpenTelemetry for calls that come in and calls that go out.

    traces = setup_traces(service_name="shop", endpoint="http://127.0.0.1:4318")    # None: traces are off
    Trace(traces)                                                                   # the control: one span a call

    with traces.client("GET", "https://payments.example/charges") as span:          # one for a call to others
        answer = await client.get(url, headers=span.headers)
        span.answered(answer.status_code)

OpenTelemetry is an extra (`otel`) and imported by `setup_traces`. A caller's decision to sample is followed; of
the traces that begin here the given share is recorded. Export happens in a thread, with a bounded queue.
"""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import structlog

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.redaction import redact_text
from headgate.kit.controls.trace import attributes, is_error, span_name
from headgate.kit.current import CURRENT
from headgate.kit.observe.platforms import make_destination, telemetry_disabled

_NANOSECONDS: Final = 1_000_000_000
_QUEUE: Final = 4_096
_log = structlog.get_logger("headgate.traces")


def setup_traces(
    *,
    disabled: bool = False,
    service_name: str = "headgate",
    service_version: str = "",
    endpoint: str = "",
    protocol: str = "http/protobuf",
    sample_rate: float = 1.0,
    environment: Mapping[str, str] = os.environ,
    install: bool = True,
) -> "Traces | None":
    """Send spans where the platform or `endpoint` says; None when that is nowhere, or the extra is missing.

    A provider that somebody installed before is used, and given one more exporter. Otherwise one is made and,
    with `install`, becomes the provider of the whole process, for libraries that trace.
    """
    if disabled or telemetry_disabled(environment):
        return None
    endpoint = endpoint or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    destination = make_destination(environment, endpoint, protocol)
    if destination is None:
        return None
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    # Its own complaints come once for each try; `_Exporter` tells once for each outage.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        about = {"service.name": service_name} | ({"service.version": service_version} if service_version else {})
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_rate)),
            resource=Resource.create(about),
            id_generator=destination.ids,
            shutdown_on_exit=False,
        )
        if install:
            trace.set_tracer_provider(provider)
    exporter: Any = _Exporter(destination.exporter)
    processor = BatchSpanProcessor(exporter, max_queue_size=_QUEUE)
    provider.add_span_processor(processor)
    return Traces(provider, processor)


class _Begun(NamedTuple):
    """The span of a call, what was current before it, and when it began, in nanoseconds since 1970."""

    span: Any
    before: Any
    started: int


class Traces:
    """Makes spans with an OpenTelemetry `provider`; `processor` is what `shutdown` ends, else the provider."""

    def __init__(self, provider: Any, processor: Any = None) -> None:
        from opentelemetry import context, trace

        self._tracer = provider.get_tracer("headgate")
        self._ends = processor or provider
        self._context, self._trace = context, trace
        self._server, self._client = trace.SpanKind.SERVER, trace.SpanKind.CLIENT
        self._failed = trace.Status(trace.StatusCode.ERROR)

    def begin(self, call: Call) -> _Begun:
        """Begin the span of a call, and make it the current one of this task."""
        before = self._context.get_current()
        parent = before if call.trace is None else self._within(before, call.trace)
        if call.trace is None:
            # Whatever span happens to be current here, such as a server's own, is no caller.
            parent = self._trace.set_span_in_context(self._trace.INVALID_SPAN, before)
        started = time.time_ns()
        span = self._tracer.start_span(call.method, parent, self._server, start_time=started)
        call.trace = _context_of(span)
        self._context.attach(self._trace.set_span_in_context(span, before))
        return _Begun(span, before, started)

    def end(self, call: Call, begun: object) -> None:
        """End the span of a call, with what became of it."""
        assert isinstance(begun, _Begun)  # noqa: S101 - from `begin`
        span = begun.span
        if span.is_recording():
            span.update_name(span_name(call))
            span.set_attributes(attributes(call))
            if call.first_byte is not None:
                span.add_event("first_byte", timestamp=begun.started + _nanoseconds(call.first_byte - call.started))
            if is_error(call):
                span.set_status(self._failed)
            span.end(begun.started + _nanoseconds(call.ended - call.started))
        # Attached and not detached: a call may end in another context than it began in.
        self._context.attach(begun.before)

    def client(self, method: str, url: str) -> "ClientSpan":
        """A context manager: the span of a call to others, a child of the call being served."""
        parts = urlsplit(url)
        told: dict[str, Any] = {
            "http.request.method": method,
            "url.full": redact_text(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"),
            "server.address": parts.hostname or "",
        }
        if parts.port:
            told["server.port"] = parts.port
        before = self._context.get_current()
        call = CURRENT.get()
        parent = before
        if (
            call is not None
            and call.trace is not None
            and not self._trace.get_current_span().get_span_context().is_valid
        ):
            parent = self._within(before, call.trace)
        span = self._tracer.start_span(method, parent, self._client, attributes=told)
        return ClientSpan(span, _context_of(span), self._trace.use_span(span, end_on_exit=False), self._failed)

    def shutdown(self) -> None:
        """Send what waits, and end. May take as long as the exporter's timeout: not for the event loop's thread."""
        self._ends.shutdown()

    def flush(self, seconds: float = 5.0) -> bool:
        """Send what waits."""
        return bool(self._ends.force_flush(int(seconds * 1000)))

    def _within(self, base: Any, parent: TraceContext) -> Any:
        state = self._trace.TraceState.from_header([parent.state]) if parent.state else None
        flags = self._trace.TraceFlags(int(parent.sampled))
        remote = self._trace.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags, state)
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(remote), base)


class ClientSpan(AbstractContextManager["ClientSpan"]):
    """The span of a call to others. `headers` are to be sent along."""

    def __init__(self, span: Any, context: TraceContext, current: Any, failed: Any) -> None:
        self._span = span
        self._current = current
        self._failed = failed
        self.context = context

    @property
    def headers(self) -> dict[str, str]:
        """`traceparent`, and `tracestate` where there is one."""
        return propagation(self.context)

    def answered(self, status: int) -> None:
        """The other side has answered; for a client every status from 400 is an error."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 400:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(self._failed)

    def __enter__(self) -> Self:
        self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._span.set_attribute("error.type", kind.__qualname__)
            self._span.set_status(self._failed)
        # What was raised is not shown to OpenTelemetry: it would record the message.
        self._current.__exit__(None, None, None)
        self._span.end()


def propagation(context: TraceContext | None) -> dict[str, str]:
    """The headers that carry a trace context to others (W3C Trace Context)."""
    if context is None:
        return {}
    state = {"tracestate": context.state} if context.state else {}
    return {"traceparent": context.traceparent, **state}


def _context_of(span: Any) -> TraceContext:
    found = span.get_span_context()
    state = found.trace_state.to_header() if found.trace_state else ""
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", bool(found.trace_flags & 1), state)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)


class _Exporter:
    """Another exporter, whose outages are logged once each."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._down = False

    def export(self, spans: Any) -> Any:
        """Send spans on."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - an exporter's defect costs spans and nothing else
            self._tell(f"{type(error).__name__}: {error}")
            from opentelemetry.sdk.trace.export import SpanExportResult

            return SpanExportResult.FAILURE
        self._tell("" if result.value == 0 else "they were not taken")
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what the exporter holds."""
        return bool(self._exporter.force_flush(timeout_millis))

    def _tell(self, trouble: str) -> None:
        if bool(trouble) != self._down:
            self._down = bool(trouble)
            if trouble:
                _log.warning("spans cannot be sent", reason=trouble)
            else:
                _log.info("spans are sent again")
