"""WebSockets through the shell: the handshake, messages, deadlines, the close."""

import asyncio
import json

import pytest

from headgate.kit.asgi.shell import Shell
from headgate.kit.asgi.sockets import CLOSE_CODE, CLOSE_CODES, close_code
from headgate.kit.controls.call import Answer, Budget
from headgate.kit.controls.faults import Fault, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from tests.kit.asgi.test_shell import Refuses
from tests.kit.asgi.test_shell_endings import Times
from tests.kit.asgi.wire import Witness, pipeline, serve, until, websocket


def socket_app(*steps, subprotocol=None, then=None):
    """An application that accepts, then does so many steps: texts and bytes are sent, exceptions raised."""

    async def app(_scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"Server", b"x")]})
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if step == "receive":
                await receive()
            elif step is None:
                await asyncio.Event().wait()
            else:
                await send({"type": "websocket.send", "text" if isinstance(step, str) else "bytes": step})
        if then:
            await then(send)

    return app


def types(caller):
    """What was sent, by type."""
    return [each["type"].removeprefix("websocket.") for each in caller.sent]


async def test_a_socket_passes():
    """A socket is accepted with the controls' headers, its messages are counted, and it is settled with its code."""
    witness = Witness()
    caller = websocket("/chat")
    caller.say(type="websocket.receive", text="héllo")
    caller.leave(code=1000)
    await serve(Shell(socket_app("receive", "ab", b"cde", "receive"), pipeline(witness)), caller)
    assert types(caller) == ["accept", "send", "send"]
    assert caller.sent[0]["headers"] == [(b"x-request-id", b"r-1")]
    call = witness.call
    assert (call.protocol, call.method, call.status, call.code) == ("websocket", "GET", 101, "OK")
    assert (call.bytes_in, call.bytes_out, call.messages_out, call.kept(CLOSE_CODE)) == (6, 5, 2, 1000)


async def test_an_application_that_closes():
    """A close by the application is passed on and noted."""

    async def close(send):
        await send({"type": "websocket.close", "code": 4001, "reason": "bye"})

    witness = Witness()
    caller = await serve(Shell(socket_app(then=close), pipeline(witness)), websocket())
    assert caller.sent[-1] == {"type": "websocket.close", "code": 4001, "reason": "bye"}
    assert (witness.call.kept(CLOSE_CODE), witness.call.complete) == (4001, True)


async def test_an_application_that_just_ends():
    """A socket whose application returns is closed as usual."""
    caller = await serve(Shell(socket_app("a"), pipeline(Witness())), websocket())
    assert (types(caller), caller.sent[-1]["code"]) == (["accept", "send", "close"], 1000)


class TestRefusals:
    """Before the socket is open."""

    @pytest.mark.parametrize(
        ("verdict", "status", "code"),
        [
            (Unauthenticated("who?"), 401, 1008),
            (ResourceExhausted("slow"), 429, 1013),
            (Unavailable("later"), 503, 1013),
            (KeyError("sda9"), 500, 1011),
            (Answer(403, (), b"no"), 403, 1008),
        ],
    )
    @pytest.mark.parametrize("denial", [True, False])
    async def test_d02_refused_before_it_opened(self, verdict, status, code, denial, logged):
        """A refusal is an HTTP answer with the controls' headers where the server can, else a close with its code."""
        witness = Witness()
        app = socket_app()
        caller = await serve(Shell(app, pipeline(witness, Refuses(verdict))), websocket(denial=denial))
        assert (witness.call.status, witness.call.complete) == (status, True)
        if denial:
            assert types(caller) == ["http.response.start", "http.response.body"]
            assert (caller.status, caller.headers["x-request-id"], caller.ended) == (status, "r-1", True)
            assert b"sda9" not in caller.body
        else:
            assert caller.sent == [{"type": "websocket.close", "code": code, "reason": ""}]

    async def test_refused_by_the_application(self):
        """A fault that the application raises before it accepts denies the handshake."""

        async def app(_scope, _receive, _send):
            raise PermissionDenied("not here")

        caller = await serve(Shell(app, pipeline(Witness())), websocket())
        assert (caller.status, caller.problem["code"]) == (403, "permission_denied")

    async def test_closed_by_the_application(self):
        """A socket that the application closes before it accepts counts as forbidden, which the caller gets."""

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.close", "code": 1000})

        witness = Witness()
        await serve(Shell(app, pipeline(witness)), websocket())
        assert (witness.call.status, witness.call.code) == (403, "PERMISSION_DENIED")

    async def test_denied_by_the_application(self):
        """A denial of the application's own gets the controls' headers."""

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.http.response.start", "status": 404, "headers": [(b"server", b"x")]})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        witness = Witness()
        caller = await serve(Shell(app, pipeline(witness)), websocket())
        assert (caller.status, caller.headers, caller.body) == (404, {"x-request-id": "r-1"}, b"no")
        assert (witness.call.code, witness.call.complete) == ("NOT_FOUND", True)

    async def test_nothing_at_all(self, logged):
        """An application that returns without accepting has failed."""

        async def app(_scope, _receive, _send):
            return

        assert (await serve(Shell(app, pipeline(Witness())), websocket())).status == 500


