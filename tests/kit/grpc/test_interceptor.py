"""Every call of a gRPC server passes through the controls, whatever its kind and however it ends."""

import asyncio

import grpc
import pytest
from grpc_status import rpc_status

from headgate.kit.controls.call import Answer, Control
from headgate.kit.controls.faults import PermissionDenied, ResourceExhausted
from headgate.kit.current import current_call, current_request_id
from headgate.kit.grpc.status import fault_from_rpc_error
from tests.kit.grpc.callers import Limits, failing, silence
from tests.kit.grpc.echo import KINDS, SECRET, SERVICE, Ask, Echo, begin, finish, invoke, path

STREAMS = {"ServerStream", "Bidi"}


@pytest.mark.parametrize("kind", KINDS)
class TestOutcomes:
    async def test_a_call_that_goes_well(self, serve, kind):
        """Replies arrive, the controls' metadata with them, and the call is settled once with what was sent."""
        served = await serve()
        call = begin(served.channel, kind, Ask(text="hello", count=2), metadata=(("x-request-id", "mine"),))
        replies = await finish(call)
        assert [reply.text for reply in replies] == ["hello"] * (2 if kind in STREAMS else 1)
        metadata = dict([*await call.initial_metadata(), *await call.trailing_metadata()])
        assert (metadata["x-request-id"], metadata["x-recorded"]) == ("mine", "yes")
        [settled] = await served.recorder.settled()
        assert (settled.route, settled.path, settled.method) == (path(kind), path(kind), "POST")
        assert (settled.code, settled.status, settled.complete, settled.fault) == ("OK", 200, True, None)
        assert (settled.request_id, settled.peer) == ("mine", "127.0.0.1")
        assert settled.bytes_in == 9
        assert (settled.messages_out, settled.bytes_out) == (len(replies), 7 * len(replies))
        assert settled.started < settled.first_byte <= settled.ended

    async def test_a_fault(self, serve, kind):
        """A fault becomes its status with all it says as details, and what is internal stays here."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how="fault"), metadata=(("x-request-id", "mine"),)))
        assert (error.code(), error.details()) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "the shop is closed — for now",
        )
        fault = fault_from_rpc_error(error)
        assert (fault.code, fault.hint, fault.retry_after) == ("shop_closed", "come back tomorrow", 2.5)
        assert [(each.pointer, each.hint) for each in fault.violations] == [("/count", "at most 3"), ("", "")]
        assert SECRET not in str(error)
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.status, settled.fault.code) == ("FAILED_PRECONDITION", 409, "shop_closed")
        assert settled.complete
        assert served.recorder.responded == 1

    async def test_d14_an_exception_leaks_nothing(self, serve, kind, logged):
        """An unforeseen exception is INTERNAL with a neutral text; its own text and traceback go to the log."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how="exception"), metadata=(("x-request-id", "mine"),)))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "something went wrong here")
        assert "secret" not in f"{error}{error.trailing_metadata()}{error.debug_error_string()}"
        [settled] = await served.recorder.settled()
        assert settled.code == "INTERNAL"
        [line] = [line for line in logged() if line["event"] == "call failed"]
        assert "RuntimeError" in line["exception"]
        assert (line["request_id"], line["method"], line["level"]) == ("mine", path(kind), "error")

    async def test_refused_input_is_invalid_argument(self, serve, kind):
        """A pydantic error in a handler is INVALID_ARGUMENT that points to the fields, not UNKNOWN."""
        served = await serve()
        fault = fault_from_rpc_error(await failing(begin(served.channel, kind, Ask(how="validate", text="many"))))
        assert fault.kind == "INVALID_ARGUMENT"
        assert [each.pointer for each in fault.violations] == ["/count", "/text"]

    @pytest.mark.parametrize("how", ["abort", "quiet_abort"])
    async def test_an_abort(self, serve, kind, how):
        """A handler that aborts gets its own status, text and metadata across, also when it hides the exception."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how=how)))
        assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "past the end")
        assert ("x-app", "1") in tuple(error.trailing_metadata())
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.status, settled.complete) == ("OUT_OF_RANGE", 400, True)

    @pytest.mark.parametrize(("how", "details"), [("code", "gone"), ("code_and_raise", "")])
    async def test_a_code_that_was_set(self, serve, kind, how, details):
        """The code a handler set is the call's, also when it then raises; the exception's text is not sent."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how=how)))
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, details)
        assert (await served.recorder.settled())[0].code == "DATA_LOSS"

    async def test_the_client_cancels(self, serve, kind):
        """A client that leaves cancels the handler, and the call is settled as CANCELLED and incomplete."""
        served = await serve()
        call = begin(served.channel, kind, Ask(how="wait"))
        reading = asyncio.ensure_future(finish(call))
        await asyncio.wait_for(served.echo.started.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(served.echo.stopped.wait(), 10)
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.status, settled.complete) == ("CANCELLED", 499, False)

    async def test_the_clients_deadline(self, serve, kind):
        """The caller's grpc-timeout ends the handler, and the call is settled as DEADLINE_EXCEEDED."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how="wait"), timeout=0.4))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(served.echo.stopped.wait(), 10)
        [settled] = await served.recorder.settled()
        assert settled.code == "DEADLINE_EXCEEDED"
        assert settled.deadline - settled.started == pytest.approx(0.4, abs=0.3)

    @pytest.mark.parametrize("how", ["wait", "stubborn"])
    async def test_the_services_own_deadline(self, serve, kind, how):
        """A call beyond its budget is cancelled and told so, also when its handler hides the cancellation."""
        served = await serve(Limits(first_byte=0.1, idle=0.1))
        error = await failing(begin(served.channel, kind, Ask(how=how, count=1)))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        fault = fault_from_rpc_error(error)
        assert (fault.code, fault.hint) == ("request_timeout", "ask for less at a time, or allow more time")
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.refused_by, settled.complete) == ("DEADLINE_EXCEEDED", "deadline", True)
        assert served.echo.stopped.is_set()

    async def test_a_message_too_large(self, serve, kind):
        """A message beyond the limit is RESOURCE_EXHAUSTED before it is parsed, with all a fault can say."""
        served = await serve(max_receive=1_000)
        error = await failing(begin(served.channel, kind, Ask(blob=bytes(1_500))))
        assert fault_from_rpc_error(error).code == "body_too_large"
        assert not served.echo.seen
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.fault.code) == ("RESOURCE_EXHAUSTED", "body_too_large")

    async def test_a_message_far_too_large(self, serve, kind):
        """A message that gRPC itself refuses to hold ends the call with the same code, and is settled."""
        served = await serve(max_receive=1_000)
        error = await failing(begin(served.channel, kind, Ask(blob=bytes(3_000_000))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not served.echo.seen
        [settled] = await served.recorder.settled()
        # Within a stream gRPC does not tell a broken one from one that was too large.
        assert settled.code == ("CANCELLED" if kind in {"ClientStream", "Bidi"} else "RESOURCE_EXHAUSTED")

    async def test_a_response_too_large(self, serve, kind):
        """A response beyond the limit is not sent, and the call is told from one that went well."""
        served = await serve(max_send=1_000)
        fault = fault_from_rpc_error(await failing(begin(served.channel, kind, Ask(how="large", count=2_000))))
        assert (fault.kind, fault.code) == ("RESOURCE_EXHAUSTED", "response_too_large")
        [settled] = await served.recorder.settled()
        assert (settled.code, settled.bytes_out) == ("RESOURCE_EXHAUSTED", 0)

    async def test_a_refusal_by_a_control(self, serve, kind):
        """A refused call never reaches its handler, carries the controls' metadata and says who refused it."""
        served = await serve()

        def refuse(_call):
            raise PermissionDenied("not you", code="missing_scope", hint="ask for more")

        served.recorder.refuse = refuse
        error = await failing(begin(served.channel, kind, Ask(), silence()))
        assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        assert {"x-request-id", "x-recorded", "grpc-status-details-bin"} <= {
            name for name, _ in error.trailing_metadata()
        }
        [settled] = await served.recorder.settled()
        assert (settled.refused_by, settled.code, settled.complete) == ("recorder", "PERMISSION_DENIED", True)
        assert not served.echo.seen

    async def test_what_the_handler_awaited_was_cancelled(self, serve, kind):
        """A CancelledError of the handler's own making is answered: the caller is not left to wait."""
        served = await serve()
        error = await failing(begin(served.channel, kind, Ask(how="cancelled")))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert (await served.recorder.settled())[0].code == "INTERNAL"

    async def test_metadata_of_the_handler(self, serve, kind):
        """What a handler sends as initial and trailing metadata arrives, bytes too, beside the controls'."""
        served = await serve()
        call = begin(served.channel, kind, Ask(how="metadata"))
        await finish(call)
        initial, trailing = dict(await call.initial_metadata()), dict(await call.trailing_metadata())
        assert (initial["x-first"], initial["x-raw-bin"], trailing["x-last"]) == ("1", b"\x00\xff", "2")
        assert {**initial, **trailing}["x-recorded"] == "yes"

    async def test_d13_durations_and_codes_are_real(self, serve, kind):
        """A call is settled with the time its handler took and the code the caller got."""
        served = await serve()
        await invoke(served.channel, kind, Ask(how="nap", count=200))
        [settled] = await served.recorder.settled()
        assert 0.19 < settled.seconds < 5
        assert settled.code == "OK"


