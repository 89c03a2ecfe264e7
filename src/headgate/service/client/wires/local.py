"""Calls within a process: the endpoint itself, through its codec both ways, as if a network lay between.

    wire = LocalWire(hosted, MSGPACK)
    client = Client(Orders, local=host([Orders()]))

The call is one of protocol `local`, in a task of its own: what the service changes of its context its caller does not
see. With a `pipeline`, its controls judge the call first; else it comes from `principal`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from headgate.kit.controls.call import Call, Pipeline, TraceContext
from headgate.kit.controls.faults import Fault
from headgate.kit.controls.principal import ANONYMOUS, Principal
from headgate.service.client.errors import BadAnswer
from headgate.service.client.wires import Outgoing
from headgate.service.codecs import UNDECODABLE, Codec
from headgate.service.faults import fault_of
from headgate.service.host import Hosted
from headgate.service.method import Method
from headgate.service.transports.session.conduct import Conduct, Route

T = TypeVar("T")

_PARENT: Final = 4
"""Parts of a `traceparent`."""
_END: Final = object()


class LocalWire:
    """See the module."""

    def __init__(
        self, hosted: Hosted, codec: Codec, *, pipeline: Pipeline | None = None, principal: Principal = ANONYMOUS
    ) -> None:
        self._conduct = Conduct((hosted,), pipeline, "local")
        self._codec = codec
        self._principal = principal
        self._decoders: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        call, codec = self._call(out), self._codec
        route = self._conduct.routes.get(out.path)
        serving = self._task(self._conduct.unary(call, route, codec, codec.encode(request), out.left()))
        try:
            body, fault = await asyncio.shield(serving)
        finally:
            await _cancelled(serving)
        if fault is not None:
            raise self._crossed(fault, out.method, call)
        return self._response(out.method, body)

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come; the service is one message ahead at most."""
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        serving = self._task(self._serve(out, request, queue))
        try:
            while (item := await queue.get()) is not _END:
                if isinstance(item, Fault):
                    raise item
                yield self._response(out.method, item)
        finally:
            await _cancelled(serving)

    async def aclose(self) -> None:
        """End the calls under way."""
        for task in tuple(self._tasks):
            await _cancelled(task)

    async def _serve(self, out: Outgoing, request: Any, queue: "asyncio.Queue[Any]") -> None:
        call, codec, conduct = self._call(out), self._codec, self._conduct
        count = 0

        async def send(response: Any) -> None:
            nonlocal count
            await queue.put(codec.encode(response))
            count += 1

        fault: Fault | None
        try:
            route = conduct.find(out.path)
            result, fault = await conduct.stream(call, route, self._requests(route, request), send, out.left())
            if fault is None and not route.kind.streams_out:
                await send(result)
        except asyncio.CancelledError:
            conduct.cancelled(call)
            raise
        except Exception as error:  # noqa: BLE001 - such as a response that cannot be encoded
            fault = conduct.judge(call, error)
        conduct.settle(call, fault)
        await queue.put(_END if fault is None else self._crossed(fault, out.method, call))

    def _requests(self, route: Route, request: Any) -> Any:
        """What the endpoint is given, made once the call was admitted."""
        encode = self._codec.encode
        if not route.kind.streams_in:
            body = encode(request)
            return lambda: route.decode(self._codec, body)

        async def messages() -> AsyncIterator[Any]:
            position = 0
            async for each in request:
                yield route.decode(self._codec, encode(each), f"/{position}")
                position += 1

        return messages

    def _task(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _call(self, out: Outgoing) -> Call:
        headers = [(name.lower().encode(), value.encode()) for name, value in out.headers.items()]
        call = Call("local", "POST", out.path, headers, "", time.monotonic())
        call.principal = self._principal
        call.request_id = out.headers.get("x-request-id", "")
        call.trace = _trace(out.headers)
        return call

    def _crossed(self, fault: Fault, method: Method, call: Call) -> Fault:
        """The fault as the other side sees it."""
        return fault_of(self._codec.decode(self._conduct.document(self._codec, fault, call)), method.faults)

    def _response(self, method: Method, body: bytes) -> Any:
        if method.response is None:
            return None
        decode = self._decoders.get(method.rpc)
        if decode is None:
            decode = self._decoders[method.rpc] = self._codec.decoder(method.response)
        try:
            return decode(body)
        except UNDECODABLE as error:
            raise BadAnswer(
                f"the answer of {method.name} is not what its contract says", internal=str(error)[:300]
            ) from error


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    """End a task, whatever it says to that."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if task.done() and not task.cancelled():
        task.exception()


def _trace(headers: dict[str, str]) -> TraceContext | None:
    parts = headers.get("traceparent", "").split("-")
    if len(parts) != _PARENT:
        return None
    return TraceContext(parts[1], parts[2], parts[3] == "01", headers.get("tracestate", ""))
