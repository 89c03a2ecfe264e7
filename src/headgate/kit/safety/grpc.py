"""The gate around methods of a grpc.aio server: the text fields of requests and responses are judged.

    server = grpc.aio.server(interceptors=[..., ContentInterceptor(input_gate=gate, output_gate=gate)])

All strings of a message count, nested, repeated and in maps. In the responses to a single request, those of the field
`text_at` are one running text, judged with bounded hold-back; in a conversation, where both sides stream, nothing
is held back and each message is judged with the end of the one before. A refusal is raised as a fault, for the
interceptor outside to answer; with `abort` it is answered here.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import Fault
from headgate.kit.safety.conversation import Conversation
from headgate.kit.safety.envelopes import Envelopes
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Side
from headgate.kit.safety.refusals import not_installed, note

try:
    import grpc
except ImportError as missing:
    raise not_installed("grpcio", "grpc") from missing

TEXT_AT: Final = ("chunk", "text", "delta", "content", "message")
"""The names of the field that holds the running text of a stream of responses: the first that is a string."""

BUFFER: Final = 1024 * 1024

_STRING, _MESSAGE = 9, 11
_Handler = Any
_Slot = tuple[str, Callable[[str], None], str]


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _Interceptor = grpc.aio.ServerInterceptor


class ContentInterceptor(_Interceptor):
    """Puts gates around the methods of a server: those in `methods`, full names, or all that are not in `exempt`."""

    def __init__(
        self,
        *,
        input_gate: Gate | None = None,
        output_gate: Gate | None = None,
        methods: Collection[str] = (),
        exempt: Collection[str] = ("/grpc.health.v1.Health/", "/grpc.reflection."),
        text_at: Sequence[str] = TEXT_AT,
        buffer: int = BUFFER,
        abort: bool = False,
    ) -> None:
        self._methods = frozenset(methods)
        self._exempt = tuple(exempt)
        self._wrap = GatedHandler(input_gate, output_gate, text_at=text_at, buffer=buffer, abort=abort)
        self._wrapped: dict[str, tuple[_Handler, _Handler]] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[_Handler]], handler_call_details: Any
    ) -> _Handler:
        """The handler of a method, inside the gates when the method is chosen."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not self._chosen(method):
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = (handler, self._wrap(handler))
            if len(self._wrapped) < 1024:
                self._wrapped[method] = known
        return known[1]

    def _chosen(self, method: str) -> bool:
        return method in self._methods if self._methods else not method.startswith(self._exempt)


