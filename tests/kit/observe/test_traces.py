"""Traces: one span for each call, whatever framework and protocol, sent to whom the settings say."""

import asyncio
import http.server
import threading
from importlib.util import find_spec

import httpx
import pytest
import respx
from opentelemetry import context, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Call, Pipeline, TraceContext
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.controls.trace import Trace
from headgate.kit.current import CURRENT, current_call
from headgate.kit.observe.platforms import detect_platform, make_destination, telemetry_disabled
from headgate.kit.observe.traces import Traces, propagation, setup_traces
from headgate.kit.resilience.http import HttpClients
from headgate.testing.clock import FakeClock

PARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-"


class Recorded:
    """Traces whose spans can be looked at."""

    def __init__(self, rate: float = 1.0) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(rate)), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.traces = Traces(provider)
        self.tracer = provider.get_tracer("library")

    def spans(self):
        """The spans that have ended."""
        return self.exporter.get_finished_spans()


@pytest.fixture
def recorded():
    """Traces that record everything; the context is as before afterwards."""
    before = context.get_current()
    yield Recorded()
    context.attach(before)


def hardened(app, traces: Traces, **options) -> httpx.AsyncClient:
    """A client of the application behind the controls."""
    shell = Shell(app, Pipeline([RequestIds(lambda: "id-1"), Trace(traces)]), **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=shell), base_url="http://shop")


async def _starlette_order(request):
    return JSONResponse({"trace": current_call().trace.trace_id})


def on_starlette():
    """An application of Starlette."""
    return Starlette(routes=[Route("/orders/{id}", _starlette_order)])


def on_fastapi():
    """One of FastAPI."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(number: str):
        return {"trace": current_call().trace.trace_id}

    return app


def on_litestar():
    """One of Litestar."""
    from litestar import Litestar, get
    from litestar.params import FromPath

    @get("/orders/{number:str}")
    async def order(number: FromPath[str]) -> dict[str, str]:
        return {"trace": current_call().trace.trace_id}

    return Litestar([order])


def on_quart():
    """One of Quart."""
    from quart import Quart

    app = Quart("shop")

    @app.get("/orders/<number>")
    async def order(number: str):
        return {"trace": current_call().trace.trace_id}

    return app


@pytest.mark.parametrize("make", [on_starlette, on_fastapi, on_litestar, on_quart], ids=lambda make: make.__name__)
async def test_d19_a_wrapped_application_is_traced(recorded, make):
    """A call of any framework, wrapped as it is served, makes exactly one span, child of the caller's."""
    framework = make.__name__.removeprefix("on_")
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    answer = await hardened(make(), recorded.traces).get("/orders/7", headers={"traceparent": PARENT + "01"})
    assert answer.json() == {"trace": "ab" * 16}
    (span,) = recorded.spans()
    assert span.name.startswith("GET /orders/")
    assert span.kind is trace.SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == "ab" * 16
    assert f"{span.parent.span_id:016x}" == "cd" * 8
    assert span.attributes["http.response.status_code"] == 200


async def test_a_span_lasts_as_long_as_its_stream(recorded):
    """The span of a stream ends with its last byte, and has an event at its first."""
    clock = FakeClock()

    async def parts():
        clock.advance(0.25)
        yield b"one"
        clock.advance(2)
        yield b"two"

    async def stream(request):
        clock.advance(0.5)
        return StreamingResponse(parts())

    await hardened(Starlette(routes=[Route("/s", stream)]), recorded.traces, clock=clock).get("/s")
    (span,) = recorded.spans()
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(2.75, abs=1e-6)
    (event,) = span.events
    assert event.name == "first_byte"
    assert 0.5 <= (event.timestamp - span.start_time) / 1e9 < 2


async def test_an_error_is_the_services_alone(recorded):
    """A failure makes the span an error without telling what was raised; a missing page does not."""

    async def broken(request):
        raise RuntimeError("secret text")

    client = hardened(Starlette(routes=[Route("/b", broken)]), recorded.traces)
    assert (await client.get("/b")).status_code == 500
    assert (await client.get("/missing")).status_code == 404
    failed, missing = recorded.spans()
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert "secret text" not in failed.to_json()
    assert missing.status.status_code is trace.StatusCode.UNSET
    assert missing.name == "GET"


async def test_libraries_trace_below_the_call(recorded):
    """A span a library makes while a call is served is a child of the call's, and the next call is not."""

    async def order(request):
        with recorded.tracer.start_as_current_span("query"):
            await asyncio.sleep(0)
        return JSONResponse({})

    client = hardened(Starlette(routes=[Route("/o", order)]), recorded.traces)
    await client.get("/o")
    await client.get("/o")
    inner, outer, _, second = recorded.spans()
    assert inner.parent.span_id == outer.context.span_id
    assert second.parent is None
    assert second.context.trace_id != outer.context.trace_id
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(("sampled", "spans"), [("00", 0), ("01", 1)])
async def test_the_callers_decision_is_followed(sampled, spans):
    """What a caller does not sample is not recorded, whatever the share, and goes on under the same trace."""
    for rate in (0.0, 1.0):
        seen = Recorded(rate)
        answer = await hardened(on_starlette(), seen.traces).get("/orders/7", headers={"traceparent": PARENT + sampled})
        assert answer.json() == {"trace": "ab" * 16}
        assert len(seen.spans()) == spans


