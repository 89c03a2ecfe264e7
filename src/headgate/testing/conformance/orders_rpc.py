"""The order service over gRPC: its descriptor made at run time, and its handlers.

service headgate.conformance.v1.Orders {
  rpc Create (Order) returns (Order);        INVALID_ARGUMENT unless the order is good
  rpc Get (Reference) returns (Order);       NOT_FOUND unless the id is "1"
  rpc Boom (Reference) returns (Order);      an exception that nobody foresaw
  rpc Slow (Reference) returns (Order);      answers after a minute
  rpc Watch (Reference) returns (stream Order);   `id` orders
}
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from headgate.testing.conformance import orders

PACKAGE: Final = "headgate.conformance.v1"
SERVICE: Final = f"{PACKAGE}.Orders"
_FIELD = descriptor_pb2.FieldDescriptorProto
_METHODS: Final = (
    ("Create", "Order", False),
    ("Get", "Reference", False),
    ("Boom", "Reference", False),
    ("Slow", "Reference", False),
    ("Watch", "Reference", True),
)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="headgate/conformance/v1/orders.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in (
        ("Order", (("name", _FIELD.TYPE_STRING), ("quantity", _FIELD.TYPE_INT32))),
        ("Reference", (("id", _FIELD.TYPE_STRING),)),
    ):
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            message.field.add(name=field, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    service = file.service.add(name="Orders")
    for name, request, streaming in _METHODS:
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.{request}",
            output_type=f".{PACKAGE}.Order",
            server_streaming=streaming,
        )
    return file


def _messages() -> tuple[Any, Any]:
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(SERVICE)
    except KeyError:
        pool.Add(_file())
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in ("Order", "Reference")
    )  # type: ignore[return-value]


Order, Reference = _messages()


class Orders:
    """The handlers, in the style of a generated servicer."""

    async def Create(self, request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's names
        """Make an order."""
        made = orders.Order.model_validate({"name": request.name, "quantity": request.quantity or 1})
        return Order(name=made.name, quantity=made.quantity)

    async def Get(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Look an order up."""
        return Order(**orders.find(request.id))

    async def Boom(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Fail."""
        orders.boom()

    async def Slow(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Take long."""
        await orders.slow()
        return Order()

    async def Watch(self, request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Stream orders."""
        for number in range(int(request.id)):
            yield Order(name=f"order {number}", quantity=number + 1)


def add_orders(server: Any) -> None:
    """Register the service with a grpc.aio server, as generated code would."""
    import grpc

    servicer = Orders()
    handlers = {}
    for name, request, streaming in _METHODS:
        make = grpc.unary_stream_rpc_method_handler if streaming else grpc.unary_unary_rpc_method_handler
        handlers[name] = make(
            getattr(servicer, name),
            request_deserializer=(Order if request == "Order" else Reference).FromString,
            response_serializer=Order.SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
