"""Hosted services behind the kit's gRPC server."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator

import grpc
import grpc_tools
import httpx
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_tools import protoc

from headgate.kit.controls.faults import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unauthenticated
from headgate.kit.grpc.client import client_interceptors
from headgate.kit.grpc.status import fault_from_rpc_error
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit, nothing
from headgate.kit.serve.http import HttpServer
from headgate.service import AUTHENTICATED, Context, Service, Struct, on, rpc
from headgate.service.host import host
from headgate.service.lock import parse_lock, update_lock
from headgate.service.proto.text import proto_text
from headgate.service.transports.grpc import grpc_services
from tests.service.proto.shop import Item, Shop
from tests.service.proto.test_wire import CONTRACT, ECHO, WIRE, thing


class Slow(Service, name="slow", public=True):
    """Takes its time, and tells when it is let go of."""

    def __init__(self):
        super().__init__()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    @rpc
    async def wait(self, context: Context) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return context.wire

    @rpc
    async def follow(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    @rpc(timeout=0.01)
    async def late(self) -> int:
        await asyncio.Event().wait()
        return 1

    @rpc(guard=AUTHENTICATED)
    async def mine(self) -> int:
        return 1

    @rpc
    async def wire(self, context: Context) -> str:
        return context.wire

    @rpc
    async def crash(self) -> int:
        raise RuntimeError("a secret of ours")


class Heard(Struct):
    text: str


class Listener(Service, name="listener"):
    @on("said.*")
    async def heard(self, event: Heard) -> None:
        """Hear."""


@pytest.fixture
async def serve():
    """Starts a server of these services; gives a channel, the kit and the server."""
    running = []

    async def start(*services, locks=None, **settings):
        kit = Kit(HardeningSettings(grpc_port=0, port=0, log_level="error", **settings))
        server = kit.grpc_server(*grpc_services(host(services), locks))
        port = await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        running.append((server, channel))
        return channel, kit, server

    yield start
    for server, channel in running:
        await channel.close()
        await server.stop(None)


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Modules that the compiler makes of a `.proto`."""

    def make(text, name):
        (tmp_path / f"{name}.proto").write_text(text, encoding="utf-8")
        included = f"-I{next(iter(grpc_tools.__path__))}/_proto"
        out = (f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}")
        assert protoc.main(["protoc", f"-I{tmp_path}", included, *out, f"{name}.proto"]) == 0
        monkeypatch.syspath_prepend(str(tmp_path))
        for module in (f"{name}_pb2", f"{name}_pb2_grpc"):
            sys.modules.pop(module, None)
        return importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")

    return make


async def test_generated_stubs_of_the_text_call_every_kind(serve, stubs):
    """Code that the compiler generates from our text calls methods of all four kinds."""
    channel, _, _ = await serve(Shop())
    pb2, pb2_grpc = stubs(proto_text(Shop.contract()), "shop_generated")
    stub = pb2_grpc.ShopStub(channel)

    assert (await stub.Item(pb2.ItemRequest(sku="tea"))) == pb2.Item(sku="tea", quantity=1)
    sent = pb2.Everything.FromString(ECHO.encode(thing(user_name="Ada", items=[Item("a", 2)])))
    assert sent.way_cash.amount == 3
    assert sent.color == pb2.COLOR_RED
    assert await stub.Echo(sent) == sent
    assert [each.value async for each in stub.Count(pb2.CountRequest(to=3))] == [0, 1, 2]
    items = [pb2.Item(sku=each, quantity=1) for each in "abc"]
    assert list((await stub.Total(iter(items))).value) == items
    said = (pb2.ChatRequest(value=each) for each in ("x", "y"))
    assert [each.sku async for each in stub.Chat(said)] == ["x", "y"]
    assert not (await stub.Nothing(pb2.google_dot_protobuf_dot_empty__pb2.Empty())).HasField("value")


def unary(channel, path):
    """A call of raw bytes."""
    return channel.unary_unary(path)


async def test_faults_keep_code_details_and_violations(serve):
    """A declared fault arrives with its code and details, and a wrong request with all its violations."""
    channel, _, _ = await serve(Shop())
    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/shop.Shop/Buy")(b"")
    fault = fault_from_rpc_error(raised.value)
    assert isinstance(fault, FailedPrecondition)
    assert (fault.code, fault.message, fault.details) == ("out_of_stock", "only 2 are left", {"left": 2.0})

    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/shop.Shop/Echo")(b"")
    fault = fault_from_rpc_error(raised.value)
    assert isinstance(fault, InvalidArgument)
    assert {"/way", "/address"} <= {each.pointer for each in fault.violations}


async def test_a_response_that_cannot_be_sent_is_told(serve):
    """A response beyond what messages hold is a fault that says so."""
    channel, _, _ = await serve(Shop())
    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/shop.Shop/Broken")(b"")
    assert fault_from_rpc_error(raised.value).code == "value_out_of_range"


async def test_defects_tell_nothing(serve):
    """An exception that is no fault is INTERNAL with a neutral text."""
    channel, _, _ = await serve(Slow())
    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/slow.Slow/Crash")(b"")
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(raised.value)


async def test_guards_hold(serve):
    """A guarded method refuses a caller nobody knows."""
    channel, _, _ = await serve(Slow())
    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/slow.Slow/Mine")(b"")
    assert isinstance(fault_from_rpc_error(raised.value), Unauthenticated)