class GatedHandler:
    """Wraps `grpc.RpcMethodHandler`s: call it with one to have it gated."""

    def __init__(
        self,
        input_gate: Gate | None,
        output_gate: Gate | None,
        *,
        text_at: Sequence[str] = TEXT_AT,
        buffer: int = BUFFER,
        abort: bool = False,
    ) -> None:
        self._input = input_gate
        self._output = output_gate
        self._text_at = tuple(text_at)
        self._buffer = buffer
        self._abort = abort

    def __call__(self, handler: _Handler) -> _Handler:
        """`handler` with its messages judged."""
        make, inner = _kind(handler)
        wrapped = self._streaming(handler, inner) if handler.response_streaming else self._single(handler, inner)
        return make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _single(self, handler: _Handler, inner: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            try:
                admitted = await self._admit(handler, request)
                response = await inner(admitted, context)
                return response if self._output is None else await judged(self._output, response, "output")
            except Fault as fault:
                await self._refuse(fault, context)

        return call

    def _streaming(self, handler: _Handler, inner: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                admitted = await self._admit(handler, request)
                async for response in self._responses(inner(admitted, context), held=not handler.request_streaming):
                    yield response
            except Fault as fault:
                await self._refuse(fault, context)

        return call

    async def _admit(self, handler: _Handler, request: Any) -> Any:
        """The request, or the stream of them, as the handler may see it."""
        if self._input is None:
            return request
        if handler.request_streaming:
            return _conversation(self._input, request, "input", self._text_at)
        return await judged(self._input, request, "input")

    async def _responses(self, responses: AsyncIterator[Any], *, held: bool) -> AsyncIterator[Any]:
        if self._output is None:
            passed = responses
        elif held:
            passed = self._running(self._output, responses)
        else:
            passed = _conversation(self._output, responses, "output", self._text_at)
        try:
            async for response in passed:
                yield response
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()

    async def _running(self, gate: Gate, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
        envelopes: Envelopes[Any] = Envelopes(gate, "output", most=self._buffer)
        async for response in responses:
            running = _running(response, self._text_at)
            checked = await judged(gate, response, "output", without=running)
            text = getattr(checked, running) if running else ""
            async for message, new in envelopes.push((checked, running), text, checked.ByteSize()):
                yield _with(message, new)
        async for message, new in envelopes.finish():
            yield _with(message, new)

    async def _refuse(self, fault: Fault, context: Any) -> None:
        note(fault)
        if not self._abort:
            raise fault
        await context.abort(grpc.StatusCode[fault.kind], fault.message)


async def judged(gate: Gate, message: Any, side: Side, *, without: str = "") -> Any:
    """`message` as it may be passed on: itself, or a copy in which texts were redacted. Raises as `Gate.check_all`."""
    found = {pointer: text for pointer, _, text in _slots(message, "") if text and pointer != f"/{without}"}
    redacted = await gate.check_all(found, side) if found else {}
    return _replaced(message, redacted) if redacted else message


async def _conversation(
    gate: Gate, messages: AsyncIterator[Any], side: Side, text_at: Sequence[str]
) -> AsyncIterator[Any]:
    """Messages judged one by one, the running text of each with the end of those before."""
    conversation = Conversation(gate, side)
    async for message in messages:
        running = _running(message, text_at)
        found = {pointer: text for pointer, _, text in _slots(message, "")}
        redacted = await conversation.check(found, f"/{running}" if running else "")
        yield _replaced(message, redacted) if redacted else message


def _kind(handler: _Handler) -> tuple[Callable[..., _Handler], Callable[..., Any]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


def _running(message: Any, text_at: Sequence[str]) -> str:
    """The name of the field with the running text; "" when there is none."""
    return next((name for name in text_at if _is_text(message, name)), "")


def _is_text(message: Any, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name.get(name)
    return field is not None and field.type == _STRING and not field.is_repeated


def _with(envelope: tuple[Any, str], text: str) -> Any:
    message, running = envelope
    return _replaced(message, {f"/{running}": text}) if running and getattr(message, running) != text else message


def _replaced(message: Any, new: dict[str, str]) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    # All are listed before any is put: putting one into a map changes what is walked.
    for pointer, put, _ in list(_slots(copy, "")):
        if pointer in new:
            put(new[pointer])
    return copy


def _slots(message: Any, pointer: str) -> Iterator[_Slot]:
    """Each text of a message: its pointer, how to put another in its place, and the text."""
    descriptor = getattr(message, "DESCRIPTOR", None)
    for field, value in message.ListFields() if descriptor is not None else ():
        below = f"{pointer}/{field.name}"
        if field.type == _STRING:
            if field.is_repeated:
                yield from ((f"{below}/{at}", _Item(value, at), text) for at, text in enumerate(value))
            else:
                yield below, _Field(message, field.name), value
        elif field.type == _MESSAGE:
            yield from _nested(field, value, below)


def _nested(field: Any, value: Any, pointer: str) -> Iterator[_Slot]:
    if not field.is_repeated:
        yield from _slots(value, pointer)
    elif field.message_type.GetOptions().map_entry:
        of_text = field.message_type.fields_by_name["value"].type == _STRING
        for key in list(value):
            if isinstance(key, str):
                # A key is judged, and not replaced: two could become one.
                yield f"{pointer}/{key}\0name", _keep, key
            if of_text:
                yield f"{pointer}/{key}", _Item(value, key), value[key]
            else:
                yield from _slots(value[key], f"{pointer}/{key}")
    else:
        yield from itertools.chain.from_iterable(_slots(each, f"{pointer}/{at}") for at, each in enumerate(value))


def _keep(_text: str) -> None:
    """Leave a text where it is."""


class _Field:
    __slots__ = ("message", "name")

    def __init__(self, message: Any, name: str) -> None:
        self.message = message
        self.name = name

    def __call__(self, text: str) -> None:
        setattr(self.message, self.name, text)


class _Item:
    __slots__ = ("at", "container")

    def __init__(self, container: Any, at: Any) -> None:
        self.container = container
        self.at = at

    def __call__(self, text: str) -> None:
        self.container[self.at] = text
