"""The Connect protocol on the port of HTTP: RPCs that any HTTP client can make."""

import asyncio
import base64
import gzip
import json
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from headgate.kit.controls.deadlines import Deadlines
from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.grpc.dispatch import RpcOverHttp
from headgate.kit.grpc.frames import compress, frame
from headgate.kit.grpc.registry import Registry
from tests.kit.grpc.echo import SECRET, Ask, Reply, path
from tests.kit.grpc.web import parts, stream

JSON = {"connect-protocol-version": "1"}
PROTO = {"content-type": "application/proto"}


class TestUnary:
    async def test_json(self, over_http):
        """A plain POST of JSON is an RPC; names and numbers are as protobuf's JSON has them."""
        served = await over_http()
        response = await served.client.post(path("Unary"), json={"text": "é", "unknown": 1}, headers=JSON)
        assert (response.status_code, response.json()) == (200, {"text": "é"})
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-recorded"] == "yes"
        [call] = await served.recorder.settled()
        assert (call.protocol, call.route, call.code) == ("connect", path("Unary"), "OK")

    async def test_without_any_header_of_its_own(self, over_http):
        """What curl sends suffices."""
        served = await over_http()
        response = await served.client.post(path("Unary"), content=b"", headers={"content-type": "application/json"})
        assert response.json() == {}

    async def test_proto(self, over_http):
        """The same with protobuf in the body."""
        served = await over_http()
        response = await served.client.post(path("Unary"), content=Ask(text="a").SerializeToString(), headers=PROTO)
        assert Reply.FromString(response.content) == Reply(text="a")
        assert response.headers["content-type"] == "application/proto"

    async def test_compression(self, over_http):
        """A body in gzip is understood, and sent to those who accept it once it is worth it."""
        served = await over_http(compress_from=100)
        text = "hello " * 100
        response = await served.client.post(
            path("Unary"),
            content=gzip.compress(json.dumps({"text": text}).encode()),
            headers={**JSON, "content-type": "application/json", "content-encoding": "gzip"},
        )
        assert (response.headers["content-encoding"], response.json()["text"]) == ("gzip", text)
        assert "accept-encoding" in response.headers["vary"].lower()
        plain = await served.client.post(path("Unary"), json={"text": text}, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers

    @pytest.mark.parametrize(
        ("how", "status", "code"),
        [
            ("fault", 400, "failed_precondition"),
            ("exception", 500, "internal"),
            ("abort", 400, "out_of_range"),
            ("code", 500, "data_loss"),
            ("validate", 400, "invalid_argument"),
        ],
    )
    async def test_errors(self, over_http, how, status, code):
        """Errors are Connect's JSON with its HTTP status, and the details that gRPC has."""
        served = await over_http()
        response = await served.client.post(path("Unary"), json={"how": how}, headers=JSON)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert SECRET not in response.text
        if how == "fault":
            document = response.json()
            assert document["message"] == "the shop is closed — for now"
            found = {each["type"]: each["value"] for each in document["details"]}
            reason = ErrorInfo.FromString(base64.b64decode(found["google.rpc.ErrorInfo"] + "=="))
            assert reason.reason == "SHOP_CLOSED"
        if how == "abort":
            assert response.headers["trailer-x-app"] == "1"
        [call] = await served.recorder.settled()
        assert call.code == code.upper()

    async def test_metadata(self, over_http):
        """Initial metadata are headers, trailing ones have a prefix."""
        served = await over_http()
        response = await served.client.post(path("Unary"), json={"how": "metadata"}, headers=JSON)
        assert (response.headers["x-first"], response.headers["trailer-x-last"]) == ("1", "2")

    @pytest.mark.parametrize(
        ("content", "headers", "status", "code"),
        [
            (b"{", {}, 400, "invalid_argument"),
            (b"\xff", {}, 400, "invalid_argument"),
            (b'{"count": "many"}', {}, 400, "invalid_argument"),
            (b"[" * 100_000, {}, 413, "resource_exhausted"),
            (b"[" * 900, {}, 400, "invalid_argument"),
            (b"{}", {"content-encoding": "br"}, 501, "unimplemented"),
            (b"{}", {"content-encoding": "gzip"}, 400, "invalid_argument"),
            (compress(bytes(50_000)), {"content-encoding": "gzip"}, 413, "resource_exhausted"),
            (b"{}", {"connect-protocol-version": "2"}, 400, "invalid_argument"),
        ],
        ids=range(9),
    )
    async def test_requests_that_cannot_be(self, over_http, content, headers, status, code):
        """A body that is broken, strangely packed or too large, or another version, is refused as what it is."""
        served = await over_http(max_receive=1_000)
        response = await served.client.post(
            path("Unary"), content=content, headers={**JSON, "content-type": "application/json", **headers}
        )
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert not served.echo.seen

    async def test_a_refusal_by_a_control(self, over_http):
        """A caller who is refused by the shell reads Connect's error."""
        served = await over_http()

        def refuse(_call):
            raise PermissionDenied("not you")

        served.recorder.refuse = refuse
        response = await served.client.post(path("Unary"), json={}, headers=JSON)
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")

    async def test_the_callers_deadline(self, over_http):
        """`connect-timeout-ms` ends the handler and the call."""
        served = await over_http(Deadlines(first_byte=20, idle=20, total=20))
        headers = {**JSON, "connect-timeout-ms": "300"}
        response = await served.client.post(path("Unary"), json={"how": "wait"}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
        await asyncio.wait_for(served.echo.stopped.wait(), 10)


class TestGet:
    @pytest.mark.parametrize(
        "query",
        [
            "encoding=json&message=" + quote('{"text":"é"}'),
            "encoding=proto&message=" + quote(Ask(text="é").SerializeToString()),
            "connect=v1&base64=1&encoding=proto&message="
            + base64.urlsafe_b64encode(Ask(text="é").SerializeToString()).decode().rstrip("="),
            "base64=1&compression=gzip&encoding=json&message="
            + quote(base64.urlsafe_b64encode(compress(b'{"text":"\xc3\xa9"}'))),
        ],
    )
    async def test_what_has_no_side_effects_may_be_got(self, over_http, query):
        """A method whose schema says so answers GET, with the message in the query."""
        served = await over_http()
        response = await served.client.get(f"{path('Read')}?{query}")
        assert response.status_code == 200
        text = response.json()["text"] if "json" in query else Reply.FromString(response.content).text
        assert text == "é"

    @pytest.mark.parametrize(
        ("query", "status"),
        [("encoding=xml&message=", 415), ("encoding=json&base64=1&message=!", 400), ("encoding=json&message={", 400)],
    )
    async def test_queries_that_cannot_be(self, over_http, query, status):
        """An unknown encoding or a broken message is refused."""
        served = await over_http(max_receive=1_000)
        assert (await served.client.get(f"{path('Read')}?{query}")).status_code == status
        long = await served.client.get(f"{path('Read')}?encoding=json&message={'a' * 2_000}")
        assert long.json()["code"] == "resource_exhausted"

    async def test_all_others_take_post_only(self, over_http):
        """A method that may change something refuses GET, and says what it takes."""
        served = await over_http()
        for verb, where in (("GET", "Unary"), ("GET", "ServerStream"), ("PUT", "Unary")):
            response = await served.client.request(verb, path(where))
            assert (response.status_code, response.headers["allow"]) == (405, "POST")
            assert response.json()["code"] == "method_not_allowed"


class TestStreams:
    @pytest.mark.parametrize("form", ["json", "proto"])
    async def test_server_streams(self, over_http, form):
        """Each reply is a message, and the last one says that all went well."""
        served = await over_http()
        ask = {"text": "a", "count": "2"} if form == "json" else Ask(text="a", count=2)
        response, replies, end = await stream(served.client, path("ServerStream"), ask, form=form)
        assert replies == ([{"text": "a"}] if form == "json" else [Reply(text="a")]) * 2
        assert end == {}
        assert response.headers["content-type"] == f"application/connect+{form}"

    @pytest.mark.parametrize("method", ["ClientStream", "Bidi"])
    async def test_many_requests(self, over_http, method):
        """Over HTTP/1.1 the requests come first, then the replies."""
        served = await over_http()
        _, replies, end = await stream(served.client, path(method), {"text": "a"}, {"text": "b"})
        assert replies == ([{"text": "a,b"}] if method == "ClientStream" else [{"text": "a"}, {"text": "b"}])
        assert end == {}

    async def test_an_error_after_replies(self, over_http):
        """What goes wrong after replies is in the last message, with trailing metadata."""
        served = await over_http()
        _, replies, end = await stream(served.client, path("ServerStream"), {"text": "a", "count": 1, "how": "abort"})
        assert replies == [{"text": "a"}]
        assert end == {"error": {"code": "out_of_range", "message": "past the end"}, "metadata": {"x-app": ["1"]}}
        _, _, end = await stream(served.client, path("Bidi"), {"how": "fault"})
        assert end["error"]["details"][0]["type"] == "google.rpc.ErrorInfo"

    async def test_compression(self, over_http):
        """Messages are compressed one by one, for those who take it."""
        served = await over_http(compress_from=100)
        headers = {"connect-accept-encoding": "gzip", "connect-content-encoding": "gzip"}
        text = "hello " * 100
        response = await served.client.post(
            path("ServerStream"),
            content=frame(1, gzip.compress(json.dumps({"text": text, "count": 1}).encode())),
            headers={"content-type": "application/connect+json", **headers},
        )
        (flags, reply), (last, _) = parts(response.content)
        assert (flags, last) == (1, 2)
        assert json.loads(reply)["text"] == text

    @pytest.mark.parametrize(
        ("content", "headers", "code"),
        [
            (b"\x00\x00", {}, "invalid_argument"),
            (b"", {}, "invalid_argument"),
            (frame(2, b"{}"), {}, "invalid_argument"),
            (frame(0, b"{"), {}, "invalid_argument"),
            (frame(0, bytes(2_000)), {}, "resource_exhausted"),
            (frame(1, b"x"), {"connect-content-encoding": "br"}, "unimplemented"),
            (frame(0, b"{}"), {"connect-protocol-version": "2"}, "invalid_argument"),
        ],
    )
    async def test_bodies_that_cannot_be(self, over_http, content, headers, code):
        """A broken stream ends with an error message, as the protocol has it."""
        served = await over_http(max_receive=1_000)
        response = await served.client.post(
            path("ServerStream"), content=content, headers={"content-type": "application/connect+json", **headers}
        )
        [(flags, end)] = parts(response.content)
        assert (response.status_code, flags, json.loads(end)["error"]["code"]) == (200, 2, code)

    async def test_a_method_that_is_not_there(self, over_http):
        """An unknown method is unimplemented, in the form it was asked for."""
        served = await over_http()
        _, _, end = await stream(served.client, "/made.Up/Method", {})
        assert end["error"]["code"] == "unimplemented"

    async def test_the_deadline_between_replies(self, over_http):
        """A deadline that passes after the first reply is told in the last message."""
        served = await over_http(Deadlines(first_byte=20, idle=20, total=20))
        headers = {"connect-timeout-ms": "300"}
        ask = {"count": 1, "how": "wait"}
        _, replies, end = await stream(served.client, path("ServerStream"), ask, headers=headers)
        assert (len(replies), end["error"]["code"]) == (1, "deadline_exceeded")


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("Unary", "application/connect+json"),
        ("ServerStream", "application/json"),
        ("Unary", "text/plain"),
        ("Unary", "application/x-protobuf"),
    ],
)
async def test_media_types_that_do_not_fit(over_http, method, kind):
    """A media type that the method does not take is 415, and says which are."""
    served = await over_http()
    response = await served.client.post(path(method), content=b"{}", headers={"content-type": kind})
    assert response.status_code == 415
    assert "application/grpc-web" in response.headers["accept-post"]


