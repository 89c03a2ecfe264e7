"""The gate around methods of a grpc.aio server, over real connections."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

from headgate.kit.controls.faults import Fault
from headgate.kit.safety import Gate
from headgate.kit.safety.grpc import ContentInterceptor, judged
from tests.kit.safety.conftest import Broken, Stuck, Told, Words

CALM = "All is well here. "


def _messages():
    """A message with texts in every position: alone, repeated, nested, in maps."""
    file = descriptor_pb2.FileDescriptorProto(name="safety_test.proto", package="safety", syntax="proto3")
    told = file.message_type.add(name="Told")
    text, number, message = (
        descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
        descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
    )
    one, many = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    told.field.add(name="text", number=1, type=text, label=one)
    told.field.add(name="lines", number=2, type=text, label=many)
    told.field.add(name="inner", number=3, type=message, label=one, type_name=".safety.Told")
    told.field.add(name="parts", number=4, type=message, label=many, type_name=".safety.Told")
    told.field.add(name="named", number=5, type=message, label=many, type_name=".safety.Told.NamedEntry")
    told.field.add(name="number", number=6, type=number, label=one)
    entry = told.nested_type.add(name="NamedEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=text, label=one)
    entry.field.add(name="value", number=2, type=text, label=one)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("safety.Told"))


Message = _messages()


async def unary(request, context):
    """Answer with the request."""
    return request


async def tell(request, context):
    """A message for each line."""
    for line in request.lines:
        yield Message(text=line, number=len(line))


async def collect(requests, context):
    """All texts in one message."""
    return Message(lines=[request.text async for request in requests])


async def talk(requests, context):
    """Answer each message at once."""
    async for request in requests:
        yield request


METHODS = {
    "Unary": (grpc.unary_unary_rpc_method_handler, unary),
    "Tell": (grpc.unary_stream_rpc_method_handler, tell),
    "Collect": (grpc.stream_unary_rpc_method_handler, collect),
    "Talk": (grpc.stream_stream_rpc_method_handler, talk),
}


class Outside(grpc.aio.ServerInterceptor):
    """The shell outside: it answers faults, for single requests and responses."""

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)

        async def call(request, context):
            try:
                return await handler.unary_unary(request, context)
            except Fault as fault:
                await context.abort(grpc.StatusCode[fault.kind], f"outside: {fault.code}")

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


class Running:
    """A server with interceptors, and the stubs of its methods."""

    def __init__(self, *interceptors):
        self.server = grpc.aio.server(interceptors=interceptors)
        coders = {"request_deserializer": Message.FromString, "response_serializer": Message.SerializeToString}
        handlers = {name: make(behaviour, **coders) for name, (make, behaviour) in METHODS.items()}
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("safety.Telling", handlers)])

    async def __aenter__(self):
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        coders = {"request_serializer": Message.SerializeToString, "response_deserializer": Message.FromString}
        for name, kind in (
            ("Unary", "unary_unary"),
            ("Tell", "unary_stream"),
            ("Collect", "stream_unary"),
            ("Talk", "stream_stream"),
        ):
            setattr(self, name.lower(), getattr(self.channel, kind)(f"/safety.Telling/{name}", **coders))
        return self

    async def __aexit__(self, *_):
        await self.channel.close()
        await self.server.stop(0)


def gates(action="block", **options):
    """An interceptor with gates on both sides that answers by itself."""
    gate = Gate([Words("badger")], action=action)
    return ContentInterceptor(input_gate=gate, output_gate=gate, abort=True, **options)


async def refused(call):
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def all_of(call):
    """The texts of a stream."""
    return [message.text async for message in call]


@pytest.mark.parametrize(
    "request_",
    [
        Message(text="a badger"),
        Message(lines=["x", "a badger"]),
        Message(inner=Message(parts=[Message(text="a badger")])),
        Message(named={"x": "a badger"}),
        Message(named={"a badger": "x"}),
    ],
)
async def test_unwanted_input_is_refused(request_):
    """A request is refused wherever in it the text is; the answer names the category and not the text."""
    async with Running(gates()) as running:
        error = await refused(running.unary(request_))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "badger" in error.details()
    assert "a badger" not in error.details()


async def test_harmless_calls_of_every_kind_pass():
    """What is harmless passes unchanged, in all four kinds of call."""
    message = Message(text="fine", lines=["one", "two"], inner=Message(text="deep"), named={"k": "v"}, number=3)

    async def several() -> AsyncIterator[Message]:
        for text in ("one", "two"):
            yield Message(text=text)

    async with Running(gates()) as running:
        assert await running.unary(message) == message
        assert await all_of(running.tell(message)) == ["one", "two"]
        assert (await running.collect(several())).lines == ["one", "two"]
        assert await all_of(running.talk(several())) == ["one", "two"]


async def test_a_fault_is_raised_for_the_interceptor_outside():
    """Unless told to answer itself, the interceptor leaves the answer to the one outside."""
    inside = ContentInterceptor(input_gate=Gate([Words("badger")]))
    async with Running(Outside(), inside) as running:
        assert (await refused(running.unary(Message(text="badger")))).details() == "outside: content_blocked"


async def test_unwanted_output_is_refused():
    """A response with a text that is not allowed is not sent."""
    async with Running(ContentInterceptor(output_gate=Gate([Words("badger")]), abort=True)) as running:
        assert (await refused(running.unary(Message(text="badger")))).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_is_judged_as_one_text():
    """A word split over the messages of a stream is caught before its first half is out."""
    lines = [CALM] * 40 + ["a bad", "ger"] + [CALM] * 40
    got = []
    only = ContentInterceptor(output_gate=Gate([Words("badger")]), abort=True)
    async with Running(only) as running:
        call = running.tell(Message(lines=lines))

        async def read():
            async for message in call:
                got.append(message.text)  # noqa: PERF401 - a comprehension loses what came before the error

        assert (await refused(read())).code() is grpc.StatusCode.PERMISSION_DENIED
    assert got == [CALM] * len(got)
    assert 0 < len(got) <= 40


async def test_messages_are_redacted_in_place():
    """Redacted, a message keeps its other fields, and a stream its messages."""
    only = ContentInterceptor(output_gate=Gate([Words("badger")], action="redact"), abort=True)
    message = Message(lines=["Well. A badger. Fine."], named={"k": "badger"}, number=7)
    async with Running(only) as running:
        answer = await running.unary(message)
        assert answer == Message(lines=["Well. [removed] Fine."], named={"k": "[removed]"}, number=7)
        told = running.tell(Message(lines=["Well. ", "A bad", "ger. ", "Fine."]))
        assert [(each.text, each.number) async for each in told] == [
            ("Well. ", 6),
            ("[removed] ", 5),
            ("", 5),
            ("Fine.", 5),
        ]


async def test_a_conversation_is_not_held_back():
    """In a conversation each message is answered before the next is sent."""
    async with Running(gates()) as running:
        call = running.talk()
        for text in ("hello", "all is well"):
            await call.write(Message(text=text))
            assert (await asyncio.wait_for(call.read(), 10)).text == text
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_word_split_over_a_conversation_is_caught():
    """A message that completes what is not allowed is refused, in conversations and in streams of requests."""

    async def several() -> AsyncIterator[Message]:
        for text in ("all is bad", "ger and on"):
            yield Message(text=text)

    async with Running(gates()) as running:
        for call in (running.collect(several()), all_of(running.talk(several()))):
            assert (await refused(call)).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_conversation_is_redacted():
    """In a conversation the texts to blame are replaced; a message that completes one is replaced whole."""

    async def several() -> AsyncIterator[Message]:
        yield Message(text="Well. A badger.", lines=["fine"])
        yield Message(text="it is bad")
        yield Message(text="ger")

    async with Running(gates("redact")) as running:
        got = [message async for message in running.talk(several())]
    assert got == [
        Message(text="Well. [removed]", lines=["fine"]),
        Message(text="it is bad"),
        Message(text="[removed]"),
    ]


async def test_only_chosen_methods_are_judged():
    """Methods may be chosen or exempt; health checks and reflection are, unless told otherwise."""
    async with Running(gates(methods=["/safety.Telling/Tell"])) as running:
        assert (await running.unary(Message(text="badger"))).text == "badger"
        assert await refused(all_of(running.tell(Message(lines=["badger"]))))
    async with Running(gates(exempt=["/safety."])) as running:
        assert (await running.unary(Message(text="badger"))).text == "badger"


async def test_a_method_that_is_not_there_stays_so():
    """The interceptor invents no methods."""
    async with Running(gates()) as running:
        stub = running.channel.unary_unary("/safety.Telling/Nothing")
        assert (await refused(stub(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_caller_who_leaves_stops_the_handler():
    """Cancelled, a stream closes the handler that makes it."""
    closed = asyncio.Event()

    async def endless(request, context):
        try:
            while True:
                yield Message(text=CALM)
                await asyncio.sleep(0)
        finally:
            closed.set()

    wrapped = gates()._wrap(grpc.unary_stream_rpc_method_handler(endless))
    got = wrapped.unary_stream(Message(), None)
    await anext(got)
    await got.aclose()
    await asyncio.wait_for(closed.wait(), 10)


async def test_nested_structures_are_judged():
    """The texts of google.protobuf.Struct are texts as all others."""
    struct = struct_pb2.Struct()
    struct.update({"a": {"b": ["a badger"]}})
    new = await judged(Gate([Words("badger")], action="redact"), struct, "output")
    assert new["a"]["b"][0] == "[removed]"
    assert struct["a"]["b"][0] == "a badger"


async def test_findings_are_told_with_their_side():
    """The observer learns of findings in requests and responses."""
    told = Told()
    gate = Gate([Words("badger")], action="flag", observer=told)
    async with Running(ContentInterceptor(input_gate=gate, output_gate=gate)) as running:
        await running.unary(Message(text="badger"))
    assert [side for side, judgement in told.judgements if judgement.categories] == ["input", "output"]


@pytest.mark.parametrize("side", ["input_gate", "output_gate"])
@pytest.mark.parametrize(("on_error", "code"), [("closed", grpc.StatusCode.UNAVAILABLE), ("open", None)])
async def test_calls_nobody_can_judge(side, on_error, code):
    """With no scorer that answers in time, calls of every kind are refused as worth a retry, or pass."""
    for scorer in (Broken(), Stuck()):
        gate = Gate([scorer], on_error=on_error, timeout=0.02)
        async with Running(ContentInterceptor(abort=True, **{side: gate})) as server:
            message = Message(text=CALM, lines=[CALM])
            for call in (
                server.unary(message),
                all_of(server.tell(message)),
                server.collect(iter([message])),
                all_of(server.talk(iter([message]))),
            ):
                if code is None:
                    await call
                else:
                    error = await refused(call)
                    assert (error.code(), CALM in error.details()) == (code, False)


async def test_a_caller_who_leaves_takes_the_scorers_along():
    """A call that is cancelled while its text is judged leaves no scorer running."""
    scorer = Stuck()
    async with Running(ContentInterceptor(input_gate=Gate([scorer], timeout=60), abort=True)) as server:
        call = server.unary(Message(text="x"))
        task = asyncio.ensure_future(call)
        await asyncio.wait_for(scorer.waiting.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while not scorer.cancelled:
                await asyncio.sleep(0)


async def test_the_running_text_of_a_conversation_is_one():
    """Texts beside the running one, such as an id in each message, do not part a word that is split over messages."""
    async with Running(gates()) as server:
        messages = [Message(text="a bad", lines=["id"]), Message(text="ger", lines=["id"])]
        assert (await refused(all_of(server.talk(iter(messages))))).code() is grpc.StatusCode.PERMISSION_DENIED
    async with Running(gates("redact")) as server:
        messages = [Message(text="Fine.", lines=["a badger"]), Message(text="A badger.", lines=["x"])]
        got = [(each.text, list(each.lines)) async for each in server.talk(iter(messages))]
        assert got == [("Fine.", ["[removed]"]), ("[removed]", ["x"])]


async def test_a_huge_message_is_judged():
    """A message of megabytes is judged whole."""
    long = CALM * 60_000
    async with Running(gates()) as server:
        assert (await server.unary(Message(text=long))).text == long
        error = await refused(server.unary(Message(text=long + "badger")))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