async def test_a_share_of_traces_is_recorded():
    """Of traces that begin here the given share is recorded; the others have ids as well, for logs and for others."""
    for rate, spans in ((0.0, 0), (1.0, 1)):
        seen = Recorded(rate)
        traces = seen.traces
        call = Call("http", "GET", "/", (), "10.0.0.7", 1.0)
        begun = traces.begin(call)
        assert (len(call.trace.trace_id), call.trace.sampled) == (32, rate == 1.0)
        call.ended = 2.0
        traces.end(call, begun)
        assert len(seen.spans()) == spans


def test_the_state_of_a_trace_is_passed_on(recorded):
    """What vendors keep in tracestate reaches the next service unchanged."""
    call = Call("http", "GET", "/", (), "10.0.0.7", 1.0)
    call.trace = TraceContext("ab" * 16, "cd" * 8, True, "vendor=1,other=2")
    begun = recorded.traces.begin(call)
    sent = propagation(call.trace)
    assert sent["tracestate"] == "vendor=1,other=2"
    assert sent["traceparent"] == f"00-{'ab' * 16}-{call.trace.span_id}-01"
    assert call.trace.span_id != "cd" * 8
    recorded.traces.end(call, begun)
    assert propagation(None) == {}


async def test_d13_an_rpc_is_traced(recorded):
    """A call of native gRPC makes one span, named after its method, with its code and its real duration."""
    grpc = pytest.importorskip("grpc")
    from headgate.kit.controls.faults import NotFound
    from headgate.kit.grpc.server import grpc_server

    clock = FakeClock()

    async def get(request, rpc_context):
        clock.advance(0.5)
        raise NotFound("no such order")

    def register(server):
        handler = grpc.unary_unary_rpc_method_handler(get)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Orders", {"Get": handler}),))

    pipeline = Pipeline([RequestIds(lambda: "id-1"), Trace(recorded.traces)], frozenset(("grpc",)))
    server = grpc_server(pipeline, services=[register], port=0, clock=clock)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/shop.v1.Orders/Get")(b"", metadata=(("traceparent", PARENT + "01"),))
    await server.stop(0)
    (span,) = recorded.spans()
    assert (span.name, span.attributes["rpc.response.status_code"]) == ("shop.v1.Orders/Get", "NOT_FOUND")
    assert f"{span.parent.span_id:016x}" == "cd" * 8
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.5)


def test_a_call_to_others(recorded):
    """A span of a call to others is a child of the call being served; its headers carry it; no secret is in it."""
    call = Call("http", "GET", "/", (), "10.0.0.7", 1.0)
    begun = recorded.traces.begin(call)
    with recorded.traces.client("GET", "https://u:hunter2@pay.example:8443/charges?token=abc") as span:
        assert span.headers["traceparent"].startswith(f"00-{call.trace.trace_id}-")
        span.answered(503)
    call.ended = 1.5
    recorded.traces.end(call, begun)
    outgoing, incoming = recorded.spans()
    assert outgoing.parent.span_id == incoming.context.span_id
    assert outgoing.kind is trace.SpanKind.CLIENT
    assert dict(outgoing.attributes) == {
        "http.request.method": "GET", "url.full": "https://pay.example:8443/charges", "server.address": "pay.example",
        "server.port": 8443, "http.response.status_code": 503, "error.type": "503",
    }  # fmt: skip
    assert outgoing.status.status_code is trace.StatusCode.ERROR


def test_a_call_to_others_that_fails(recorded):
    """An exception makes the span an error by its type, never by its text; without a span the call is the parent."""
    call = Call("http", "GET", "/", (), "10.0.0.7", 1.0)
    call.trace = TraceContext("ab" * 16, "cd" * 8)
    token = CURRENT.set(call)
    with pytest.raises(ConnectionError), recorded.traces.client("GET", "https://pay.example/"):
        raise ConnectionError("secret text")
    CURRENT.reset(token)
    (span,) = recorded.spans()
    assert span.attributes["error.type"] == "ConnectionError"
    assert "secret text" not in span.to_json()
    assert f"{span.parent.span_id:016x}" == "cd" * 8