async def test_unknown_methods_are_counted(serve):
    """A method that is not there is refused by the controls' rules, counted without its name, and not kept."""
    served = await serve()
    for number in range(5):
        error = await failing(served.channel.unary_unary(f"/made.Up/Method{number}")(b""))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error.details() == f"there is no method /made.Up/Method{number}"
    settled = await served.recorder.settled(5)
    assert {(call.route, call.code, call.status) for call in settled} == {("", "UNIMPLEMENTED", 501)}
    assert fault_from_rpc_error(error).code == "no_such_method"


async def test_a_malformed_message_is_the_callers_mistake(serve):
    """Bytes that are not the method's message are INVALID_ARGUMENT, not an unknown error with a stack's text."""
    served = await serve()
    error = await failing(served.channel.unary_unary(path("Unary"))(b"\xff\xff\xff"))
    assert fault_from_rpc_error(error).code == "malformed_message"
    assert (await served.recorder.settled())[0].code == "INVALID_ARGUMENT"


async def test_a_request_without_a_message(serve):
    """A method that takes one request refuses a call that ends without any."""

    async def nothing():
        return
        yield

    served = await serve()
    call = served.channel.stream_unary(path("Unary"))(nothing())
    assert fault_from_rpc_error(await failing(call)).code == "no_message"
    assert (await served.recorder.settled())[0].code == "INVALID_ARGUMENT"


