"""Calls to others carry on what the current call brought, and fail with faults."""

import asyncio

import grpc
import pytest

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import DeadlineExceeded, FailedPrecondition, Unavailable
from headgate.kit.current import CURRENT
from headgate.kit.grpc.client import client_interceptors
from tests.kit.grpc.echo import KINDS, Ask, begin, finish, invoke

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", state="a=b")


@pytest.fixture
async def channel(serve):
    """A channel with our interceptors, to a service; the service is `channel.served`."""
    served = await serve()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", interceptors=client_interceptors()) as found:
        found.served = served
        yield found


@pytest.fixture
def current():
    """A call being served here, with 9 seconds left on a clock that stands at 100."""
    call = Call("http", "GET", "/", [], "", 100.0)
    call.request_id, call.trace = "our-id", TRACE
    token = CURRENT.set(call)
    yield call
    CURRENT.reset(token)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    async def test_replies_and_metadata_come_through(self, channel, kind):
        """With the interceptors a call still gives replies and metadata."""
        call = begin(channel, kind, Ask(text="a", count=2))
        assert {reply.text for reply in await finish(call)} == {"a"}
        assert "x-recorded" in dict([*await call.initial_metadata(), *await call.trailing_metadata()])

    async def test_errors_are_faults(self, channel, kind):
        """A failing call raises the fault the service raised, also in the midst of a stream."""
        with pytest.raises(FailedPrecondition) as caught:
            await invoke(channel, kind, Ask(how="fault", count=1))
        assert (caught.value.code, caught.value.retry_after) == ("shop_closed", 2.5)
        assert isinstance(caught.value.__cause__, grpc.RpcError)

    async def test_what_the_current_call_brought_is_carried_on(self, channel, kind, current):
        """Request id and trace of the current call are sent, and no more time than it has left."""
        current.deadline = asyncio.get_running_loop().time() + 5
        await invoke(channel, kind, Ask(), metadata=(("x-app", "1"),))
        [call] = await channel.served.recorder.settled()
        assert call.request_id == "our-id"
        assert call.trace == TRACE
        assert call.headers[b"x-app"] == b"1"
        assert 3 < call.deadline - call.started < 5.5

    async def test_what_the_caller_says_itself_wins(self, channel, kind, current):
        """Metadata and a nearer timeout given with a call are left alone."""
        current.deadline = asyncio.get_running_loop().time() + 50
        parent = "00-11111111111111111111111111111111-2222222222222222-00"
        await invoke(channel, kind, Ask(), timeout=4, metadata=(("x-request-id", "mine"), ("traceparent", parent)))
        [call] = await channel.served.recorder.settled()
        assert (call.request_id, call.trace.traceparent, call.trace.state) == ("mine", parent, "")
        assert 2 < call.deadline - call.started < 4.5

    async def test_no_time_is_left(self, channel, kind, current):
        """A call that would be over before it began is not made."""
        current.deadline = asyncio.get_running_loop().time() - 1
        with pytest.raises(DeadlineExceeded):
            await invoke(channel, kind, Ask())
        assert not channel.served.recorder.entered

    async def test_cancelling_reaches_the_service(self, channel, kind):
        """Whoever stops waiting stops the work as well."""
        task = asyncio.ensure_future(invoke(channel, kind, Ask(how="wait")))
        await asyncio.wait_for(channel.served.echo.started.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(channel.served.echo.stopped.wait(), 10)


async def test_outside_of_a_call_nothing_is_added(channel):
    """Without a current call, calls go out as they are."""
    await invoke(channel, "Unary", Ask())
    [call] = await channel.served.recorder.settled()
    assert b"x-request-id" not in call.headers
    assert call.deadline is None


async def test_a_default_timeout(serve):
    """A channel may have a timeout for all calls that give none."""
    served = await serve()
    interceptors = client_interceptors(timeout=0.1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", interceptors=interceptors) as channel:
        with pytest.raises(DeadlineExceeded):
            await invoke(channel, "Unary", Ask(how="wait"))


async def test_a_service_that_is_not_there():
    """A connection refused is Unavailable."""
    async with grpc.aio.insecure_channel("127.0.0.1:1", interceptors=client_interceptors()) as channel:
        with pytest.raises(Unavailable):
            await invoke(channel, "Unary", Ask())
