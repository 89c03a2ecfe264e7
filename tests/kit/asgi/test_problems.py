"""Faults over HTTP."""

import json

import pytest
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headgate.kit.asgi import problems
from headgate.kit.asgi.problems import STATUS, STATUS_OF_CODE, encoded, fault_document, problem_document, status_of
from headgate.kit.controls import faults
from headgate.kit.controls.faults import Aborted, Fault, NotFound, Unauthenticated, Unavailable, Violation

KINDS = Fault.__subclasses__()


def raising(error: Exception) -> Starlette:
    """A plain Starlette application that raises."""

    async def endpoint(_request: Request) -> Response:
        raise error

    made = Starlette(routes=[Route("/a", endpoint, methods=["GET", "PUT"])])
    problems.install(made)
    return made


def test_every_kind_has_a_status():
    """Each of the sixteen kinds, and nothing else, has an HTTP status."""
    assert len(KINDS) == 16
    assert set(STATUS) == {kind.kind for kind in KINDS}
    assert all(status >= 400 for status in (*STATUS.values(), *STATUS_OF_CODE.values()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_fault_becomes_its_problem(client, kind):
    """Raised by an endpoint, a fault of each kind is answered with its status and all that it says."""
    fault = kind("no", code="a_code", hint="try this", violations=[Violation("/a", "is bad", "be good")])
    async with client(raising(fault)) as http:
        answer = await http.get("/a", headers={"x-request-id": "r-1"})
    assert answer.status_code == STATUS[kind.kind]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:headgate:problem:a_code",
        "title": "A code",
        "status": answer.status_code,
        "detail": "no",
        "instance": "/a",
        "code": "a_code",
        "request_id": "r-1",
        "hint": "try this",
        "errors": [{"pointer": "/a", "message": "is bad", "hint": "be good"}],
    }


async def test_nothing_is_said_of_nothing(client):
    """Without hint and violations their members are absent."""
    async with client(raising(NotFound("no"))) as http:
        document = (await http.get("/a")).json()
    assert not {"hint", "errors"} & set(document)


def test_a_refusal_is_told_where_it_may_pass():
    """Who may call again because nothing was done is told so; where calling again cannot help nothing is said."""
    assert fault_document(Unavailable("no", refused=True), "/a", "")["refused"] is True
    assert "refused" not in fault_document(Unavailable("no"), "/a", "")
    assert "refused" not in fault_document(NotFound("no", refused=True), "/a", "")


def test_codes_with_a_status_of_their_own():
    """A failed If-Match is 412, as HTTP has it, not the 409 of its kind."""
    assert (status_of(Aborted("x", code="etag_mismatch")), status_of(Aborted("x"))) == (412, 409)


async def test_headers_that_belong_to_a_status(client):
    """A refusal for now says when to come back; one for want of credentials says which."""
    async with client(raising(Unavailable("x", retry_after=1.2))) as http:
        assert (await http.get("/a")).headers["retry-after"] == "2"
    async with client(raising(Unauthenticated("x"))) as http:
        assert (await http.get("/a")).headers["www-authenticate"] == "Bearer"


async def test_what_is_internal_stays_in_the_log(client, logged):
    """The internal text of a fault is logged and not sent."""
    async with client(raising(faults.Internal("no", internal="disk sda9"))) as http:
        answer = await http.get("/a")
    assert "sda9" not in answer.text
    assert "sda9" in json.dumps(logged())


async def test_a_defect_tells_nothing(client, logged):
    """An unforeseen error is 500 without its text, type or traceback; the log has all, under the request's id."""
    async with client(raising(KeyError("sda9"))) as http:
        answer = await http.get("/a", headers={"x-request-id": "r-9"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert not any(word in answer.text for word in ("sda9", "KeyError", "Traceback"))
    (line,) = [line for line in logged() if line["event"] == "request failed"]
    assert "KeyError: 'sda9'" in line["exception"]
    assert line["request_id"] == "r-9"


async def test_defects_of_a_bare_application(client):
    """Without the middleware too, a defect is answered with a problem."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/a", "headers": [], "query_string": b""}
    with pytest.raises(KeyError):
        await raising(KeyError("sda9"))(scope, receive, send)
    assert json.loads(sent[1]["body"])["code"] == "internal"


async def test_unknown_paths(client, app):
    """A path that leads nowhere is a problem too, and names it."""
    async with client(app) as http:
        answer = await http.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "path_not_found")
    assert answer.json()["detail"] == "there is nothing at /nowhere"


async def test_unknown_methods(client, app):
    """A method that is not possible is answered with those that are."""
    async with client(app) as http:
        answer = await http.delete("/v1/items/1")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] in answer.json()["hint"]


async def test_all_methods_of_a_path_are_told(client):
    """A path of several routes is answered with the methods of all, and of no other path."""

    async def endpoint(_request: Request) -> Response:
        return Response()

    made = Starlette(
        routes=[
            Route("/a", endpoint, methods=["PUT"]),
            Route("/{name}", endpoint, methods=["POST"]),
            Route("/b", endpoint, methods=["PATCH"]),
        ]
    )
    problems.install(made)
    async with client(made) as http:
        answer = await http.delete("/a")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT")
    assert answer.json()["hint"] == "possible: POST, PUT"


async def test_other_statuses_keep_what_they_say(client):
    """A framework's exception of another status keeps its detail and headers."""
    error = HTTPException(415, "only JSON", headers={"Accept-Post": "application/json"})
    async with client(raising(error)) as http:
        answer = await http.get("/a")
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        415,
        "unsupported_media_type",
        "only JSON",
    )
    assert answer.headers["accept-post"] == "application/json"


async def test_statuses_without_a_body(client):
    """A 304 raised as an exception stays without a body."""
    async with client(raising(HTTPException(304))) as http:
        answer = await http.get("/a")
    assert (answer.status_code, answer.content) == (304, b"")


async def test_a_refused_body(client, app):
    """Each field that is wrong is located, explained and hinted at, against FastAPI's own model."""
    async with client(app) as http:
        answer = await http.post("/v1/items/1", json={"nmae": "x", "price": 101})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "/name is required, and 2 more"
    assert answer.json()["errors"] == [
        {"pointer": "/name", "message": "is required"},
        {
            "pointer": "/price",
            "message": "must be less than or equal to 100",
            "hint": "allowed: a whole number from 0 to 100",
        },
        {"pointer": "/nmae", "message": "unknown field 'nmae'", "hint": "did you mean 'name'?"},
    ]


async def test_a_refused_parameter(client, app):
    """Parameters of the path and the query are named: a pointer could only lead into the body."""
    async with client(app) as http:
        answer = await http.post("/v1/items/x?limit=11", json={"name": "x"})
    assert [(error["pointer"], error["message"]) for error in answer.json()["errors"]] == [
        ("", "path parameter 'shelf' must be a whole number"),
        ("", "query parameter 'limit' must be less than or equal to 10"),
    ]


@pytest.mark.parametrize("body", [b"{", b"", b"[1,]", b"\xff"])
async def test_a_body_that_is_no_json(client, app, body):
    """A malformed body is 400."""
    async with client(app) as http:
        answer = await http.post("/v1/items/1", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_where_the_json_is_malformed(client, app):
    """The character at which a body stops being JSON is told."""
    async with client(app) as http:
        answer = await http.post("/v1/items/1", content=b'{"a": }', headers={"content-type": "application/json"})
    assert answer.json()["errors"] == [
        {"pointer": "", "message": "the body is not JSON: Expecting value at character 6"}
    ]


async def test_validation_inside_an_endpoint(client):
    """A document that an endpoint validates itself is refused the same way."""

    class Thing(BaseModel):
        size: int

    with pytest.raises(ValidationError) as caught:
        Thing.model_validate({"size": "x"})
    async with client(raising(caught.value)) as http:
        answer = await http.get("/a")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/size")


def test_any_text_can_be_sent():
    """Text that has no encoding, out of hostile input, still becomes a document."""
    document = problem_document(status=400, code="x", detail="\udcff")
    assert json.loads(encoded(document))["detail"] == "\udcff"
