"""Four frameworks answer errors alike, on applications that were made without a thought for it."""

import json
import logging

import httpx
import pytest

from headgate.kit.asgi.detect import detect, framework_of
from headgate.kit.asgi.frameworks import prepare
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.faults import NotFound
from tests.kit.asgi.services import FRAMEWORKS, service
from tests.kit.asgi.wire import Witness, pipeline, serve, websocket

JSON = {"content-type": "application/json"}

CASES = {
    "too long": (("POST", "/items", b'{"name":"too long"}', JSON), 400, "invalid_argument", ["/name"]),
    "several": (
        ("POST", "/items", b'{"name":"too long","price":101,"tags":["a","bcd"],"nmae":1}', JSON),
        400,
        "invalid_argument",
        ["/name", "/price", "/tags/1", "/nmae"],
    ),
    "missing field": (("POST", "/items", b"{}", JSON), 400, "invalid_argument", ["/name"]),
    "wrong type": (("POST", "/items", b'{"name":1}', JSON), 400, "invalid_argument", ["/name"]),
    "no object": (("POST", "/items", b"[1]", JSON), 400, "invalid_argument", [""]),
    "null": (("POST", "/items", b"null", JSON), 400, "invalid_argument", [""]),
    "malformed": (("POST", "/items", b'{"name":}', JSON), 400, "invalid_argument", [""]),
    "cut off": (("POST", "/items", b'{"name":"a', JSON), 400, "invalid_argument", [""]),
    "no text": (("POST", "/items", b"\xff", JSON), 400, "invalid_argument", [""]),
    "empty": (("POST", "/items", b"", JSON), 400, "invalid_argument", [""]),
    "no body": (("POST", "/items", None, {}), 400, "invalid_argument", [""]),
    "unknown path": (("GET", "/nowhere", None, {}), 404, "path_not_found", None),
    "no such item": (("GET", "/v1/a/items/x", None, {}), (400, 404), ("invalid_argument", "path_not_found"), None),
    "wrong method": (("DELETE", "/items", None, {}), 405, "method_not_allowed", None),
    "fault": (("GET", "/fault", None, {}), 429, "quota", None),
    "defect": (("GET", "/defect", None, {}), 500, "internal", None),
    "abort 403": (("GET", "/abort/403", None, {}), 403, "permission_denied", None),
    "abort 404": (("GET", "/abort/404", None, {}), 404, "path_not_found", None),
    "abort 503": (("GET", "/abort/503", None, {}), 503, "unavailable", None),
    "with a text": (("GET", "/says", None, {}), 403, "permission_denied", None),
}


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    """The name of each framework."""
    return request.param


def client(app, **more) -> httpx.AsyncClient:
    """A client of the hardened application."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(Shell(app, pipeline(*more.pop("controls", [Witness()])), **more)),
        base_url="http://test",
    )


async def answer(app, method, path, body, headers) -> httpx.Response:
    """What it answers."""
    async with client(app) as http:
        return await http.request(method, path, content=body, headers=headers)


@pytest.mark.parametrize("case", CASES)
async def test_d16_errors_are_alike(case, logged):
    """The same mistake gets the same status and the same document from each framework, and tells no internals."""
    request, status, code, pointers = CASES[case]
    documents = {}
    for framework in FRAMEWORKS:
        response = await answer(service(framework), *request)
        assert response.headers["content-type"] == "application/problem+json", framework
        assert response.headers["x-request-id"] == "r-1"
        assert "sda9" not in response.text
        document = response.json()
        assert document["status"] == response.status_code
        assert response.status_code == status or response.status_code in status
        assert document["code"] == code or document["code"] in code
        if pointers is not None:
            assert [each["pointer"] for each in document["errors"]] == pointers, framework
        documents[framework] = document
    if not isinstance(status, tuple):  # whether a converter or a validator refuses a path is the route's own choice
        assert len({json.dumps(document) for document in documents.values()}) == 1, documents


@pytest.mark.parametrize("sent", [{"content-type": "text/plain"}, {}], ids=["text", "untyped"])
async def test_d16_a_body_that_claims_to_be_something_else(sent, logged):
    """Where the framework decodes JSON, a body that does not claim to be JSON is a 415, and never ignored."""
    documents = set()
    for framework in ("fastapi", "litestar", "quart"):
        response = await answer(service(framework), "POST", "/items", b'{"name":"a"}', sent)
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
        documents.add(response.text)
    assert len(documents) == 1


async def test_good_requests_pass(framework):
    """What is right is answered as before."""
    response = await answer(
        service(framework), "POST", "/items", b'{"name":"a"}', {"content-type": "application/ld+json"}
    )
    assert (response.status_code, response.json()) == (200, {"name": "a", "price": 0, "tags": []})


async def test_allowed_methods(framework):
    """A method that is not possible is answered with those that are."""
    response = await answer(service(framework), "DELETE", "/items", None, {})
    assert "POST" in response.headers["allow"].split(", ")


async def test_headers_of_an_exception(framework):
    """The headers that a framework's exception carries are kept, its text too, and the body is the problem."""
    response = await answer(service(framework), "GET", "/says", None, {})
    assert (response.headers["x-why"], response.json()["detail"]) == ("Monday", "not on Mondays")
    assert response.headers["content-length"] == str(len(response.content))