async def test_half_an_upload_is_not_taken_for_all_of_it(serve):
    """A handler of many requests never sees a stream that broke off as one that ended."""
    served = await serve(max_receive=1_000)

    async def asks():
        yield Ask(text="first")
        yield Ask(blob=bytes(3_000_000))

    with pytest.raises(grpc.aio.AioRpcError):
        await begin(served.channel, "ClientStream", None, asks())
    await served.recorder.settled()
    assert not served.echo.contexts, "the handler went on after the stream had broken"


async def test_gaps_in_a_stream_are_watched(serve):
    """A stream may take as long as it likes in all, while no gap in it is longer than allowed."""
    served = await serve(Limits(first_byte=5, idle=0.3))
    replies = 0
    call = begin(served.channel, "Bidi", None, _slowly(6, 0.1))
    async for _ in call:
        replies += 1
    assert replies == 6
    error = await failing(begin(served.channel, "ServerStream", Ask(count=2, how="wait")))
    assert error.details() == "nothing further within 0.3 s"


async def _slowly(count, gap):
    for _ in range(count):
        await asyncio.sleep(gap)
        yield Ask(count=1)


async def test_the_whole_time_is_watched(serve):
    """The total budget ends a stream that goes on and on, and shortens the deadline handlers see."""
    served = await serve(Limits(first_byte=5, idle=5, total=0.3))
    error = await failing(begin(served.channel, "ServerStream", Ask(how="trickle"), timeout=30))
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "not done within 0.3 s")
    [settled] = await served.recorder.settled()
    assert settled.messages_out > 1


async def test_the_call_is_current_while_its_handler_runs(serve):
    """Handlers, and what they call, find the call they serve."""
    seen = []

    class Looking(Echo):
        async def nothing(self, ask, context):
            seen.append((current_request_id(), current_call().route, context.time_remaining()))

    served = await serve(echo=Looking())
    await invoke(served.channel, "Unary", Ask(), metadata=(("x-request-id", "mine"),), timeout=9)
    assert current_call() is None
    [(request_id, route, remaining)] = seen
    assert (request_id, route) == ("mine", path("Unary"))
    assert 8 < remaining < 9.5


async def test_the_context_is_the_one_handlers_know(serve):
    """What a handler asks its context is answered as grpc.aio does."""
    served = await serve()
    over, seen = [], {}

    async def ask_all(_ask, context):
        context.set_compression(grpc.Compression.Gzip)
        context.disable_next_message_compression()
        context.add_done_callback(over.append)
        seen.update(
            metadata=[tuple(each) for each in context.invocation_metadata()],
            tls=context.auth_context()["transport_security_type"],
            identity=(context.peer_identity_key(), context.peer_identities()),
            code=(context.code(), context.details(), context.trailing_metadata()),
            over=(context.done(), context.cancelled()),
        )

    served.echo.nothing = ask_all
    await invoke(served.channel, "Unary", Ask(), metadata=(("x-app", "1"),))
    [context] = served.echo.contexts
    assert isinstance(context, grpc.aio.ServicerContext)
    assert ("x-app", "1") in seen["metadata"]
    assert (seen["tls"], seen["identity"]) == ([b"insecure"], (None, None))
    assert (seen["code"], seen["over"]) == ((grpc.StatusCode.OK, "", ()), (False, False))
    await served.recorder.settled()
    assert over == [context]