async def test_deadlines_of_caller_and_method_end_the_call(serve):
    """The nearer of the caller's deadline and the method's own ends it, and the handler is cancelled."""
    slow = Slow()
    channel, _, server = await serve(slow)
    with pytest.raises(grpc.RpcError) as raised:
        await unary(channel, "/slow.Slow/Late")(b"")
    assert fault_from_rpc_error(raised.value).code == "method_timeout"
    carrying = grpc.aio.insecure_channel(server.address, interceptors=client_interceptors(timeout=0.2))
    with pytest.raises(DeadlineExceeded):
        await unary(carrying, "/slow.Slow/Wait")(b"")
    await asyncio.wait_for(slow.ended.wait(), 5)
    await carrying.close()


async def test_a_caller_who_leaves_cancels_the_handler(serve):
    """Cancelling a call cancels its handler, and closes its stream."""
    slow = Slow()
    channel, _, _ = await serve(slow)
    call = unary(channel, "/slow.Slow/Wait")(b"")
    await asyncio.wait_for(slow.begun.wait(), 5)
    call.cancel()
    await asyncio.wait_for(slow.ended.wait(), 5)
    slow.ended.clear()
    responses = channel.unary_stream("/slow.Slow/Follow")(b"")
    await responses.read()
    responses.cancel()
    await asyncio.wait_for(slow.ended.wait(), 5)


async def test_the_lock_gives_the_numbers(serve):
    """A service with a lock speaks with the lock's numbers."""
    contract = Shop.contract()
    stored = update_lock(contract).text().replace('"sku": "string = 1"', '"sku": "string = 9"')
    lock = parse_lock(stored.replace('"quantity": "int64 = 2"', '"quantity": "int64 = 4"'))
    channel, _, _ = await serve(Shop(), locks={"shop": lock})
    raw = await unary(channel, "/shop.Shop/Item")(item_request(lock))
    assert raw == b"\x20\x01\x4a\x03tea"


def item_request(lock):
    """The bytes of a request for tea: its one text field under the lock's number."""
    number = int(lock.messages["ItemRequest"].fields["sku"].rpartition(" = ")[2])
    return bytes([number << 3 | 2, 3]) + b"tea"


async def test_reflection_tells_of_services_and_their_files(serve):
    """With reflection on, a tool finds each service and the file that its messages are in."""
    channel, _, _ = await serve(Shop(), debug=True)
    info = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="shop.Shop"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    listed, file, health = [each async for each in info(iter(asked))]
    assert "shop.Shop" in {each.name for each in listed.list_services_response.service}
    files = [FileDescriptorProto.FromString(each) for each in file.file_descriptor_response.file_descriptor_proto]
    assert "shop.proto" in {each.name for each in files}
    assert "google/protobuf/timestamp.proto" in {each.name for each in files}
    assert health.HasField("file_descriptor_response")


async def test_health_knows_each_service(serve):
    """The health service answers for every hosted service by its full name."""
    channel, _, _ = await serve(Shop(), Slow(), Listener())
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    for name in ("", "shop.Shop", "slow.Slow"):
        assert (await check(health_pb2.HealthCheckRequest(service=name))).status == 1


@pytest.fixture
async def over_http(serve):
    """A client of the same services on the port of HTTP."""
    _, kit, server = await serve(Shop(), Slow())
    web = HttpServer(kit.harden(nothing, rpc=server), host="127.0.0.1", port=0, setting="port")
    await web.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web.port}") as client:
        yield client
    await web.stop()


async def test_connect_speaks_json_of_the_same_messages(over_http):
    """Any HTTP client calls a method with JSON, by GET where it has no side effects, and reads faults."""
    found = await over_http.post("/shop.Shop/Item", json={"sku": "tea", "quantity": 2})
    assert found.json() == {"sku": "tea", "quantity": "2"}
    query = {"connect": "v1", "encoding": "json", "message": '{"sku":"tea"}'}
    assert (await over_http.get("/shop.Shop/Item", params=query)).json() == {"sku": "tea", "quantity": "1"}
    whole = WIRE.request(CONTRACT, CONTRACT.methods["Echo"])
    raw = whole.encode(thing(user_name="Ada"))
    echoed = await over_http.post("/shop.Shop/Echo", content=raw, headers={"content-type": "application/proto"})
    assert whole.decode(echoed.content) == thing(user_name="Ada")
    said = await over_http.post("/slow.Slow/Wire", json={}, headers={"connect-protocol-version": "1"})
    assert said.json() == {"value": "connect"}
    refused = await over_http.post("/shop.Shop/Item", json={"sku": "tea", "quantity": 0})
    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid_argument"


async def test_grpc_web_calls_the_same_methods(over_http):
    """A browser's call is answered with a message and the trailers as the last frame."""
    body = b"\x0a\x03tea"
    found = await over_http.post(
        "/shop.Shop/Item",
        content=b"\x00" + len(body).to_bytes(4, "big") + body,
        headers={"content-type": "application/grpc-web+proto"},
    )
    size = int.from_bytes(found.content[1:5], "big")
    assert found.content[5 : 5 + size] == b"\x0a\x03tea\x10\x01"
    assert b"grpc-status: 0" in found.content[5 + size :]
