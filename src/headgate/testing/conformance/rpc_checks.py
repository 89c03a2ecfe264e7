"""What the order service promises over gRPC, gRPC-Web and Connect."""

import json
import struct
from typing import Any

import httpx

from headgate.testing.conformance import orders
from headgate.testing.conformance.suite import Target, check
from headgate.testing.conformance.wire import ask, expect, expect_dressed

SERVICE = "headgate.conformance.v1.Orders"


async def _call(target: Target, method: str, request: Any, **given: Any) -> Any:
    import grpc

    from headgate.testing.conformance.orders_rpc import Order

    metadata = [(name.lower(), value) for name, value in (target.headers | given.pop("metadata", {})).items()]
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=Order.FromString,
        )
        call = stub(request, metadata=metadata, timeout=given.pop("timeout", 10))
        answer = await call
        return answer, dict((*await call.initial_metadata(), *await call.trailing_metadata()))


async def _refusal(target: Target, method: str, request: Any, **given: Any) -> Any:
    import grpc

    try:
        await _call(target, method, request, **given)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"{method} was answered")


@check("grpc")
async def check_rpc(target: Target) -> None:
    """An RPC is answered, and keeps the request id it came with."""
    from headgate.testing.conformance.orders_rpc import Order

    answer, metadata = await _call(target, "Create", Order(name="tea", quantity=2), metadata={"x-request-id": "r-2"})
    expect((answer.name, answer.quantity) == ("tea", 2), str(answer))
    expect(metadata.get("x-request-id") == "r-2", f"metadata {sorted(metadata)}")


@check("grpc")
async def check_rpc_stream(target: Target) -> None:
    """A stream of messages arrives whole."""
    import grpc

    from headgate.testing.conformance.orders_rpc import Order, Reference

    metadata = [(name.lower(), value) for name, value in target.headers.items()]
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = channel.unary_stream(
            f"/{SERVICE}/Watch",
            request_serializer=Reference.SerializeToString,
            response_deserializer=Order.FromString,
        )
        names = [order.name async for order in stub(Reference(id="3"), metadata=metadata, timeout=10)]
    expect(names == ["order 0", "order 1", "order 2"], str(names))


@check("grpc")
async def check_rpc_fault(target: Target) -> None:
    """A fault has its canonical code, and its own code as the reason in the details."""
    from headgate.testing.conformance.orders_rpc import Reference

    error = await _refusal(target, "Get", Reference(id="2"))
    expect(error.code().name == "NOT_FOUND", error.code().name)
    expect(error.details() == "there is no such order", error.details())
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
    expect(b"UNKNOWN_ORDER" in details, "the details do not name the reason")


@check("grpc")
async def check_rpc_validation(target: Target) -> None:
    """Input that is wrong is INVALID_ARGUMENT with the field in the details."""
    from headgate.testing.conformance.orders_rpc import Order

    error = await _refusal(target, "Create", Order(name="t" * 30))
    expect(error.code().name == "INVALID_ARGUMENT", error.code().name)
    expect(b"name" in dict(error.trailing_metadata()).get("grpc-status-details-bin", b""), "no field is named")


@check("grpc")
async def check_rpc_defect(target: Target) -> None:
    """An exception nobody foresaw is INTERNAL and tells nothing of it."""
    from headgate.testing.conformance.orders_rpc import Reference

    error = await _refusal(target, "Boom", Reference())
    expect(error.code().name == "INTERNAL", error.code().name)
    expect(orders.SECRET not in repr(error), "the exception's text leaks")


@check("grpc")
async def check_rpc_deadline(target: Target) -> None:
    """A caller's deadline is kept."""
    from headgate.testing.conformance.orders_rpc import Reference

    error = await _refusal(target, "Slow", Reference(), timeout=0.3)
    expect(error.code().name == "DEADLINE_EXCEEDED", error.code().name)


