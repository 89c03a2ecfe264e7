"""What the span of a call is named and tells, and what counts as an error of the service."""

from typing import Any

import pytest

from headgate.kit.controls.call import Call, Control, Pipeline, TraceContext
from headgate.kit.controls.faults import NotFound, Unavailable
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.controls.trace import Trace, attributes, is_error, span_name

SECRET = "sk-proj-abcdefghijklmnop1234"


def ended(method: str = "GET", path: str = "/orders/7", protocol: Any = "http", **values: Any) -> Call:
    """A call that is over."""
    call = Call(protocol, method, path, ((b"user-agent", b"curl/8"),), "10.0.0.7", 100.0)
    call.ended, call.complete, call.status, call.request_id = 100.5, True, 200, "id-1"
    for name, value in values.items():
        setattr(call, name, value)
    return call


def test_an_http_span():
    """A span of HTTP has the stable names of OpenTelemetry, and the request id."""
    call = ended(route="/orders/{id}", bytes_in=3, bytes_out=9, principal=Principal("shop"), client="192.0.2.9")
    assert span_name(call) == "GET /orders/{id}"
    assert attributes(call) == {
        "http.request.method": "GET", "url.scheme": "http", "url.path": "/orders/7", "http.route": "/orders/{id}",
        "http.response.status_code": 200, "http.request.body.size": 3, "http.response.body.size": 9,
        "network.peer.address": "10.0.0.7", "client.address": "192.0.2.9", "user_agent.original": "curl/8",
        "user.id": "shop", "headgate.request_id": "id-1",
    }  # fmt: skip


@pytest.mark.parametrize(("protocol", "system", "code"), [
    ("grpc", "grpc", "NOT_FOUND"), ("grpc-web", "grpc", "NOT_FOUND"), ("connect", "connectrpc", "not_found"),
])  # fmt: skip
def test_an_rpc_span(protocol, system, code):
    """A span of an RPC is named after its method and tells system, method and code."""
    call = ended("POST", "/shop.v1.Orders/Get", protocol, route="/shop.v1.Orders/Get", status=404, code="NOT_FOUND")
    told = attributes(call)
    assert span_name(call) == "shop.v1.Orders/Get"
    assert (told["rpc.system.name"], told["rpc.method"]) == (system, "shop.v1.Orders/Get")
    assert told["rpc.response.status_code"] == code
    assert "http.request.method" not in told


@pytest.mark.parametrize(("protocol", "carried"), [("socket", "websocket"), ("nats", "nats"), ("local", None)])
def test_a_span_of_a_services_own_wires(protocol, carried):
    """Calls over WebSockets and NATS, and within the process, are RPCs; a span says what carried them."""
    call = ended("POST", "/shop.Orders/Get", protocol, route="/shop.Orders/Get", status=404, code="NOT_FOUND")
    found = attributes(call)
    assert span_name(call) == found["rpc.method"] == "shop.Orders/Get"
    assert (found["rpc.system.name"], found.get("network.protocol.name")) == ("headgate", carried)
    assert "http.request.method" not in found


def test_names_are_never_what_a_caller_chose():
    """Unknown paths, methods and RPCs do not become names of spans."""
    assert span_name(ended(path="/nobody/knows")) == "GET"
    assert span_name(ended("BREW")) == "HTTP"
    assert attributes(ended("BREW"))["http.request.method"] == "_OTHER"
    assert attributes(ended("BREW"))["http.request.method_original"] == "BREW"
    assert span_name(ended("POST", "/a/B", "grpc")) == "_OTHER"


@pytest.mark.parametrize(("values", "error"), [
    ({"status": 404, "code": "NOT_FOUND"}, None), ({"status": 499, "code": "CANCELLED"}, None),
    ({"status": 500}, "500"),
    ({"status": 503, "code": "UNAVAILABLE", "fault": Unavailable("x", code="store_down")}, "store_down"),
    ({"status": 200, "code": "INTERNAL", "fault": Unavailable("x", code="cut")}, "cut"),
    ({"protocol": "grpc", "status": 404, "code": "NOT_FOUND", "fault": NotFound("x")}, None),
    ({"protocol": "grpc", "status": 501, "code": "UNIMPLEMENTED"}, "501"),
])  # fmt: skip
def test_whose_error_it_is(values, error):
    """The service's failures are errors of the span, with their code; a caller's mistakes are not."""
    call = ended(**values)
    assert is_error(call) == (error is not None)
    assert attributes(call).get("error.type") == error


@pytest.mark.parametrize("values", [
    {"path": f"/reset/{SECRET}"}, {"method": SECRET}, {"request_id": SECRET}, {"principal": Principal(SECRET)},
    {"client": SECRET}, {"headers": {b"user-agent": SECRET.encode()}},
])  # fmt: skip
def test_what_a_caller_can_choose_is_masked(values):
    """A secret in the path, the method, the id, the agent or the name of a caller does not reach a span."""
    assert SECRET not in str(attributes(ended(**values)))


class Kept:
    """Keeps what began and ended."""

    def __init__(self) -> None:
        self.parents: list[TraceContext | None] = []
        self.ended: list[object] = []

    def begin(self, call: Call) -> object:
        """Keep the parent."""
        self.parents.append(call.trace)
        return "a span"

    def end(self, call: Call, span: object) -> None:
        """Keep the span."""
        self.ended.append(span)


async def test_the_caller_is_the_parent():
    """The span is begun once the caller's context was read, and ended once; one that never began is not ended."""
    kept = Kept()
    pipeline = Pipeline([RequestIds(lambda: "id"), Trace(kept)])
    call = Call("http", "GET", "/", ((b"traceparent", b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"),), "", 1.0)
    await pipeline.enter(call)
    pipeline.settle(call, failed=pytest.fail)
    Pipeline([Control(), Trace(kept)]).settle(ended(), failed=pytest.fail)
    assert kept.parents == [TraceContext("ab" * 16, "cd" * 8)]
    assert kept.ended == ["a span"]
