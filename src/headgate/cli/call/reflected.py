"""Calls over gRPC without the service's class: messages as the server's own reflection describes them.

    wire = ReflectedWire("grpc://127.0.0.1:50051")
    await wire.unary(Outgoing(method, "/orders.Orders/Place"), {"sku": "tea"})

Values are what they are over other wires: integers are numbers, not text as protocol buffers have them in JSON, and
what a contract says to be no record (`wraps_request`, `wraps_response`) is itself, without the message that carries it.

Source: grpc.reflection.v1alpha; the JSON mapping of Protocol Buffers.

    Unimplemented
    ├── no_reflection       the server describes nothing: it runs without `debug`
    └── no_such_method
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from headgate.kit.controls.faults import Fault, InvalidArgument, Unimplemented
from headgate.kit.grpc.status import fault_from_rpc_error
from headgate.service.client.errors import Unreachable
from headgate.service.client.wires import Outgoing

_CONNECT_SECONDS: Final = 3.0
_WELL_KNOWN: Final = "google.protobuf"


class ReflectedWire:
    """See the module."""

    def __init__(self, address: str, *, wraps_request: bool = False, wraps_response: bool = False) -> None:
        self._wraps_request = wraps_request
        self._wraps_response = wraps_response
        scheme, _, self._target = address.rpartition("://")
        self._secure = scheme == "grpcs"
        self._channel = (
            grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials())
            if self._secure
            else grpc.aio.insecure_channel(self._target)
        )
        self._described: dict[str, Any] = {}
        self._unsent: Exception | None = None

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        async for answer in self.stream(out, request):
            return answer
        return None

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        method = await self._method(out.path)
        takes = message_factory.GetMessageClass(method.input_type)
        gives = message_factory.GetMessageClass(method.output_type)
        streams_in, streams_out = method.client_streaming, method.server_streaming
        make = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }[streams_in, streams_out]
        called: Any = make(out.path, lambda each: each.SerializeToString(), gives.FromString)
        sent: Any = self._each(request, takes) if streams_in else self._message(request, takes)
        metadata = tuple((name.lower(), value) for name, value in out.headers.items())
        call = called(sent, timeout=out.left(), metadata=metadata)
        try:
            if streams_out:
                async for answer in call:
                    yield self._plain(answer)
            else:
                yield self._plain(await call)
        except grpc.RpcError as error:
            raise _fault(error) from error
        except asyncio.CancelledError:
            if self._unsent is not None:
                raise self._unsent from None
            raise
        finally:
            call.cancel()

    def _plain(self, message: Any) -> Any:
        told = _plain(message)
        return told["value"] if self._wraps_response and isinstance(told, dict) and set(told) == {"value"} else told

    def _message(self, value: Any, kind: Any) -> Any:
        told = {"value": value} if self._wraps_request else value
        try:
            return json_format.ParseDict(told, kind())
        except json_format.ParseError as error:
            raise InvalidArgument(f"this is no {kind.DESCRIPTOR.name}: {error}", code="invalid_request") from error

    async def _each(self, values: AsyncIterator[Any], kind: Any) -> AsyncGenerator[Any, None]:
        try:
            async for value in values:
                yield self._message(value, kind)
        except Exception as error:
            self._unsent = error  # gRPC's library would only cancel the call
            raise

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.close(None)

    async def _method(self, path: str) -> Any:
        found = self._described.get(path)
        if found is None:
            found = self._described[path] = await asyncio.to_thread(self._describe, path)
        return found

    def _describe(self, path: str) -> Any:
        """Ask the server. Its library for that knows no asyncio."""
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

        service, _, name = path.strip("/").rpartition("/")
        opened = (
            grpc.secure_channel(self._target, grpc.ssl_channel_credentials())
            if self._secure
            else grpc.insecure_channel(self._target)
        )
        with opened as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
                database = ProtoReflectionDescriptorDatabase(channel)
                known = database.get_services()
                full = service if service in known else _near(service, known)
                return DescriptorPool(database).FindServiceByName(full).methods_by_name[name]
            except grpc.FutureTimeoutError as error:
                raise Unreachable("the service cannot be reached", internal=self._target) from error
            except KeyError as error:
                raise Unimplemented(f"there is no {path} here", code="no_such_method") from error
            except grpc.RpcError as error:
                raise Unimplemented(
                    "the server does not describe its messages",
                    code="no_reflection",
                    hint="start it with debug on, or call over HTTP",
                ) from error


def _near(service: str, known: Any) -> str:
    """The service whose package was meant: what its class is called may not be known."""
    package = service.rpartition(".")[0]
    return next((each for each in known if each.rpartition(".")[0] == package), service)


def _plain(message: Any) -> Any:
    """A message as other wires tell it."""
    if message.DESCRIPTOR.full_name == f"{_WELL_KNOWN}.Empty":
        return None
    told = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return _with_integers(told, message.DESCRIPTOR)


def _with_integers(told: Any, kind: Any) -> Any:
    """A message in JSON's form, with numbers where protocol buffers write 64-bit integers as text."""
    for field in kind.fields:
        if field.json_name in told:
            told[field.json_name] = _field(told[field.json_name], field)
    return told


def _field(told: Any, field: Any) -> Any:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return {key: _field(each, entry.fields_by_name["value"]) for key, each in told.items()}
    if entry is not None and entry.file.package == _WELL_KNOWN:
        return told  # such as google.protobuf.Value: they have forms of their own
    if isinstance(told, list):
        return [_field(each, field) for each in told]
    if entry is not None:
        return _with_integers(told, entry)
    is_integer = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    return int(told) if is_integer else told


def _fault(error: grpc.RpcError) -> Fault:
    found = fault_from_rpc_error(error)
    with contextlib.suppress(AttributeError):
        if found.kind == "UNAVAILABLE":
            return Unreachable("the service cannot be reached", internal=found.message)
    return found
