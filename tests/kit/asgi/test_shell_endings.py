"""Time that runs out, callers who leave, answers that break: one response start, one settlement, nothing left."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.kit.asgi.exchange import ResponseCutError
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Budget, Control
from headgate.kit.controls.faults import PermissionDenied
from tests.kit.asgi.wire import Witness, http, part, pipeline, serve, start, until

SSE = (b"content-type", b"text/event-stream; charset=utf-8")
TEXT = (b"content-type", b"text/plain")


class Times(Control):
    """Gives every call a budget, and perhaps a deadline so many seconds from its start."""

    name = "times"

    def __init__(self, budget=None, deadline=None):
        self.budget, self.deadline = budget or Budget(), deadline

    def identify(self, call):
        call.budget = self.budget
        if self.deadline is not None:
            call.deadline = call.started + self.deadline


class Stream:
    """An application that streams: numbers are seconds to wait, None for ever, exceptions are raised."""

    def __init__(self, *steps, header=SSE):
        self.steps, self.header = steps, header
        self.cancelled = 0

    async def __call__(self, _scope, _receive, send):
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if step == "start":
                    await start(send, 200, self.header)
                elif isinstance(step, bytes):
                    await part(send, step)
                elif step is None:
                    await asyncio.Event().wait()
                else:
                    await asyncio.sleep(step)
            await part(send, b"", more=False)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def others():
    """Tasks besides the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


class TestDeadlines:
    """Three budgets and the caller's own."""

    @pytest.mark.parametrize(
        ("times", "said"),
        [
            (Times(Budget(first_byte=0.02)), "no answer within 0.02 s"),
            (Times(Budget(first_byte=9, total=0.02)), "not done within 0.02 s"),
            (Times(Budget(first_byte=9, total=9), deadline=0.02), "not done within the time the caller gave"),
        ],
    )
    async def test_before_the_answer_began(self, times, said):
        """Without an answer in time there is a 504 that says which time it was, and the application is cancelled."""
        witness, app = Witness(), Stream(None)
        caller = await serve(Shell(app, pipeline(witness, times)), http())
        assert (caller.status, caller.problem["code"], caller.problem["detail"]) == (504, "request_timeout", said)
        assert app.cancelled == 1
        assert (witness.call.code, witness.call.refused_by) == ("DEADLINE_EXCEEDED", "deadline")

    async def test_late_ones_are_noticed_by_the_ticker(self):
        """A deadline that is not near gets no timer of its own until the call has run for a while."""
        shell = Shell(Stream(None), pipeline(Witness(), Times(Budget(first_byte=0.05))), watch_after=0.01)
        caller = await serve(shell, http())
        assert caller.status == 504

    @pytest.mark.parametrize(
        ("budget", "said"), [(Budget(idle=0.03), "nothing was sent for 0.03 s"), (Budget(total=0.05), "within 0.05 s")]
    )
    async def test_d04_a_late_stream_ends_with_an_event(self, budget, said):
        """A stream whose time is up ends with an error event and properly; there is one response start."""
        witness, app = Witness(), Stream("start", b"data: 1\n\n", None)
        caller = await serve(Shell(app, pipeline(witness, Times(budget))), http("/s"))
        assert (len(caller.starts), caller.status, caller.ended, app.cancelled) == (1, 200, True, 1)
        first, event, rest = caller.body.partition(b"event: error\ndata: ")
        assert (first, bool(event)) == (b"data: 1\n\n", True)
        document = json.loads(rest)
        assert (document["code"], document["instance"], document["request_id"]) == ("request_timeout", "/s", "r-1")
        assert said in document["detail"]
        assert (witness.call.status, witness.call.code, witness.call.complete) == (200, "DEADLINE_EXCEEDED", False)

    async def test_another_stream_is_cut_off(self):
        """A stream of another type is not brought to its end: nobody may take it for the whole."""
        app = Stream("start", b"part", None, header=TEXT)
        caller = http()
        with pytest.raises(ResponseCutError):
            await serve(Shell(app, pipeline(Witness(), Times(Budget(idle=0.03)))), caller)
        assert (caller.body, caller.ended) == (b"part", False)

    async def test_a_busy_stream_goes_on(self):
        """The gap counts from the last part: many parts within it may take longer than it together."""
        steps = [each for _ in range(12) for each in (0.02, b"data: x\n\n")]
        shell = Shell(Stream("start", *steps), pipeline(Witness(), Times(Budget(first_byte=5, idle=0.2))))
        caller = await serve(shell, http())
        assert (caller.ended, caller.body.count(b"data: x"), b"error" in caller.body) == (True, 12, False)

    async def test_a_stream_that_begins_late_has_its_gap_watched(self):
        """The idle budget is kept also when the first byte's deadline was the next one before."""
        app = Stream(0.06, "start", None)
        shell = Shell(app, pipeline(Witness(), Times(Budget(first_byte=30, idle=0.05))), watch_after=0.01)
        caller = await serve(shell, http())
        assert b"nothing was sent for 0.05 s" in caller.body

    async def test_no_budget_is_no_deadline(self):
        """Without a budget a call has all the time there is, and keeps no timer for it."""
        app = Stream(0.05, "start")
        caller = await serve(Shell(app, pipeline(Witness()), watch_after=0.005), http())
        assert caller.status == 200

    async def test_an_application_that_does_not_obey(self):
        """An application that swallows its cancellation is cancelled again, and its answer does not go out."""
        tries = []

        async def app(_scope, _receive, send):
            while len(tries) < 2:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    tries.append(1)
            await start(send, 200)
            await part(send, b"late", more=False)

        shell = Shell(app, pipeline(Witness(), Times(Budget(first_byte=0.02))), grace=0.02)
        caller = await serve(shell, http())
        assert (caller.status, len(tries)) == (504, 2)
        assert asyncio.current_task().cancelling() == 0

    async def test_a_control_that_hangs(self):
        """Controls run under the deadline too."""

        class Hangs(Control):
            name = "hangs"

            async def admit(self, call):
                await asyncio.Event().wait()

        shell = Shell(Stream("start"), pipeline(Times(Budget(first_byte=0.02)), Hangs()), watch_after=0.01)
        assert (await serve(shell, http())).status == 504

    async def test_background_work_has_no_deadline(self):
        """What an application does after its answer is complete is neither timed nor cancelled."""
        done = []

        async def app(_scope, _receive, send):
            await start(send)
            await part(send, b"", more=False)
            await asyncio.sleep(0.08)
            done.append(1)

        witness = Witness()
        caller = http()
        caller.leave()
        shell = Shell(app, pipeline(witness, Times(Budget(0.02, 0.02, 0.02))), watch_after=0.01)
        await serve(shell, caller)
        assert (done, witness.call.complete, witness.call.code) == ([1], True, "OK")
        assert witness.call.seconds < 0.08


