"""The gRPC wire: hosted services as handlers of the kit's server, with descriptors made while running.

    kit = Kit()
    hosted = host([Orders()])
    rpc = kit.grpc_server(*grpc_services(hosted, locks_in(Path("contracts"))))
    raise SystemExit(kit.run(rpc=rpc))

All four kinds of methods, under the paths of their contracts; health and, in debug mode, reflection are the kit's, and
so are gRPC-Web and Connect on the port of HTTP. What fails is told by the kit: a fault as a status with details, and
anything else as INTERNAL, its traceback in the log.
"""

from headgate.service.transports.grpc.services import GrpcService, grpc_services

__all__ = ["GrpcService", "grpc_services"]
