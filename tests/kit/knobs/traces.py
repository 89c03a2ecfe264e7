"""Knobs of traces and of errors that are sent away."""

import asyncio
import sys
from types import ModuleType
from typing import Any

import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from tests.kit.knobs import Place, knob, service
from tests.kit.knobs.collector import Collector

SENT = "POST /v1/traces"


async def traced(collector: Collector, path: str = "/orders", **settings: Any) -> None:
    """One call of a service, in a process without traces so far, that sends them to the collector."""
    with pytest.MonkeyPatch.context() as fresh:
        fresh.setattr(opentelemetry.trace, "_TRACER_PROVIDER", None)
        fresh.setattr(opentelemetry.trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        async with service(otel_exporter_otlp_endpoint=collector.url, **settings) as made:
            await made.ask(path)


@knob("otel_exporter_otlp_endpoint")
async def collector_of_traces(_place: Place) -> None:
    """Spans go to the collector."""
    async with Collector() as collector:
        await traced(collector)
        assert await collector.has(SENT)


@knob("telemetry_disabled")
async def no_traces(_place: Place) -> None:
    """Nothing is sent when traces are off."""
    async with Collector() as collector:
        await traced(collector, telemetry_disabled=True)
        assert not await collector.has(SENT, 1)
        await traced(collector)
        assert await collector.has(SENT)


@knob("otel_service_name")
async def name_in_traces(_place: Place) -> None:
    """Spans carry the name of the service."""
    async with Collector() as collector:
        await traced(collector, otel_service_name="bookshop")
        assert await collector.has("bookshop")


@knob("otel_exporter_otlp_protocol")
async def protocol_of_traces(place: Place) -> None:
    """Spans are given to the exporter that speaks gRPC when that is wanted."""
    made: list[str] = []

    class OverGrpc(InMemorySpanExporter):
        def __init__(self, endpoint: str, **_: Any) -> None:
            super().__init__()
            made.append(endpoint)

    name = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    module = ModuleType(name)
    module.OTLPSpanExporter = OverGrpc  # type: ignore[attr-defined]
    place.monkeypatch.setitem(sys.modules, name.rpartition(".")[0], ModuleType("grpc"))
    place.monkeypatch.setitem(sys.modules, name, module)
    async with Collector() as collector:
        await traced(collector, otel_exporter_otlp_protocol="grpc")
        assert made == [collector.url]
        assert not collector.received


@knob("otel_traces_sample_rate")
async def share_of_traces(_place: Place) -> None:
    """Of traces begun here only that share is recorded."""
    async with Collector() as collector:
        await traced(collector, otel_traces_sample_rate=0)
        assert not await collector.has(SENT, 1)
        await traced(collector, otel_traces_sample_rate=1)
        assert await collector.has(SENT)


async def reported(collector: Collector, **settings: Any) -> None:
    """A call that fails, of a service that tells Sentry."""
    import sentry_sdk

    try:
        async with service(sentry_dsn=f"http://key@127.0.0.1:{collector.port}/1", **settings) as made:
            assert await made.status("/fail") == 500
            await asyncio.to_thread(sentry_sdk.flush, 5)
    finally:
        sentry_sdk.init()


@knob("sentry_dsn")
async def errors_are_reported(_place: Place) -> None:
    """A defect is sent to the project."""
    async with Collector() as collector:
        await reported(collector)
        assert await collector.has("ZeroDivisionError")


@knob("sentry_environment")
async def environment_of_errors(_place: Place) -> None:
    """What is sent names the environment."""
    async with Collector() as collector:
        await reported(collector, sentry_environment="harbour")
        assert await collector.has("harbour")


@knob("sentry_traces_sample_rate")
async def share_of_performance(_place: Place) -> None:
    """That share of calls is sent with its performance."""
    async with Collector() as collector:
        await reported(collector, sentry_traces_sample_rate=0)
        assert not await collector.has('"type":"transaction"', 1)
        await reported(collector, sentry_traces_sample_rate=1)
        assert await collector.has('"type":"transaction"')