@check("grpc")
async def check_rpc_unknown(target: Target) -> None:
    """A method that is not there is UNIMPLEMENTED."""
    from headgate.testing.conformance.orders_rpc import Reference

    error = await _refusal(target, "Nowhere", Reference())
    expect(error.code().name == "UNIMPLEMENTED", error.code().name)


@check("grpc")
async def check_rpc_health(target: Target) -> None:
    """The standard health service answers without credentials."""
    import grpc
    from grpc_health.v1 import health_pb2

    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await stub(health_pb2.HealthCheckRequest(), timeout=10)
    expect(answer.status == health_pb2.HealthCheckResponse.SERVING, str(answer))


async def _web(target: Target, method: str, message: bytes) -> tuple[httpx.Response, list[bytes], dict[str, str]]:
    """One gRPC-Web call: the response, its messages and its trailers."""
    framed = struct.pack(">BI", 0, len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    response = await ask(target, "POST", f"/{SERVICE}/{method}", content=framed, headers=headers)
    messages, trailers, rest = [], {}, response.content
    while rest:
        flags, length = struct.unpack(">BI", rest[:5])
        frame, rest = rest[5 : 5 + length], rest[5 + length :]
        if flags & 0x80:
            lines = (line.partition(":") for line in frame.decode().split("\r\n") if line)
            trailers = {name.strip().lower(): value.strip() for name, _, value in lines}
        else:
            messages.append(frame)
    status = {name: value for name, value in response.headers.items() if name.startswith("grpc-")}
    return response, messages, {**status, **trailers}


@check("grpc-web")
async def check_web(target: Target) -> None:
    """A gRPC-Web call is answered on the HTTP port without a proxy, dressed like every answer."""
    from headgate.testing.conformance.orders_rpc import Order

    sent = Order(name="tea", quantity=2)
    response, messages, trailers = await _web(target, "Create", sent.SerializeToString())
    expect([Order.FromString(each) for each in messages] == [sent], str(messages))
    expect(trailers.get("grpc-status") == "0", str(trailers))
    expect_dressed(response)


@check("grpc-web")
async def check_web_stream(target: Target) -> None:
    """A stream comes as one frame for each message, then the trailers."""
    from headgate.testing.conformance.orders_rpc import Reference

    _, messages, trailers = await _web(target, "Watch", Reference(id="3").SerializeToString())
    expect((len(messages), trailers.get("grpc-status")) == (3, "0"), f"{len(messages)} {trailers}")


@check("grpc-web")
async def check_web_fault(target: Target) -> None:
    """A fault and a defect have the same codes as over native gRPC."""
    from headgate.testing.conformance.orders_rpc import Reference

    for method, status in (("Get", "5"), ("Boom", "13"), ("Nowhere", "12")):
        response, _, trailers = await _web(target, method, Reference(id="2").SerializeToString())
        expect(trailers.get("grpc-status") == status, f"{method}: {trailers}")
        expect(orders.SECRET not in repr(response.content), "the exception's text leaks")


async def _connect(target: Target, method: str, document: Any) -> httpx.Response:
    headers = {"content-type": "application/json", "connect-protocol-version": "1"}
    return await ask(target, "POST", f"/{SERVICE}/{method}", content=json.dumps(document), headers=headers)


@check("connect")
async def check_connect(target: Target) -> None:
    """A Connect call in JSON is answered on the HTTP port."""
    response = await _connect(target, "Create", {"name": "tea", "quantity": 2})
    expect((response.status_code, response.json()) == (200, {"name": "tea", "quantity": 2}), response.text)
    expect_dressed(response)


@check("connect")
async def check_connect_fault(target: Target) -> None:
    """A fault is Connect's error document, with the status its code maps to."""
    response = await _connect(target, "Get", {"id": "2"})
    expect((response.status_code, response.json()["code"]) == (404, "not_found"), response.text)
    response = await _connect(target, "Boom", {})
    expect((response.status_code, response.json()["code"]) == (500, "internal"), response.text)
    expect(orders.SECRET not in response.text, "the exception's text leaks")
