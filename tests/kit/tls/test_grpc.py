"""gRPC over TLS: rotation, and clients that must show a certificate."""

import asyncio
from pathlib import Path

import grpc
import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.serve.grpc import GrpcServer
from headgate.kit.tls.grpc import server_credentials
from headgate.kit.tls.rotation import Certificates


async def who(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Answers with the names of the peer."""
    return b",".join(context.auth_context().get("x509_subject_alternative_name", []))


async def serve(certificates: Certificates) -> GrpcServer:
    """A server on a free port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(who)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", {"Who": handler}),))
    part = GrpcServer(server, host="127.0.0.1", port=0, setting="grpc_port", tls=certificates)
    await part.start()
    return part


def trusting(ca: Path, client: tuple[Path, Path] | None) -> grpc.ChannelCredentials:
    """What a client connects with."""
    certificate, key = (path.read_bytes() for path in client) if client else (None, None)
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, certificate)


async def ask(part: GrpcServer, ca: Path, client: tuple[Path, Path] | None = None) -> bytes:
    """Call it over a connection of its own."""
    # Its own pool: otherwise a channel like an earlier one would take over that one's connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{part.port}", trusting(ca, client), options) as channel:
        return await asyncio.wait_for(channel.unary_unary("/shop/Who")(b""), 20)


async def test_client_certificates(folder):
    """With client authorities a client must show a certificate of theirs, whose names the handler sees."""
    part = await serve(Certificates(folder.files(clients=True)))
    assert await ask(part, folder.ca, folder.client("spiffe://shop.example/orders")) == b"spiffe://shop.example/orders"
    stranger = folder.authority.issue("spiffe://shop.example/orders").write(folder.path, "stranger")
    for client in (None, stranger):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(part, folder.ca, client)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await part.stop()


async def test_rotation(folder):
    """After a rotation new connections see the new certificate, and a broken one changes nothing."""
    certificates = Certificates(folder.files(), every=0)
    part = await serve(certificates)
    assert await ask(part, folder.ca) == b""
    folder.certificate.write_text("broken")
    certificates.refresh()
    assert await ask(part, folder.ca) == b""
    folder.authority = type(folder.authority)("another authority")
    new_ca = folder.authority.write(folder.path / "new.pem")
    folder.renew()
    assert certificates.refresh()
    assert await ask(part, new_ca) == b""
    with pytest.raises(grpc.aio.AioRpcError):
        await ask(part, folder.ca)
    await part.stop()


async def test_rotation_of_client_authorities(folder):
    """A client whose authority is no longer trusted is refused over new connections."""
    certificates = Certificates(folder.files(clients=True), every=0)
    part = await serve(certificates)
    client = folder.client("spiffe://shop.example/orders")
    await ask(part, folder.ca, client)
    type(folder.clients)("new clients").write(folder.client_ca)
    assert certificates.refresh()
    with pytest.raises(grpc.aio.AioRpcError):
        await ask(part, folder.ca, client)
    await part.stop()


def test_client_certificates_that_are_optional(folder):
    """GRPC cannot leave it to the client, so that is refused instead of left unverified."""
    with pytest.raises(InvalidArgument) as caught:
        server_credentials(Certificates(folder.files(clients=True, required=False)))
    assert caught.value.code == "client_certificate_not_optional"
