"""Server reflection, so that tools can ask what there is. For debugging: it shows every schema.

Version 1 has the messages of v1alpha under another name; one servicer answers both. Only v1alpha is listed,
because the library brings no descriptor of version 1 that a tool could then ask for.
Source: grpc/reflection/v1/reflection.proto.
"""

from collections.abc import Iterable
from typing import Any, Final

import grpc

from headgate.kit.grpc.registry import methods_handler

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def add_reflection(server: Any, services: Iterable[str], pool: Any = None) -> None:
    """Let `server` tell of `services`, and of what their descriptors need, out of `pool` or the default one."""
    from grpc_reflection.v1alpha import reflection, reflection_pb2

    module: Any = reflection  # its stubs do not know of `aio`
    servicer = module.aio.ReflectionServicer((*services, SERVICES[1]), pool=pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(methods_handler(service, {"ServerReflectionInfo": handler}) for service in SERVICES)
    )
