"""A service whose descriptors are built as the tests run: four kinds of calls, and ways to go wrong.

`how` of a request says what its handler does; `text` comes back, `count` times from streaming methods, which
go wrong after that.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel

from headgate.kit.controls.call import Call, Control, MutableHeaders
from headgate.kit.controls.faults import FailedPrecondition, Violation

PACKAGE = "headgate.test.v1"
SERVICE = f"{PACKAGE}.Echo"
SECRET = "key=abc"
KINDS = ("Unary", "ServerStream", "ClientStream", "Bidi")
_FILE = "headgate/test/v1/echo.proto"
_METHODS = {"Unary": (0, 0), "ServerStream": (0, 1), "ClientStream": (1, 0), "Bidi": (1, 1), "Read": (0, 0)}
_POOL = descriptor_pool.Default()


def path(method: str) -> str:
    """Full name of a method, as it is called."""
    return f"/{SERVICE}/{method}"


def _describe() -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    fields = {"text": kinds.TYPE_STRING, "how": kinds.TYPE_STRING, "count": kinds.TYPE_INT64, "blob": kinds.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    for name in ("Ask", "Reply"):
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            message.field.add(name=field, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    service = file.service.add(name="Echo")
    for name, (many_in, many_out) in _METHODS.items():
        method = service.method.add(name=name, input_type=f".{PACKAGE}.Ask", output_type=f".{PACKAGE}.Reply")
        method.client_streaming, method.server_streaming = bool(many_in), bool(many_out)
        if name == "Read":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    _POOL.AddSerializedFile(file.SerializeToString())


_describe()
Ask: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Ask"))
Reply: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Reply"))


class Small(BaseModel):
    """What `how: validate` is held against."""

    count: int
    text: str


def sample_fault() -> FailedPrecondition:
    """A fault that uses all there is."""
    return FailedPrecondition(
        "the shop is closed — for now",
        code="shop_closed",
        hint="come back tomorrow",
        violations=[Violation("/count", "must be smaller", "at most 3"), Violation("", "is odd")],
        retry_after=2.5,
        internal=SECRET,
    )


class Echo:
    """The handlers. `started` and `stopped` tell of those that wait."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.seen: list[Any] = []
        self.contexts: list[Any] = []

    async def act(self, ask: Any, context: Any) -> None:
        """Go wrong, as the request asks for it."""
        self.contexts.append(context)
        how = getattr(self, ask.how or "nothing")
        await how(ask, context)

    async def nothing(self, ask: Any, context: Any) -> None:
        """All is well."""

    async def fault(self, ask: Any, context: Any) -> None:
        raise sample_fault()

    async def exception(self, ask: Any, context: Any) -> None:
        raise RuntimeError(f"secret {SECRET}")

    async def validate(self, ask: Any, context: Any) -> None:
        Small.model_validate({"count": ask.text})

    async def abort(self, ask: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end", (("x-app", "1"),))

    async def quiet_abort(self, ask: Any, context: Any) -> None:
        try:
            await self.abort(ask, context)
        except grpc.aio.AbortError:
            return

    async def code(self, ask: Any, context: Any) -> None:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("gone")

    async def code_and_raise(self, ask: Any, context: Any) -> None:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        raise RuntimeError(SECRET)

    async def wait(self, ask: Any, context: Any) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()

    async def stubborn(self, ask: Any, context: Any) -> None:
        try:
            await self.wait(ask, context)
        except asyncio.CancelledError:
            return

    async def nap(self, ask: Any, context: Any) -> None:
        await asyncio.sleep(ask.count / 1000)

    async def cancelled(self, ask: Any, context: Any) -> None:
        raise asyncio.CancelledError

    async def metadata(self, ask: Any, context: Any) -> None:
        await context.send_initial_metadata((("x-first", "1"), ("x-raw-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"),))

    def reply(self, ask: Any) -> Any:
        """What comes back."""
        return Reply(text=ask.text, blob=bytes(ask.count) if ask.how == "large" else b"")

    large = nothing

    async def unary(self, ask: Any, context: Any) -> Any:
        """One to one."""
        self.seen.append(ask)
        await self.act(ask, context)
        return self.reply(ask)

    async def server_stream(self, ask: Any, context: Any) -> AsyncIterator[Any]:
        """One to many, as a generator."""
        self.seen.append(ask)
        if ask.how in {"metadata", "nap"}:
            await self.act(ask, context)
            ask = Ask(text=ask.text, count=1)
        while ask.how == "trickle":
            yield self.reply(ask)
            await asyncio.sleep(0.01)
        for _ in range(0 if ask.how == "large" else ask.count):
            yield self.reply(ask)
        await self.act(ask, context)
        if ask.how == "large":
            yield self.reply(ask)

    async def client_stream(self, asks: AsyncIterator[Any], context: Any) -> Any:
        """Many to one."""
        last, texts = Ask(), []
        async for ask in asks:
            self.seen.append(ask)
            texts.append(ask.text)
            last = ask
        await self.act(last, context)
        return Reply(text=",".join(texts), blob=self.reply(last).blob)

    async def bidi(self, _asks: Any, context: Any) -> None:
        """Many to many, with the context's own `read` and `write`."""
        while (ask := await context.read()) is not getattr(grpc.aio, "EOF"):  # noqa: B009 - the stubs do not know it
            self.seen.append(ask)
            if ask.how in {"metadata", "nap"}:
                await self.act(ask, context)
                await context.write(self.reply(ask))
                continue
            for _ in range(0 if ask.how == "large" else ask.count or 1):
                await context.write(self.reply(ask))
            await self.act(ask, context)
            if ask.how == "large":
                await context.write(self.reply(ask))

    def add_to(self, server: Any) -> None:
        """Register with a server, as generated code does."""
        forms = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, Ask.FromString, Reply.SerializeToString),
            "Read": grpc.unary_unary_rpc_method_handler(self.unary, Ask.FromString, Reply.SerializeToString),
            "ServerStream": grpc.unary_stream_rpc_method_handler(
                self.server_stream, Ask.FromString, Reply.SerializeToString
            ),
            "ClientStream": grpc.stream_unary_rpc_method_handler(
                self.client_stream, Ask.FromString, Reply.SerializeToString
            ),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi, Ask.FromString, Reply.SerializeToString),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, forms),))