async def test_the_shared_client_tells_of_its_calls(recorded):
    """A call of the shared HTTP client is a span, and what it sends along makes the other side's its child."""
    clients = HttpClients(spans=recorded.traces.client, headers=lambda: {"traceparent": "not this one"})
    received = []

    def answer(request: httpx.Request) -> httpx.Response:
        received.append(request.headers["traceparent"])
        return httpx.Response(204)

    with respx.mock(base_url="https://pay.example") as mocked:
        mocked.get("/charges").mock(side_effect=answer)
        await clients.client().get("https://pay.example/charges")
    (span,) = recorded.spans()
    assert received == [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"]
    assert span.attributes["http.response.status_code"] == 204
    await clients.aclose()


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an exporter sends."""

    def do_POST(self) -> None:
        """Keep the body, answer as the server is told to."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, self.headers["content-type"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector():
    """A collector on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def begin_and_end(traces: Traces) -> None:
    """One call."""
    call = Call("http", "GET", "/orders/7", (), "10.0.0.7", 1.0)
    begun = traces.begin(call)
    call.ended, call.status, call.route = 1.5, 200, "/orders/{id}"
    traces.end(call, begun)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_spans_reach_a_collector(collector, protocol, logged):
    """Spans are sent as OTLP over HTTP, with the service's name; also when the exporter for gRPC is not installed."""
    if protocol == "grpc" and find_spec("grpc") and find_spec("opentelemetry.exporter.otlp.proto") is None:
        pytest.skip("no exporter at all")
    url = f"http://127.0.0.1:{collector.server_address[1]}"
    traces = setup_traces(
        service_name="shop", service_version="1.2", endpoint=url, protocol=protocol, environment={}, install=False
    )
    begin_and_end(traces)
    assert traces.flush()
    traces.shutdown()
    ((path, kind, body),) = collector.received
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (about["service.name"], about["service.version"]) == ("shop", "1.2")
    (span,) = resource.scope_spans[0].spans
    assert span.name == "GET /orders/{id}"
    warnings = [line for line in logged() if line["level"] == "warning"]
    assert len(warnings) == (protocol == "grpc")


def test_a_collector_that_is_down_is_told_once(collector, logged):
    """While spans are not taken the log says so once, and says when they are again."""
    url = f"http://127.0.0.1:{collector.server_address[1]}/"
    traces = setup_traces(endpoint=url, environment={}, install=False)
    for status in (400, 400, 200):
        collector.status = status
        begin_and_end(traces)
        traces.flush()
    traces.shutdown()
    assert [line["event"] for line in logged()] == ["spans cannot be sent", "spans are sent again"]


@pytest.mark.parametrize(("environment", "platform"), [
    ({}, ""), ({"K_SERVICE": "shop"}, "gcp"), ({"GCE_METADATA_HOST": "x"}, "gcp"), ({"GOOGLE_CLOUD_PROJECT": "p"}, ""),
    ({"GOOGLE_CLOUD_PROJECT": "p", "GENKIT_TELEMETRY_GCP": "1"}, "gcp"),
    ({"GOOGLE_CLOUD_PROJECT": "p", "HEADGATE_TELEMETRY_GCP": "1"}, "gcp"), ({"AWS_EXECUTION_ENV": "x"}, "aws"),
    ({"ECS_CONTAINER_METADATA_URI": "x"}, "aws"), ({"CONTAINER_APP_NAME": "x"}, "azure"),
    ({"WEBSITE_SITE_NAME": "x"}, "azure"), ({"K_SERVICE": "x", "AWS_EXECUTION_ENV": "x"}, "gcp"),
    ({"AWS_EXECUTION_ENV": "x", "WEBSITE_SITE_NAME": "x"}, "aws"), ({"K_SERVICE": ""}, ""),
])  # fmt: skip
def test_platforms_are_known_by_their_variables(environment, platform):
    """Google Cloud comes before AWS, AWS before Azure; an empty variable says nothing."""
    assert detect_platform(environment) == platform


@pytest.mark.parametrize(("variable", "package"), [
    ("K_SERVICE", "exporter-gcp"), ("AWS_EXECUTION_ENV", "extension-aws"), ("WEBSITE_SITE_NAME", "azure-monitor"),
])  # fmt: skip
def test_a_missing_exporter_is_one_warning(variable, package, logged):
    """A platform whose exporter is not installed is one warning naming the package; the collector is used instead."""
    assert make_destination({variable: "x"}, "", "http/protobuf") is None
    (line,) = logged()
    assert package in line["hint"]
    assert make_destination({variable: "x"}, "http://127.0.0.1:9", "http/protobuf") is not None
    assert len(logged()) == 2


def test_traces_can_be_off():
    """Without a place to go to, or when switched off, there are no traces."""
    assert setup_traces(environment={}) is None
    assert setup_traces(disabled=True, endpoint="http://127.0.0.1:9", environment={}) is None
    variables = {"GENKIT_TELEMETRY_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert telemetry_disabled(variables)
    assert setup_traces(environment=variables) is None


def test_without_the_extra_traces_are_off(monkeypatch, logged):
    """Where OpenTelemetry is not installed there is one warning, which names the extra, and no trace."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert setup_traces(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    (line,) = logged()
    assert "headgate[otel]" in line["hint"]


def test_a_provider_that_is_there_is_used(monkeypatch, collector):
    """When somebody has installed a provider, it is given one more exporter, and stays."""
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = setup_traces(endpoint=f"http://127.0.0.1:{collector.server_address[1]}/v1/traces", environment={})
    begin_and_end(traces)
    assert traces.flush()
    traces.shutdown()
    assert len(exporter.get_finished_spans()) == len(collector.received) == 1
