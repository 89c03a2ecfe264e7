"""Handlers written without `async` are served the same, in threads."""

import asyncio
import threading

import grpc
import pytest

from headgate.kit.controls.faults import NotFound
from headgate.kit.current import current_request_id
from headgate.kit.grpc.methods import is_async
from headgate.kit.grpc.status import fault_from_rpc_error
from tests.kit.grpc.echo import KINDS, SERVICE, Ask, Reply, begin, finish, invoke


class Blocking:
    """The same service for threads."""

    def __init__(self):
        self.threads, self.ids, self.contexts = set(), [], []

    def act(self, ask, context):
        self.threads.add(threading.current_thread())
        self.ids.append(current_request_id())
        self.contexts.append(context)
        if ask.how == "abort":
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end")
        if ask.how == "fault":
            raise NotFound("gone", code="gone")
        if ask.how == "metadata":
            context.send_initial_metadata((("x-first", "1"),))
            context.set_trailing_metadata((("x-last", "2"),))
            assert context.is_active()

    def unary(self, ask, context):
        self.act(ask, context)
        return Reply(text=ask.text)

    def stream(self, ask, context):
        self.act(ask, context)
        for _ in range(2):
            yield Reply(text=ask.text)

    def collect(self, asks, context):
        seen = list(asks)
        self.act(seen[-1], context)
        return Reply(text=",".join(ask.text for ask in seen))

    def bidi(self, asks, context):
        for ask in asks:
            self.act(ask, context)
            yield Reply(text=ask.text)

    def add_to(self, server):
        serialisers = (Ask.FromString, Reply.SerializeToString)
        forms = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, *serialisers),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.stream, *serialisers),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.collect, *serialisers),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi, *serialisers),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, forms),))


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    async def test_they_answer(self, serve, kind):
        """A blocking handler runs in another thread, as part of its call."""
        echo = Blocking()
        served = await serve(echo=echo)
        call = begin(served.channel, kind, Ask(text="a"), metadata=(("x-request-id", "mine"),))
        assert {reply.text for reply in await finish(call)} == {"a"}
        assert threading.main_thread() not in echo.threads
        assert echo.ids == ["mine"]
        [settled] = await served.recorder.settled()
        assert settled.code == "OK"
        assert not echo.contexts[0].is_active()
        assert not echo.contexts[0].add_callback(lambda: None)

    @pytest.mark.parametrize(("how", "code"), [("abort", "OUT_OF_RANGE"), ("fault", "NOT_FOUND")])
    async def test_they_fail(self, serve, kind, how, code):
        """Aborts and faults in threads end the call as elsewhere."""
        served = await serve(echo=Blocking())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await invoke(served.channel, kind, Ask(how=how))
        assert fault_from_rpc_error(caught.value).kind == code

    async def test_their_metadata(self, serve, kind):
        """A thread sends metadata."""
        served = await serve(echo=Blocking())
        call = begin(served.channel, kind, Ask(how="metadata"))
        await finish(call)
        assert (dict(await call.initial_metadata())["x-first"], dict(await call.trailing_metadata())["x-last"]) == (
            "1",
            "2",
        )


async def test_callbacks_and_rich_aborts(serve):
    """A thread may ask to be told of the end, and abort with a status."""
    from grpc_status import rpc_status

    status = rpc_status.to_status(rpc_status.status_pb2.Status(code=5, message="gone"))
    told = threading.Event()
    echo = Blocking()

    def act(_ask, context):
        assert context.add_callback(told.set)
        context.abort_with_status(status)

    echo.act = act
    served = await serve(echo=echo)
    with pytest.raises(grpc.aio.AioRpcError, match="gone"):
        await invoke(served.channel, "Unary", Ask())
    await served.recorder.settled()
    assert told.wait(5)


async def test_waiting_handlers_hold_up_nobody_else(serve):
    """Blocking handlers that wait for their callers leave threads to others, and end when these leave."""
    echo = Blocking()
    served = await serve(echo=echo)
    calls = [begin(served.channel, "Bidi", None, _one_and_wait()) for _ in range(40)]
    assert [(await call.read()).text for call in calls] == ["a"] * 40
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
    for call in calls:
        call.cancel()
    assert {call.code for call in await served.recorder.settled(40)} == {"CANCELLED"}
    assert not any(context.is_active() for context in echo.contexts)


async def _one_and_wait():
    yield Ask(text="a")
    await asyncio.Event().wait()


def test_what_counts_as_asynchronous():
    """Coroutine functions, async generators, partials of them and objects that are called like them block nothing."""
    from functools import partial

    async def coroutine(): ...

    async def generator():
        yield

    class Callable:
        async def __call__(self): ...

    for each in (coroutine, generator, partial(coroutine), partial(partial(generator)), Callable()):
        assert is_async(each)
    assert not is_async(lambda: None)
