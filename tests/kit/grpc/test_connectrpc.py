"""Another implementation's client speaks with ours, in Connect and gRPC-Web."""

import os

import pytest

from tests.kit.grpc.echo import SERVICE, Ask, Reply

try:
    from connectrpc.client import ConnectClient
    from connectrpc.code import Code
    from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
    from connectrpc.errors import ConnectError
    from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
    from connectrpc.protocol import ProtocolType
except ImportError as missing:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no connectrpc: {missing}", allow_module_level=True)

FORMS = [
    pytest.param(("CONNECT", google_protobuf_json_codec), id="connect-json"),
    pytest.param(("CONNECT", google_protobuf_binary_codec), id="connect-proto"),
    pytest.param(("GRPC_WEB", google_protobuf_binary_codec), id="grpc-web"),
]


def method(name, level=IdempotencyLevel.UNKNOWN):
    """A method as the client describes it."""
    kind = {"ServerStream": StreamType.SERVER_STREAM, "ClientStream": StreamType.CLIENT_STREAM}.get(
        name, StreamType.UNARY
    )
    return MethodInfo(
        name=name, service_name=SERVICE, input=Ask, output=Reply, idempotency_level=level, stream_type=kind
    )


async def each(*asks):
    """Requests."""
    for ask in asks:
        yield ask


@pytest.fixture(params=FORMS)
async def client(request, over_http):
    """Its client, in each protocol and form; the service is `client.served`."""
    protocol, codec = request.param
    served = await over_http()
    async with ConnectClient(served.url, codec=codec(), protocol=ProtocolType[protocol]) as found:
        found.served = served
        yield found


async def test_unary(client):
    """One request, one response; compressed, for it is large."""
    reply = await client.execute_unary(request=Ask(text="é" * 2_000), method=method("Unary"))
    assert reply.text == "é" * 2_000


async def test_get(client):
    """What has no side effects, by GET where the protocol has it."""
    reading = method("Read", IdempotencyLevel.NO_SIDE_EFFECTS)
    protocol = "CONNECT" if "connect" in type(client._protocol).__name__.lower() else ""
    reply = await client.execute_unary(request=Ask(text="é"), method=reading, use_get=bool(protocol))
    assert reply.text == "é"


async def test_server_stream(client):
    """Replies one by one."""
    replies = [
        reply.text
        async for reply in client.execute_server_stream(request=Ask(text="a", count=3), method=method("ServerStream"))
    ]
    assert replies == ["a"] * 3


async def test_client_stream(client):
    """Many requests, one response."""
    reply = await client.execute_client_stream(
        request=each(Ask(text="a"), Ask(text="b")), method=method("ClientStream")
    )
    assert reply.text == "a,b"


async def test_an_error_with_details(client):
    """Its client reads our code, message and details, before and after the first reply."""
    with pytest.raises(ConnectError) as caught:
        await client.execute_unary(request=Ask(how="fault"), method=method("Unary"))
    assert (caught.value.code, caught.value.message) == (Code.FAILED_PRECONDITION, "the shop is closed — for now")
    assert "google.rpc.ErrorInfo" in {detail.type_name for detail in caught.value.details}
    replies = client.execute_server_stream(request=Ask(count=1, how="abort"), method=method("ServerStream"))
    assert await anext(replies)
    with pytest.raises(ConnectError) as caught:
        await anext(replies)
    assert caught.value.code is Code.OUT_OF_RANGE


async def test_an_unknown_method(client):
    """What is not there is unimplemented for its client, too."""
    with pytest.raises(ConnectError) as caught:
        await client.execute_unary(request=Ask(), method=method("Missing"))
    assert caught.value.code is Code.UNIMPLEMENTED