async def test_d15_retry_after_reaches_the_caller(framework):
    """When to come back is said by each framework."""
    response = await answer(service(framework), "GET", "/fault", None, {})
    assert (response.headers["retry-after"], response.json()["hint"]) == ("3", "wait")


async def test_the_call_knows_the_fault(framework, logged):
    """A fault that the framework answers is on the call when it is settled."""
    witness = Witness()
    async with client(service(framework), controls=[witness]) as http:
        await http.get("/fault")
        await http.get("/defect")
        await http.get("/nowhere")
        await http.post("/items", json={"name": "too long"})
    assert [call.code for call in witness.settled] == [
        "RESOURCE_EXHAUSTED",
        "INTERNAL",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
    ]
    assert [call.fault.code if call.fault else "" for call in witness.settled] == [
        "quota",
        "internal",
        "",
        "invalid_argument",
    ]


async def test_a_defect_is_logged_once(framework, logged):
    """An unforeseen exception is in the log once, with its traceback and the request's id."""
    await answer(service(framework), "GET", "/defect", None, {})
    lines = [line for line in logged() if "sda9" in json.dumps(line)]
    assert [(line["event"], line["request_id"]) for line in lines] == [("request failed", "r-1")]


@pytest.mark.parametrize("text", ["fault", "other"])
async def test_sockets_fail_alike(framework, text, logged):
    """A socket whose handler fails is told so in a frame and closed with the code of the fault."""
    caller = websocket("/socket")
    caller.say(type="websocket.receive", text=text)
    witness = Witness()
    await serve(Shell(service(framework), pipeline(witness)), caller)
    accept, frame, close = caller.sent
    assert (b"x-request-id", b"r-1") in accept["headers"]
    assert json.loads(frame["text"])["error"]["code"] == ("quota" if text == "fault" else "internal")
    assert close["code"] == (1013 if text == "fault" else 1011)
    assert "sda9" not in str(caller.sent)


async def test_unknown_sockets_are_alike(framework):
    """A socket that leads nowhere is denied."""
    for denial in (True, False):
        caller = await serve(Shell(service(framework), pipeline(Witness())), websocket("/nowhere", denial=denial))
        if not denial or framework in {"fastapi", "starlette"}:  # which close; servers make a 403 of it
            assert [each["type"] for each in caller.sent] == ["websocket.close"]
        else:
            assert (caller.status, caller.headers["x-request-id"]) == (404, "r-1")


async def test_handlers_of_the_application_stay(logged):
    """What an application registered itself is not replaced."""
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse
    from litestar import Litestar, Response, get
    from quart import Quart

    fast = FastAPI(exception_handlers={NotFound: lambda *_: JSONResponse({"mine": 1}, 444)})
    quart = Quart("own")

    @fast.get("/x")
    async def on_fast() -> None:
        raise NotFound("x")

    @get("/x")
    async def on_lite() -> None:
        raise NotFound("x")

    @quart.errorhandler(NotFound)
    async def own(_error):
        return {"mine": 1}, 444

    @quart.get("/x")
    async def on_quart() -> None:
        raise NotFound("x")

    lite = Litestar([on_lite], exception_handlers={NotFound: lambda *_: Response({"mine": 1}, status_code=444)})
    for app in (fast, lite, quart):
        response = await answer(app, "GET", "/x", None, {})
        assert (response.status_code, response.json()) == (444, {"mine": 1})


async def test_twice_is_once(framework, logged):
    """Preparing an application again changes nothing."""
    app = service(framework)
    prepare(app)
    prepare(app)
    assert (await answer(app, "GET", "/defect", None, {})).json()["code"] == "internal"
    assert (await answer(app, "POST", "/items", b'{"name":"a"}', JSON)).status_code == 200