async def test_a_context_outlives_its_call(serve):
    """A context that was kept answers, or refuses, after its call is over; gRPC's own ends the process."""
    served = await serve()
    await invoke(served.channel, "Bidi", Ask())
    await served.recorder.settled()
    [context] = served.echo.contexts
    assert (context.done(), context.cancelled()) == (True, False)
    assert context.peer().startswith("ipv4:127.0.0.1:")
    assert context.invocation_metadata()
    assert context.time_remaining() is None
    for late in (context.auth_context, context.peer_identities):
        with pytest.raises(grpc.aio.UsageError):
            late()
    for late in (context.read(), context.write(Ask())):
        with pytest.raises(grpc.aio.UsageError):
            await late


async def test_misuse_is_told_as_by_grpc(serve):
    """Aborting twice, with success, or sending metadata twice, ends as with grpc.aio."""
    served = await serve()
    errors = []

    async def twice(_ask, context):
        await context.send_initial_metadata(())
        for each in (
            lambda: context.send_initial_metadata(()),
            lambda: context.abort(0, "odd"),
            lambda: context.abort(5),
        ):
            try:
                await each()
            except grpc.aio.BaseError as error:
                errors.append(type(error))

    served.echo.nothing = twice
    error = await failing(begin(served.channel, "Unary", Ask()))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, "odd")
    assert errors == [grpc.aio.UsageError, grpc.aio.AbortError, grpc.aio.UsageError]


async def test_abort_with_a_rich_status(serve):
    """A status with details, made by other libraries, goes through unchanged."""
    from google.rpc import status_pb2

    served = await serve()
    rich = rpc_status.to_status(status_pb2.Status(code=5, message="gone"))
    served.echo.nothing = lambda _ask, context: context.abort_with_status(rich)
    error = await failing(begin(served.channel, "Unary", Ask()))
    assert rpc_status.from_call(_Sync(error)).message == "gone"


class _Sync:
    """An error as the synchronous helper wants a call."""

    def __init__(self, error):
        self.code, self.details, self.trailing_metadata = error.code, error.details, error.trailing_metadata


async def test_details_are_what_other_libraries_read(serve):
    """grpcio-status finds a status that agrees with the call's in every answer with details."""
    served = await serve()
    error = await failing(begin(served.channel, "Unary", Ask(how="fault")))
    status = rpc_status.from_call(_Sync(error))
    assert [detail.type_url.rpartition(".")[2] for detail in status.details] == [
        "ErrorInfo",
        "RetryInfo",
        "RequestInfo",
        "LocalizedMessage",
        "BadRequest",
    ]


async def test_an_answer_meant_for_http_is_a_refusal(serve):
    """A control that answers in HTTP's terms ends an RPC with the nearest code."""
    served = await serve()
    served.recorder.refuse = lambda _call: Answer(503)
    error = await failing(begin(served.channel, "Unary", Ask()))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_broken_control_does_not_break_the_call(serve, logged):
    """A control that raises while it settles is logged; the caller has their answer and the others run."""

    class Broken(Control):
        name = "broken"

        def settle(self, call):
            raise RuntimeError("broken")

    served = await serve(Broken())
    assert await invoke(served.channel, "Unary", Ask())
    await served.recorder.settled()
    assert [line["level"] for line in logged() if line["event"] == "settling failed"] == ["error"]


async def test_stopping_the_server_settles_what_runs(serve):
    """Calls cut off by the server's own end are settled too."""
    served = await serve()
    call = begin(served.channel, "Unary", Ask(how="wait"))
    await asyncio.wait_for(served.echo.started.wait(), 10)
    await served.server.stop(0)
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert (await served.recorder.settled())[0].code == "CANCELLED"


async def test_handlers_are_wrapped_once(serve):
    """The handler of a method is compiled at its first call, and unknown names are not remembered."""
    served = await serve()
    interceptor = served.interceptor
    for _ in range(3):
        await invoke(served.channel, "Unary", Ask())
        await failing(served.channel.unary_unary("/made.Up/Method")(b""))
    assert list(interceptor._served) == [path("Unary")]


async def test_retry_advice_is_machine_readable(serve):
    """`retry_after` reaches clients as RetryInfo."""
    served = await serve()

    def refuse(_call):
        raise ResourceExhausted("slow down", retry_after=1.25)

    served.recorder.refuse = refuse
    error = await failing(begin(served.channel, "Unary", Ask()))
    assert fault_from_rpc_error(error).retry_after == 1.25
    assert SERVICE in path("Unary")