async def test_what_says_nothing_is_the_applications_where_paths_are_shared(over_http):
    """With `same_paths` a POST to a method's path is an RPC only if its media type or a header says so."""
    served = await over_http(same_paths=True)
    url = path("Unary")
    version = {"connect-protocol-version": "1"}
    for headers in ({"content-type": "application/json"}, {"content-type": "application/msgpack"}, {}):
        answer = await served.client.post(url, content=b"{}", headers=headers)
        assert answer.text == f"plain {url}"
    for headers in (PROTO, {"content-type": "application/json", **version}):
        answer = await served.client.post(url, content=b"" if headers is PROTO else b"{}", headers=headers)
        assert not answer.text.startswith("plain")
        assert answer.status_code == 200


async def test_json_needs_descriptors(over_http):
    """A method whose messages are not known by name takes protobuf, and no JSON."""

    async def echo(request, _context):
        return request

    handler = grpc.unary_unary_rpc_method_handler(echo)
    registry = Registry()
    registry.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("raw.Bytes", {"Echo": handler}),))
    transport = httpx.ASGITransport(RpcOverHttp(registry, None))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/raw.Bytes/Echo", json={})).status_code == 415
        assert (await client.post("/raw.Bytes/Echo", content=b"abc", headers=PROTO)).content == b"abc"
