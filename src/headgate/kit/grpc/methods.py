"""A handler of any kind and style, made ready to be run the same way everywhere.

gRPC knows four kinds (one or many requests, one or many responses). Handlers are written as coroutines, as
async generators, as coroutines that call `context.write`, or without `async`, to run in a thread. Here the
bytes are turned into messages and back, so that whoever runs a method counts and limits what really came.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import grpc

from headgate.kit.controls.faults import Fault, Internal, InvalidArgument, Unimplemented

if TYPE_CHECKING:
    from headgate.kit.grpc.context import RpcContext

UNTIMED: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.v1.", "/grpc.reflection.v1alpha.")
"""Services whose streams are open for as long as somebody watches."""


class Method:
    """One RPC: its `path`, its handler as gRPC registers it, and how to run it."""

    __slots__ = (
        "behaviour",
        "deserialize",
        "drive",
        "handler",
        "path",
        "request_streaming",
        "response_streaming",
        "route",
        "serialize",
        "untimed",
    )

    def __init__(self, path: str, handler: Any, route: str | None = None) -> None:
        self.path = path
        self.route = path if route is None else route
        """What calls are counted under; "" for a method that is not there."""
        self.handler = handler
        self.request_streaming: bool = handler.request_streaming
        self.response_streaming: bool = handler.response_streaming
        self.deserialize: Callable[[bytes], Any] | None = handler.request_deserializer
        self.serialize: Callable[[Any], bytes] | None = handler.response_serializer
        self.untimed = path.startswith(UNTIMED)
        self.behaviour: Callable[..., Any] = _behaviour(handler)
        self.drive = self._how()

    def _how(self) -> "Callable[[RpcContext], Any]":
        if not is_async(self.behaviour):
            from headgate.kit.grpc.threads import drive_in_thread

            return functools.partial(drive_in_thread, self)
        if self.response_streaming:
            return self._drive_stream
        return self._drive_many_to_one if self.request_streaming else self._drive_unary

    async def _drive_unary(self, context: "RpcContext") -> bytes:
        return self.encode(await self.behaviour(await context.only_request(), context))

    async def _drive_many_to_one(self, context: "RpcContext") -> bytes:
        return self.encode(await self.behaviour(context.requests(), context))

    async def _drive_stream(self, context: "RpcContext") -> None:
        request = context.requests() if self.request_streaming else await context.only_request()
        responses = self.behaviour(request, context)
        if not hasattr(responses, "__aiter__"):
            await responses
            return
        if not hasattr(responses, "aclose"):
            async for response in responses:
                await context.write(response)
            return
        # Closed at once however this ends, so that what the handler holds is released now, not by the collector.
        async with aclosing(responses):
            async for response in responses:
                await context.write(response)

    def decode(self, raw: bytes) -> Any:
        """The message in these bytes. Raises InvalidArgument (`malformed_message`)."""
        if self.deserialize is None:
            return raw
        try:
            return self.deserialize(raw)
        except Fault:
            raise
        except Exception as error:
            raise InvalidArgument(
                "the request is not a message of this method",
                code="malformed_message",
                hint="compare the schemas of both sides",
                internal=repr(error),
            ) from error

    def encode(self, response: Any) -> bytes:
        """The bytes of a response. Raises Internal (`malformed_response`)."""
        if self.serialize is not None:
            try:
                return self.serialize(response)
            except Exception as error:
                raise _unserialisable(self.path, response) from error
        if isinstance(response, bytes):
            return response
        raise _unserialisable(self.path, response)


async def _no_such_method(_requests: Any, context: Any) -> None:
    raise Unimplemented(
        f"there is no method {context.method.path[:200]}",
        code="no_such_method",
        hint="compare the schemas of both sides",
    )


_UNKNOWN: Final[Any] = grpc.stream_unary_rpc_method_handler(_no_such_method)


def unknown_method(path: str) -> Method:
    """A method that refuses, so that calls of what is not there are counted and limited like all others."""
    return Method(path, _UNKNOWN, route="")


def _unserialisable(path: str, response: Any) -> Fault:
    return Internal(
        "something went wrong here",
        code="malformed_response",
        hint="the request id finds the reason in the server's log",
        internal=f"the handler of {path} returned {type(response).__name__}, which its serialiser does not take",
    )


def _behaviour(handler: Any) -> Callable[..., Any]:
    kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
    found: Callable[..., Any] = getattr(handler, kinds[2 * handler.request_streaming + handler.response_streaming])
    return found


def is_async(behaviour: Callable[..., Any]) -> bool:
    """Whether calling this gives something to await or to iterate asynchronously, and blocks nothing."""
    while isinstance(behaviour, functools.partial):
        behaviour = behaviour.func
    candidates = (behaviour, getattr(behaviour, "__call__", None))  # noqa: B004 - objects with `async def __call__`
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in candidates)