def test_found_in_wrappers():
    """An application is found inside what wraps it, and what is mounted in it too; others are nobody's."""
    from starlette.middleware.gzip import GZipMiddleware

    fast, quart = service("fastapi"), service("quart")
    wrapped = GZipMiddleware(GZipMiddleware(fast))
    assert [each.framework for each in detect(wrapped)] == ["fastapi", "fastapi"]
    fast.mount("/quart", quart)
    assert [each.framework for each in detect(fast)] == ["fastapi", "fastapi", "quart"]
    assert detect(quart.asgi_app)[0].app is quart
    assert detect(lambda: None) == []
    assert framework_of(object()) is None


async def test_errors_of_the_wrapped(framework, logged):
    """An application is prepared through its wrappers."""
    from starlette.middleware.gzip import GZipMiddleware

    response = await answer(GZipMiddleware(service(framework)), "GET", "/nowhere", None, {})
    assert response.json()["code"] == "path_not_found"


def test_d18_logs_stay_where_they_were(logged):
    """A Litestar application takes the root logger when it is made; hardened, all lines go where they went before."""
    (ours, *_others) = logging.getLogger().handlers
    app = service("litestar")
    assert ours not in logging.getLogger().handlers, "Litestar no longer takes the root logger: all this can go"
    prepare(app)
    assert logging.getLogger().handlers == [ours]
    assert logging.getLogger("litestar").handlers == []
    logging.getLogger("litestar").warning("from within")
    logging.getLogger("elsewhere").warning("from without")
    assert {"from within", "from without"} <= {line["event"] for line in logged()}


async def test_d18_a_defect_in_litestar_tells_nothing(logged):
    """Litestar's debug page does not appear, and neither does the text of its own exceptions of status 500."""
    from litestar import Litestar, get
    from litestar.exceptions import ImproperlyConfiguredException

    @get("/x")
    async def misconfigured() -> None:
        raise ImproperlyConfiguredException("sda9")

    response = await answer(Litestar([misconfigured], debug=True), "GET", "/x", None, {})
    assert (response.status_code, "sda9" in response.text) == (500, False)


async def test_a_body_read_before_the_handler_is_refused_alike(logged):
    """Broken JSON is the caller's mistake on Litestar when a middleware, such as Sentry's, reads it first too."""
    from litestar import Litestar, Request, post

    @post("/x")
    async def never(data: dict[str, int]) -> None:
        raise AssertionError

    def reading(app):
        async def read(scope, receive, send):
            await Request(scope, receive).json()
            await app(scope, receive, send)

        return read

    @post("/y")
    async def unwritable(data: dict[str, int]) -> object:
        return object()

    app = Litestar([never, unwritable], middleware=[reading])
    broken = await answer(app, "POST", "/x", b'{"name":', JSON)
    assert (broken.status_code, broken.json()["detail"]) == (
        400,
        "the body is not JSON: Expecting value at character 8",
    )
    assert (await answer(app, "POST", "/y", b'{"a":1}', JSON)).status_code == 500


class TestQuart:
    """What Quart does of its own."""

    async def test_its_timeouts_leave_streams_alone(self):
        """Quart's own timeouts, which cut streams off silently, are off unless set by the application."""
        app = service("quart")
        app.config["BODY_TIMEOUT"] = 5
        prepare(app)
        assert (app.config["RESPONSE_TIMEOUT"], app.config["BODY_TIMEOUT"]) == (None, 5)

    async def test_structs(self, logged):
        """Msgspec's errors are pointed at like pydantic's."""
        response = await answer(service("quart"), "POST", "/structs", b'{"name":"a","tags":["a","bcd"]}', JSON)
        assert response.json()["errors"] == [{"pointer": "/tags/1", "message": "must have at most 2 characters"}]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b'{"name":"too long"}', [("/name", "must have at most 5 characters")]),
        (b'{"name":"a","price":101}', [("/price", "must be less than or equal to 100")]),
        (b'{"name":"a","tags":["a","bcd"]}', [("/tags/1", "must have at most 2 characters")]),
        (b"{}", [("/name", "is required")]),
        (b'{"name":"a","x":1}', [("/x", "unknown field 'x'")]),
        (b"[1]", [("", "must be an object")]),
        (b"null", [("", "the body is required")]),
        (b"", [("", "the body is required")]),
    ],
)
async def test_structs_on_litestar(body, errors, logged):
    """Msgspec's errors are said in the words used for pydantic's."""
    response = await answer(service("litestar"), "POST", "/structs", body, JSON)
    assert response.status_code == 400
    assert [(each["pointer"], each["message"]) for each in response.json()["errors"]] == errors
