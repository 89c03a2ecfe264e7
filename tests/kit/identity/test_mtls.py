"""Mutual TLS over a real gRPC server: whom the controls see behind a certificate."""

import grpc
import pytest

from headgate.kit.controls.access import Access
from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.certificates import MtlsAuthenticator, certificate_of_peer
from headgate.kit.controls.faults import Fault
from headgate.kit.controls.identity import Identity
from headgate.testing.certificates import Authority

ID = "spiffe://shop.example/orders"
METHOD = "/shop.v1.Orders/Create"


@pytest.fixture
async def service(tmp_path):
    """A gRPC server that answers with the caller's id, or the code of the refusal; gives port and authority."""
    authority = Authority()
    identity = Identity([MtlsAuthenticator(trust_domains=["shop.example"], scopes={ID: ["orders:write"]})])
    pipeline = Pipeline([identity, Access({METHOD: "orders:write"})])

    async def create(_request, context):
        call = Call("grpc", "POST", METHOD, [], context.peer(), 0.0)
        call.certificate = certificate_of_peer(context.auth_context())
        try:
            await pipeline.enter(call)
        except Fault as fault:
            return fault.code.encode()
        return call.principal.id.encode()

    handlers = grpc.method_handlers_generic_handler(
        "shop.v1.Orders", {"Create": grpc.unary_unary_rpc_method_handler(create)}
    )
    issued = authority.issue("127.0.0.1", "localhost")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers])
    credentials = grpc.ssl_server_credentials(
        [(issued.key, issued.certificate)], root_certificates=authority.pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield port, authority
    await server.stop(0)


async def answered(service, *names, common_name="peer", issuer=None):
    """What a client with a certificate for these names is answered."""
    port, authority = service
    issued = (issuer or authority).issue(*names, common_name=common_name)
    credentials = grpc.ssl_channel_credentials(authority.pem, issued.key, issued.certificate)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        return (await channel.unary_unary(METHOD)(b"", timeout=10)).decode()


async def test_a_workload(service):
    """A workload of the trust domain is known by its SPIFFE id, and has the scopes of that id."""
    assert await answered(service, ID) == ID


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["spiffe://shop.example/cart"], "missing_scope"),
        (["spiffe://other.example/orders"], "wrong_trust_domain"),
        (["orders.internal"], "wrong_trust_domain"),
        ([ID, "spiffe://shop.example/cart"], "spiffe_id_invalid"),
    ],
)
async def test_others(service, names, code):
    """Whoever has another certificate of the same authority is refused, and the reason says why."""
    assert await answered(service, *names) == code


async def test_another_authority(service):
    """A certificate of an authority that is not trusted does not get as far as the controls."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answered(service, ID, issuer=Authority())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
