"""The shell over plain ASGI: what passes, what is refused, and that everything is settled once."""

import asyncio

import pytest

from headgate.kit.asgi.exchange import ResponseCutError
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Answer, Budget, Call, Control
from headgate.kit.controls.faults import Internal, PermissionDenied, ResourceExhausted, Unavailable
from headgate.kit.current import current_call
from tests.kit.asgi.wire import Witness, http, part, pipeline, serve, start


class Refuses(Control):
    """Refuses everything with one fault, or answers it."""

    name = "gate"

    def __init__(self, verdict):
        self.verdict = verdict

    def admit(self, call: Call):
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


async def hello(_scope, _receive, send):
    """Answers with a few bytes."""
    await start(send, 200, (b"content-type", b"text/plain"), (b"content-length", b"5"), (b"Server", b"secret/1"))
    await part(send, b"hello", more=False)


async def echo(scope, receive, send):
    """Sends the body back."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await start(send, 200, (b"content-type", b"text/plain"))
    await part(send, body, more=False)


def raising(error: Exception):
    """An application that raises before it answers."""

    async def app(_scope, _receive, _send):
        raise error

    return app


async def test_a_request_passes():
    """An answer passes unchanged but for the controls' headers and `Server`, and its call is complete when settled."""
    witness = Witness()
    caller = await serve(Shell(hello, pipeline(witness)), http("/x", method="GET"))
    assert (caller.status, caller.body, caller.ended) == (200, b"hello", True)
    assert caller.headers == {"content-type": "text/plain", "content-length": "5", "x-request-id": "r-1"}
    call = witness.call
    assert (call.status, call.code, call.complete, call.bytes_out, call.messages_out) == (200, "OK", True, 5, 1)
    assert (call.method, call.path, call.peer, call.scheme, call.route) == ("GET", "/x", "192.0.2.7", "http", "")
    assert call.started <= call.first_byte <= call.ended


async def test_a_response_object_is_not_changed():
    """Headers are added to a copy: an application may send the same message again and again."""
    message = {"type": "http.response.start", "status": 200, "headers": [(b"server", b"x")]}

    async def app(_scope, _receive, send):
        await send(message)
        await part(send, b"", more=False)

    shell = Shell(app, pipeline(Witness()))
    for _ in range(2):
        caller = await serve(shell, http())
        assert caller.headers == {"x-request-id": "r-1"}
    assert message["headers"] == [(b"server", b"x")]


async def test_the_call_is_at_hand():
    """Inside the application the call being served is the current one, and outside there is none."""
    seen = []

    async def app(scope, receive, send):
        seen.append(current_call())
        await hello(scope, receive, send)

    witness = Witness()
    await serve(Shell(app, pipeline(witness)), http())
    assert seen == [witness.call]
    assert current_call() is None


