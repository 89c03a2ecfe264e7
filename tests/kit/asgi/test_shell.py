"""The shell over plain ASGI: what passes, what is refused, and that everything is settled once."""

import gzip

import pytest

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Answer, Call, Control
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


class TestCompression:
    """gzip, for whom it is for."""

    @pytest.fixture
    def call(self):
        """Asks for an answer of so many bytes; returns what came."""

        async def ask(size, accepted, *headers, kind=b"application/json", method="GET", request=()):
            async def app(_scope, _receive, send):
                length = (b"content-length", str(size).encode())
                await start(send, 200, (b"content-type", kind), length, *headers)
                await part(send, b"a" * size, more=False)

            accepts = [(b"accept-encoding", accepted)] if accepted else []
            shell = Shell(app, pipeline(Witness()), gzip_min_size=500)
            return await serve(shell, http(method=method, headers=[*accepts, *request]))

        return ask

    async def test_large_answers_are_compressed(self, call):
        """An answer of the least size is compressed for who accepts it, and says that it depends on that."""
        caller = await call(500, b"br, gzip;q=0.5")
        assert caller.headers["content-encoding"] == "gzip"
        assert gzip.decompress(caller.body) == b"a" * 500
        assert caller.headers["content-length"] == str(len(caller.body))
        assert caller.headers["vary"] == "Accept-Encoding"

    @pytest.mark.parametrize("accepted", [None, b"br", b"gzip;q=0", b"gzip; q=0.0"])
    async def test_others_get_it_plain(self, call, accepted):
        """Who does not accept gzip, or refuses it, gets the answer plain; caches learn that it varies."""
        caller = await call(500, accepted)
        assert "content-encoding" not in caller.headers
        assert (caller.body, caller.headers["vary"]) == (b"a" * 500, "Accept-Encoding")

    async def test_small_answers_stay_as_they_are(self, call):
        """An answer below the least size is not compressed and varies with nothing."""
        caller = await call(499, b"gzip")
        assert not {"content-encoding", "vary"} & set(caller.headers)

    @pytest.mark.parametrize(
        ("kind", "header"),
        [
            (b"text/event-stream", None),
            (b"image/png", None),
            (b"application/grpc-web+proto", None),
            (b"application/json", (b"content-encoding", b"br")),
        ],
    )
    async def test_what_is_never_compressed(self, call, kind, header):
        """Event streams, what is compressed already and what is encoded already pass as they are."""
        request = [(b"content-type", kind)] if b"grpc" in kind else ()
        headers = [header] if header else []
        caller = await call(5_000, b"gzip", *headers, kind=kind, method="POST", request=request)
        assert caller.body == b"a" * 5_000
        assert "vary" not in caller.headers
        assert caller.headers.get("content-encoding") == ("br" if header else None)

    async def test_an_answer_that_varies_already(self, call):
        """`Vary` is not said twice."""
        caller = await call(500, None, (b"vary", b"Origin, Accept-Encoding"))
        assert caller.headers["vary"] == "Origin, Accept-Encoding"
