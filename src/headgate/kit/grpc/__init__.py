"""The kit over gRPC: the interceptor, the server, the client's side, and the same services over HTTP.

    server = GrpcServer(KitInterceptor(pipeline), port=50_051)
    server.add(lambda to: add_ShopServicer_to_server(Shop(), to))
    port = await server.start()

    app = RpcOverHttp(server.registry, app)        # gRPC-Web and Connect, on the port of HTTP

Needs the extra `grpc`; nothing else in the kit imports this room unless it is asked for.
"""

from importlib.util import find_spec

from headgate.kit.controls.faults import FailedPrecondition

if find_spec("grpc") is None:
    raise FailedPrecondition("gRPC needs the package grpcio", code="extra_missing", hint="pip install 'headgate[grpc]'")