class TestCancellation:
    """Whose cancellation it is."""

    async def test_another_ones_is_passed_on(self):
        """A cancellation from outside is not answered but raised, and the call is settled all the same."""
        witness, app = Witness(), Stream("start", b"data: 1\n\n", None)
        caller = http()
        task = asyncio.create_task(serve(Shell(app, pipeline(witness)), caller))
        await caller.until(lambda caller: len(caller.sent) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (app.cancelled, witness.call.complete, caller.ended) == (1, False, False)

    async def test_both_at_once(self):
        """A cancellation from outside that comes together with the shell's own is not swallowed."""
        witness = Witness()
        gate = asyncio.Event()

        async def app(_scope, _receive, _send):
            try:
                await asyncio.Event().wait()
            finally:
                gate.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(serve(Shell(app, pipeline(witness, Times(Budget(first_byte=0.02)))), http()))
        await gate.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert witness.call.status == 499

    async def test_cancelled_before_the_answer(self):
        """A call cancelled from outside before it was answered counts as one whose caller left."""
        witness = Witness()
        task = asyncio.create_task(serve(Shell(Stream(None), pipeline(witness)), http()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (witness.call.status, witness.call.code) == (499, "CANCELLED")


class TestCallersWhoLeave:
    """The application stops when nobody wants its answer any more."""

    @pytest.mark.parametrize("read_first", [True, False])
    async def test_before_the_first_byte(self, read_first):
        """While the application works on its answer, and does not listen, it is cancelled; nothing is sent."""
        witness, cancelled = Witness(), []

        async def app(_scope, receive, _send):
            try:
                if read_first:
                    await receive()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        caller = http(method="POST", body=b"x")
        caller.leave()
        await serve(Shell(app, pipeline(witness), watch_after=0.005), caller)
        assert (cancelled, caller.sent) == ([1], [])
        call = witness.call
        assert (call.status, call.code, call.fault.message) == (499, "CANCELLED", "the caller went away")

    async def test_in_the_middle_of_a_stream(self):
        """A streaming application is cancelled; the call keeps the status that was sent."""
        witness, app = Witness(), Stream("start", b"data: 1\n\n", None)
        caller = http()
        task = asyncio.create_task(serve(Shell(app, pipeline(witness), watch_after=0.005), caller))
        await caller.until(lambda caller: len(caller.sent) == 2)
        caller.leave()
        await task
        assert (app.cancelled, caller.ended, len(caller.sent)) == (1, False, 2)
        assert (witness.call.status, witness.call.code, witness.call.complete) == (200, "CANCELLED", False)

    async def test_an_application_that_listens_is_told(self):
        """Who waits in `receive` hears of it and may tidy up, undisturbed."""
        witness, told = Witness(), []

        async def app(_scope, receive, _send):
            await receive()
            told.append((await receive())["type"])
            await asyncio.sleep(0.02)
            told.append("tidied")

        for delay in (0.0, 0.03):
            caller = http()
            task = asyncio.create_task(serve(Shell(app, pipeline(witness), watch_after=0.005), caller))
            await asyncio.sleep(delay)
            caller.leave()
            await task
        assert told == ["http.disconnect", "tidied"] * 2
        assert [call.status for call in witness.settled] == [499, 499]

    async def test_an_application_that_was_told_and_goes_on(self):
        """Who was told and goes on is cancelled after the time of grace."""
        caller = http()

        async def app(_scope, receive, _send):
            await receive()
            await receive()
            await asyncio.Event().wait()

        caller.leave()
        await serve(Shell(app, pipeline(Witness()), grace=0.02), caller)
        assert caller.sent == []

    async def test_a_body_that_is_read_late(self):
        """Reading ahead loses nothing: a body that is read after a while is whole and in order."""

        async def app(_scope, receive, send):
            await asyncio.sleep(0.03)
            body = b""
            while True:
                message = await receive()
                body += message["body"]
                if not message["more_body"]:
                    break
                await asyncio.sleep(0)
            await start(send)
            await part(send, body, more=False)

        caller = http(method="POST", body=[b"a", b"b", b"c"])
        await serve(Shell(app, pipeline(Witness()), watch_after=0.005), caller)
        assert (caller.status, caller.body) == (200, b"abc")

    async def test_a_continue_is_not_given_early(self):
        """The body of a caller who waits for `100 Continue` is not asked for before the application does."""
        asked = []

        async def app(_scope, receive, send):
            await asyncio.sleep(0.04)
            asked.append(caller.received)
            await receive()
            await start(send)
            await part(send, b"", more=False)

        caller = http(method="POST", headers=[(b"expect", b"100-continue")], body=b"x")
        await serve(Shell(app, pipeline(Witness()), watch_after=0.005), caller)
        assert (asked, caller.status) == ([0], 200)

    async def test_a_server_that_says_so_when_sending(self):
        """An OSError from the server's `send` means that the caller is gone, not that the service is broken."""
        witness = Witness()
        caller = http()

        def refuse(message):
            if message["type"] == "http.response.body":
                raise ConnectionResetError

        caller.on_send = refuse
        await serve(Shell(Stream("start", b"data: 1\n\n"), pipeline(witness)), caller)
        assert (witness.call.status, witness.call.code) == (200, "CANCELLED")

    async def test_quick_answers_cost_no_task(self):
        """A call that is over before it is watched starts no task; one that is watched leaves none behind."""

        async def app(_scope, _receive, send):
            assert others() == before
            await start(send)
            await part(send, b"", more=False)

        shell = Shell(app, pipeline(Witness()), watch_after=0.005)
        before = others()
        await serve(shell, http())
        await serve(Shell(Stream(0.03, "start"), pipeline(Witness()), watch_after=0.005), http())
        await until(lambda: others() == before)


class TestBroken:
    """Answers that break after they began."""

    @pytest.mark.parametrize("error", [RuntimeError("sda9"), PermissionDenied("not for you")])
    async def test_d05_a_broken_stream_ends_with_an_event(self, error, logged):
        """What fails in the middle of an event stream becomes its last event; there is one response start."""
        witness = Witness()
        caller = await serve(Shell(Stream("start", b"data: 1\n\n", error), pipeline(witness)), http())
        assert (len(caller.starts), caller.ended) == (1, True)
        assert b"sda9" not in caller.body
        document = json.loads(caller.body.partition(b"data: {")[2].join([b"{", b""]))
        assert document["code"] == ("permission_denied" if isinstance(error, PermissionDenied) else "internal")
        assert witness.call.fault is not None

    @pytest.mark.parametrize(
        ("header", "last"),
        [
            (TEXT, b"x"),
            (SSE, b"data: hal"),
            ((b"content-type", b"application/json"), b"{"),
        ],
    )
    async def test_others_are_cut_off(self, header, last, logged):
        """An answer that cannot say what went wrong, and an event stream broken within an event, is not completed."""
        caller = http()
        with pytest.raises(ResponseCutError):
            await serve(Shell(Stream("start", last, KeyError(), header=header), pipeline(Witness())), caller)
        assert (caller.body, caller.ended) == (last, False)

    async def test_a_response_that_stops(self, logged):
        """An application that returns in the middle of its answer has broken it off."""

        async def app(_scope, _receive, send):
            await start(send, 200, TEXT)
            await part(send, b"half")

        witness, caller = Witness(), http()
        with pytest.raises(ResponseCutError):
            await serve(Shell(app, pipeline(witness)), caller)
        assert (witness.call.code, witness.call.complete) == ("INTERNAL", False)

    async def test_a_second_start_does_not_go_out(self, logged):
        """A second response start is refused, and what follows it is not sent."""

        async def app(_scope, _receive, send):
            await start(send, 200, SSE)
            await part(send, b"data: 1\n\n")
            try:
                await start(send, 500)
            except RuntimeError:
                await part(send, b"<html>", more=False)

        caller = await serve(Shell(app, pipeline(Witness())), http())
        assert (len(caller.starts), caller.status, b"html" in caller.body) == (1, 200, False)
        assert b"event: error" in caller.body

    async def test_failing_after_the_answer(self, logged):
        """What fails after the answer is complete changes nothing of it, and is logged."""

        async def app(_scope, _receive, send):
            await start(send)
            await part(send, b"", more=False)
            raise RuntimeError("in the background")

        witness = Witness()
        caller = await serve(Shell(app, pipeline(witness)), http())
        assert (caller.ended, witness.call.code, witness.call.fault) == (True, "OK", None)
        assert "in the background" in json.dumps(logged())

    async def test_a_caller_who_reads_nothing(self):
        """A last word that the caller does not read is given up, and the connection is cut."""
        caller = http()
        blocked = asyncio.Event()

        def block(message):
            return blocked.wait() if message["type"] == "http.response.body" else None

        caller.on_send = block
        times = Times(Budget(idle=0.02))
        shell = Shell(Stream("start", b"data: 1\n\n"), pipeline(Witness(), times), last_words=0.02)
        with pytest.raises(ResponseCutError):
            await serve(shell, caller)


STEPS = st.sampled_from(["start", "part", "last", "receive", "wait", "long", "raise", "fault"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(STEPS, max_size=8),
    st.sampled_from([None, 0.0, 0.004, 0.012]),
    st.sampled_from([None, 0.003, 0.01]),
    st.integers(0, 3),
    st.booleans(),
)
async def test_whatever_happens(logged, steps, leaves_after, budget, parts, events):
    """However sends, failures, deadlines and disconnects fall: at most one start, one settlement, no task left."""
    header = SSE if events else TEXT

    async def app(_scope, receive, send):
        for step in steps:
            if step == "start":
                await start(send, 200, header)
            elif step in {"part", "last"}:
                await part(send, b"data: x\n\n", more=step == "part")
            elif step == "receive":
                await receive()
            elif step in {"wait", "long"}:
                await asyncio.sleep(0.002 if step == "wait" else 0.015)
            else:
                raise KeyError if step == "raise" else PermissionDenied("no")

    witness, caller = Witness(), http(method="POST", body=[b"x"] * parts if parts else None)
    controls = [witness, Times(Budget(budget, budget, None))]
    shell = Shell(app, pipeline(*controls), watch_after=0.002, grace=0.005)
    before = others()
    if leaves_after is not None:
        asyncio.get_running_loop().call_later(leaves_after, caller.leave)
    else:
        asyncio.get_running_loop().call_later(0.03, caller.leave)
    cut = False
    try:
        await serve(shell, caller)
    except (ResponseCutError, AssertionError):
        cut = True
    call = witness.call
    kinds = [each["type"] for each in caller.sent]
    assert kinds.count("http.response.start") <= 1
    assert kinds[1:].count("http.response.start") == 0
    assert call.status == (caller.starts[0]["status"] if caller.starts else 499)
    assert not (call.complete and not caller.ended)
    assert not (cut and caller.ended)
    assert call.ended >= call.started
    assert asyncio.current_task().cancelling() == 0
    await until(lambda: others() <= before)