REFUSALS = {
    "fault of a control": ({"gate": ResourceExhausted("slow down", retry_after=1.5)}, {}, 429, "RESOURCE_EXHAUSTED"),
    "defect of a control": ({"gate": KeyError("secret")}, {}, 500, "INTERNAL"),
    "answer of a control": ({"gate": Answer(204)}, {}, 204, "OK"),
    "fault of the application": ({"app": raising(PermissionDenied("no"))}, {}, 403, "PERMISSION_DENIED"),
    "defect of the application": ({"app": raising(KeyError("secret"))}, {}, 500, "INTERNAL"),
    "announced body": ({"app": echo}, {"headers": [(b"content-length", b"101")]}, 413, "RESOURCE_EXHAUSTED"),
    "chunked body": ({"app": echo}, {"body": [b"x" * 60, b"x" * 60]}, 413, "RESOURCE_EXHAUSTED"),
    "malformed length": ({}, {"headers": [(b"content-length", b"1e3")]}, 400, "INVALID_ARGUMENT"),
    "nothing answered": ({"app": raising(TimeoutError())}, {}, 500, "INTERNAL"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_d02_every_refusal_is_dressed_and_settled(case, logged):
    """Whatever refuses a call, the answer has the controls' headers, and the call is settled once, telling of it."""
    parts, request, status, code = REFUSALS[case]
    witness = Witness()
    controls = [witness, Refuses(parts["gate"])] if "gate" in parts else [witness]
    shell = Shell(parts.get("app", hello), pipeline(*controls), max_body_size=100)
    caller = await serve(shell, http(method="POST", **request))
    assert (caller.status, caller.ended) == (status, True)
    assert caller.headers["x-request-id"] == "r-1"
    assert b"secret" not in caller.body
    assert witness.responded == [status]
    call = witness.call
    assert (call.status, call.code, call.complete) == (status, code, True)
    assert (call.fault is not None) == (code != "OK")
    if "gate" in parts:
        assert call.refused_by == "gate" or code == "INTERNAL"


async def test_d15_an_open_circuit_says_when_to_come_back():
    """What is unavailable is a 503 that says when to try again, whoever raises it."""
    fault = Unavailable("the circuit to model is open", code="circuit_open", retry_after=12.2)
    caller = await serve(Shell(raising(fault), pipeline(Witness())), http())
    assert (caller.status, caller.headers["retry-after"], caller.problem["code"]) == (503, "13", "circuit_open")


async def test_a_defect_tells_nothing(logged):
    """An unforeseen exception is a 500 without its text; the log has all of it, under the request's id."""
    caller = await serve(Shell(raising(RuntimeError("sda9")), pipeline(Witness())), http("/a"))
    assert b"sda9" not in caller.body
    assert caller.problem["code"] == "internal"
    (line,) = [line for line in logged() if line["event"] == "request failed"]
    assert "sda9" in line["exception"]
    assert line["request_id"] == "r-1"


async def test_an_unfinished_answer_is_a_defect():
    """An application that returns without an answer gets one made for it."""

    async def app(_scope, _receive, _send):
        return

    witness = Witness()
    caller = await serve(Shell(app, pipeline(witness)), http())
    assert (caller.status, witness.call.code) == (500, "INTERNAL")


async def test_a_control_that_breaks_in_respond_costs_its_headers(logged):
    """A defect in `respond` is logged, and the answer goes out without that control's headers."""

    class Breaks(Control):
        name = "breaks"

        def respond(self, call, headers):
            raise KeyError

    witness = Witness()
    caller = await serve(Shell(hello, pipeline(witness, Breaks())), http())
    assert (caller.status, caller.ended, len(witness.settled)) == (200, True, 1)
    assert "a control failed" in [line["event"] for line in logged()]


async def test_a_control_that_breaks_in_settle_spares_the_others():
    """A defect in `settle` neither reaches the server nor keeps the others from settling."""

    class Breaks(Control):
        name = "breaks"

        def settle(self, call):
            raise KeyError

    witness = Witness()
    await serve(Shell(hello, pipeline(Breaks(), witness)), http())
    assert witness.call.complete


async def test_a_proxied_client_is_told_to_the_application():
    """The application sees the client and the scheme that the controls found, not the proxy's."""

    class Proxied(Control):
        name = "proxies"

        def identify(self, call):
            call.client, call.scheme = "203.0.113.9", "https"

    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await hello(scope, receive, send)

    await serve(Shell(app, pipeline(Proxied())), http())
    assert (seen["client"], seen["scheme"]) == (("203.0.113.9", 0), "https")


async def test_a_certificate_is_read_from_the_scope():
    """Who verified the client's certificate tells the shell how to find it."""
    seen = []

    class Looks(Control):
        name = "looks"

        def identify(self, call):
            seen.append(call.certificate)

    await serve(Shell(hello, pipeline(Looks()), certificate_of=lambda scope: scope["path"]), http("/c"))
    assert seen == ["/c"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_refused_heads_have_no_body(method):
    """A refusal of HEAD has the headers of one of GET, its length included, and no body."""
    caller = await serve(Shell(hello, pipeline(Refuses(Internal("no")))), http(method=method))
    assert int(caller.headers["content-length"]) > 0
    assert bool(caller.body) == (method == "GET")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(status):
    """A 204 or 304 gets neither a body nor a length."""
    caller = await serve(Shell(hello, pipeline(Refuses(Answer(status)))), http())
    assert (caller.status, caller.body, caller.headers, caller.ended) == (status, b"", {}, True)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.pathsend", "path": "/etc/hosts"}],
        [
            {"type": "http.response.body", "body": b"x", "more_body": False},
            {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": False},
        ],
        [
            {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
            {"type": "http.response.zerocopysend", "file": 3},
        ],
    ],
    ids=["pathsend", "trailers", "zerocopysend"],
)
async def test_extensions_pass_untouched(messages):
    """Messages of ASGI's extensions go to the server as they are, and end the answer where they do."""
    witness = Witness()

    async def app(_scope, _receive, send):
        trailers = messages[-1]["type"].endswith("trailers")
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": trailers})
        for message in messages:
            assert not witness.settled
            await send(message)

    request = http(headers=[(b"accept-encoding", b"gzip")], extensions={"http.response.zerocopysend": {}})
    caller = await serve(Shell(app, pipeline(witness), gzip_min_size=1), request)
    assert caller.sent[2:] == messages
    assert (witness.call.complete, witness.call.status) == (True, 200)


BODY = {"type": "http.response.body", "body": b"x", "more_body": False}
TRAILERS = {"type": "http.response.trailers", "headers": []}
PATH = {"type": "http.response.pathsend", "path": "/etc/hosts"}


@pytest.mark.parametrize("first", [BODY, TRAILERS, PATH], ids=["body", "trailers", "pathsend"])
async def test_parts_before_the_start(first, logged):
    """A part of a response that was not begun does not go out: the application is told, and the caller gets a 500."""

    async def app(_scope, _receive, send):
        await send(first)

    witness = Witness()
    caller = await serve(Shell(app, pipeline(witness)), http())
    assert (caller.status, caller.problem["code"], caller.ended) == (500, "internal", True)
    assert (witness.call.code, len(logged())) == ("INTERNAL", 1)


async def test_answering_twice(logged):
    """What comes after the end of a response is refused, and the first one stands."""

    async def app(_scope, _receive, send):
        for _ in range(2):
            await start(send)
            await part(send, b"once", more=False)

    witness = Witness()
    caller = await serve(Shell(app, pipeline(witness)), http())
    assert (caller.status, caller.body, witness.call.complete) == (200, b"once", True)
    assert [line["event"] for line in logged()] == [
        "the application began a second response",
        "failed after the answer",
    ]


async def test_an_application_that_never_answers(logged):
    """An application that neither answers nor ends is cancelled when the first byte is overdue."""

    async def app(_scope, _receive, _send):
        await asyncio.Event().wait()

    class Hurry(Witness):
        def admit(self, call):
            call.budget = Budget(first_byte=0.01)

    witness = Hurry()
    caller = await serve(Shell(app, pipeline(witness)), http())
    assert (caller.status, witness.call.code) == (504, "DEADLINE_EXCEEDED")


async def test_a_server_that_refuses_what_it_is_sent(logged):
    """When the server finds the body shorter than was announced the connection is cut, and the call is a defect."""

    def strict(message):
        if message["type"] == "http.response.body":
            raise RuntimeError("Response content shorter than Content-Length")

    async def app(_scope, _receive, send):
        await start(send, 200, (b"content-length", b"9"))
        await part(send, b"short", more=False)

    witness, caller = Witness(), http()
    caller.on_send = strict
    with pytest.raises(ResponseCutError):
        await serve(Shell(app, pipeline(witness)), caller)
    assert (witness.call.code, witness.call.complete) == ("INTERNAL", False)