class TestFailures:
    """Once the socket is open."""

    @pytest.mark.parametrize(
        ("error", "said", "code"),
        [(RuntimeError("sda9"), "internal", 1011), (ResourceExhausted("no", code="quota"), "quota", 1013)],
    )
    async def test_told_and_closed(self, error, said, code, logged):
        """A failure is told in an error frame and a close code, and nothing of an unknown exception's text."""
        witness = Witness()
        caller = await serve(Shell(socket_app(error), pipeline(witness)), websocket("/c"))
        assert types(caller) == ["accept", "send", "close"]
        frame = json.loads(caller.sent[1]["text"])["error"]
        assert (frame["code"], frame["request_id"], frame["instance"]) == (said, "r-1", "/c")
        assert caller.sent[2] == {"type": "websocket.close", "code": code, "reason": said}
        assert "sda9" not in str(caller.sent)
        assert (witness.call.status, witness.call.kept(CLOSE_CODE)) == (101, code)
        assert witness.call.code == (error.kind if isinstance(error, Fault) else "INTERNAL")

    async def test_a_subprotocol_gets_no_frame(self, logged):
        """A socket that speaks a subprotocol is closed without a frame that it does not know."""
        caller = await serve(Shell(socket_app(KeyError(), subprotocol="graphql-ws"), pipeline(Witness())), websocket())
        assert types(caller) == ["accept", "close"]

    @pytest.mark.parametrize("message", [{"text": "x" * 11}, {"bytes": b"x" * 11}, {"text": "é" * 6, "bytes": None}])
    async def test_a_message_that_is_too_large(self, message):
        """A message above the limit closes the socket with 1009, whatever the application makes of it."""

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            try:
                while True:
                    await receive()
            except Exception:  # noqa: BLE001
                await send({"type": "websocket.send", "text": "never mind"})

        witness = Witness()
        caller = websocket()
        caller.say(type="websocket.receive", text="x" * 10)
        caller.say(type="websocket.receive", **message)
        await serve(Shell(app, pipeline(witness), max_message_size=10), caller)
        assert (types(caller), caller.sent[-1]["code"]) == (["accept", "send", "close"], 1009)
        assert witness.call.refused_by == "message_limit"

    @pytest.mark.parametrize(
        ("budget", "sent"), [(Budget(idle=0.03), "accept send close"), (Budget(total=0.03), "accept send close")]
    )
    async def test_deadlines(self, budget, sent):
        """A socket with a budget is closed with 3008 when it is used up."""
        caller = await serve(Shell(socket_app(None), pipeline(Witness(), Times(budget))), websocket())
        assert (" ".join(types(caller)), caller.sent[-1]["code"]) == (sent, 3008)

    async def test_a_handshake_that_takes_too_long(self):
        """A socket that is not accepted in time is denied."""

        async def app(_scope, _receive, _send):
            await asyncio.Event().wait()

        caller = await serve(Shell(app, pipeline(Witness(), Times(Budget(first_byte=0.02)))), websocket())
        assert (caller.status, caller.problem["code"]) == (504, "request_timeout")

    async def test_messages_from_the_caller_count_as_life(self):
        """The idle budget is used up only when neither side says anything."""
        caller = websocket()
        shell = Shell(socket_app(*["receive"] * 8), pipeline(Witness(), Times(Budget(idle=0.15))), watch_after=0.01)
        task = asyncio.create_task(serve(shell, caller))
        for _ in range(8):
            await asyncio.sleep(0.03)
            caller.say(type="websocket.receive", text="x")
        await task
        assert caller.sent[-1]["code"] == 1000


class TestCallersWhoLeave:
    """Sockets that are gone."""

    async def test_an_application_that_does_not_listen(self):
        """An application busy for a caller who left is cancelled after the time of grace."""
        witness, cancelled = Witness(), []

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        caller = websocket()
        caller.leave(code=1001)
        before = asyncio.all_tasks()
        await serve(Shell(app, pipeline(witness), watch_after=0.005, grace=0.01), caller)
        assert (cancelled, types(caller)) == ([1], ["accept"])
        assert (witness.call.code, witness.call.status) == ("CANCELLED", 101)
        await until(lambda: asyncio.all_tasks() == before)

    async def test_an_application_that_finishes_first(self):
        """What takes less than the time of grace is finished, and then hears that the caller left."""
        heard = []

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            await asyncio.sleep(0.03)
            heard.append((await receive())["type"])

        witness, caller = Witness(), websocket()
        caller.leave(code=1000)
        await serve(Shell(app, pipeline(witness), watch_after=0.005), caller)
        assert (heard, witness.call.kept(CLOSE_CODE)) == (["websocket.disconnect"], 1000)

    async def test_cancelled_from_outside(self):
        """A server that stops cancels the socket; the call is settled."""
        witness, caller = Witness(), websocket()
        task = asyncio.create_task(serve(Shell(socket_app(None), pipeline(witness)), caller))
        await caller.until(lambda caller: bool(caller.sent))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(witness.settled) == 1


def test_every_kind_has_a_close_code():
    """Each kind of fault has a close code that a server may send."""
    assert set(CLOSE_CODES) == {kind.kind for kind in Fault.__subclasses__()}
    assert all(code in {1001, 1008, 1009, 1011, 1013} or 3000 <= code < 4000 for code in CLOSE_CODES.values())
    assert close_code(ResourceExhausted("x", code="message_too_large")) == 1009