async def one(message: Any) -> AsyncIterator[Any]:
    """A stream of one message."""
    yield message


def begin(channel: Any, method: str, ask: Any, requests: Any = None, **options: Any) -> Any:
    """Call a method of any kind; the call, not yet awaited."""
    many_in, many_out = _METHODS[method]
    make = getattr(channel, f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}")
    stub = make(path(method), Ask.SerializeToString, Reply.FromString)
    return stub(requests or one(ask) if many_in else ask, **options)


async def finish(call: Any) -> list[Any]:
    """All replies to a call."""
    if hasattr(call, "__aiter__"):
        return [reply async for reply in call]
    return [await call]


async def invoke(channel: Any, method: str, ask: Any, **options: Any) -> list[Any]:
    """Call a method of any kind."""
    return await finish(begin(channel, method, ask, **options))


class Recorder(Control):
    """Keeps the calls that were settled, refuses when told to, and marks answers."""

    name = "recorder"

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.entered: list[Call] = []
        self.responded = 0
        self.refuse: Callable[[Call], Any] = lambda _call: None

    def admit(self, call: Call) -> Any:
        self.entered.append(call)
        return self.refuse(call)

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        self.responded += 1
        headers.append((b"x-recorded", b"yes"))

    def settle(self, call: Call) -> None:
        self.calls.append(call)

    async def settled(self, count: int = 1) -> Sequence[Call]:
        """The calls, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.calls) < count:
                await asyncio.sleep(0.005)
        return self.calls
