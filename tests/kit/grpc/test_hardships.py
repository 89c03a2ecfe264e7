"""Callers who are slow, silent or many, and handlers that say too much or what cannot be said."""

import asyncio

import grpc
import pytest

from headgate.kit.controls.faults import FailedPrecondition, Violation
from headgate.kit.current import current_request_id
from headgate.kit.grpc.registry import methods_handler
from headgate.kit.grpc.status import fault_from_rpc_error
from tests.kit.grpc.callers import Limits, failing, silence
from tests.kit.grpc.echo import KINDS, Ask, Echo, Reply, begin, invoke, path


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀", "\n"])
async def test_long_texts_fit_the_metadata(serve, letter):
    """However long a fault's texts are, and in whatever script, its code and the kind of it arrive."""
    served = await serve()
    violations = [Violation(f"/{letter * 100}", letter * 2_000, letter * 2_000)] * 50

    async def verbose(_ask, _context):
        raise FailedPrecondition(letter * 3_000, code="verbose", hint=letter * 3_000, violations=violations)

    served.echo.nothing = verbose
    for _ in range(5):  # what exceeds the limit a little is dropped now and then
        fault = fault_from_rpc_error(await failing(begin(served.channel, "Unary", Ask())))
        assert (fault.kind, fault.code) == ("FAILED_PRECONDITION", "verbose")
        assert fault.message.startswith(letter * 100)


@pytest.mark.parametrize("kind", ["Unary", "ServerStream"])
@pytest.mark.parametrize(
    "pair", [("X-Upper", "1"), ("x-text", "é"), ("x-lines", "a\nb"), ("x-number", 5), ("x-raw-bin", "text"), ("", "1")]
)
async def test_metadata_that_cannot_be_sent(serve, logged, kind, pair):
    """A handler that sets metadata gRPC cannot send is told so, and its caller has an answer that leaks nothing."""
    served = await serve()

    async def wrong(_ask, context):
        context.set_trailing_metadata((pair,))

    served.echo.nothing = wrong
    error = await failing(begin(served.channel, kind, Ask(), timeout=10))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "something went wrong here")
    assert (await served.recorder.settled())[0].code == "INTERNAL"
    assert [line["code"] for line in logged() if line["event"] == "call failed"] == ["internal"]


async def test_a_caller_who_never_sends_a_message(serve):
    """A call without its message does not wait for it longer than calls may take."""
    served = await serve(Limits(first_byte=0.2))
    call = served.channel.stream_unary(path("Unary"))(silence())
    error = await failing(call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not served.echo.seen


async def drained(call):
    """Read what is left."""
    while await call.read():
        pass


async def test_a_reader_who_does_not_read(serve):
    """A stream whose reader takes nothing is over once the gap is longer than allowed: handler, call and all."""
    served = await serve(Limits(first_byte=5, idle=0.3), last_words=0.1)
    stopped = asyncio.Event()

    async def flood(_asks, _context):
        try:
            while True:
                yield Reply(blob=bytes(100_000))
        finally:
            stopped.set()

    flood_handler = grpc.unary_stream_rpc_method_handler(flood, None, Reply.SerializeToString)
    served.server.add_generic_rpc_handlers((methods_handler("test.Slow", {"Flood": flood_handler}),))
    call = served.channel.unary_stream("/test.Slow/Flood")(b"")
    assert await call.read()
    await asyncio.wait_for(stopped.wait(), 10)
    [settled] = await served.recorder.settled()
    assert (settled.code, settled.complete) == ("DEADLINE_EXCEEDED", False)
    with pytest.raises(grpc.aio.AioRpcError):
        await drained(call)


async def test_a_compressed_bomb(serve):
    """A small compressed message that grows beyond the limit never reaches its handler."""
    served = await serve(max_receive=1_000)
    ask = Ask(blob=bytes(1_000_000))
    error = await failing(begin(served.channel, "Unary", ask, compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not served.echo.seen
    reply = await invoke(served.channel, "Unary", Ask(text="a" * 900), compression=grpc.Compression.Gzip)
    assert len(reply[0].text) == 900


async def test_calls_at_a_time_are_kept_apart(serve):
    """Of many calls at a time each has its own id, before and after it waited."""
    seen = []

    class Looking(Echo):
        async def nap(self, ask, context):
            before = current_request_id()
            await asyncio.sleep(0.01)
            seen.append((ask.text, before, current_request_id()))

    served = await serve(echo=Looking())
    names = [f"call-{number}" for number in range(100)]
    await asyncio.gather(
        *(
            invoke(served.channel, KINDS[number % 4], Ask(text=name, how="nap"), metadata=(("x-request-id", name),))
            for number, name in enumerate(names)
        )
    )
    assert sorted(seen) == sorted((name, name, name) for name in names)
    assert len({call.request_id for call in await served.recorder.settled(100)}) == 100
