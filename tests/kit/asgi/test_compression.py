"""gzip: for whom it is, and what it leaves alone."""

import gzip
import zlib

import pytest

from headgate.kit.asgi.shell import Shell
from tests.kit.asgi.wire import Witness, http, part, pipeline, serve, start


@pytest.fixture
def call():
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


async def test_large_answers_are_compressed(call):
    """An answer of the least size is compressed for who accepts it, and says that it depends on that."""
    caller = await call(500, b"br, gzip;q=0.5")
    assert caller.headers["content-encoding"] == "gzip"
    assert gzip.decompress(caller.body) == b"a" * 500
    assert caller.headers["content-length"] == str(len(caller.body))
    assert caller.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepted", [None, b"br", b"gzip;q=0", b"gzip; q=0.0"])
async def test_others_get_it_plain(call, accepted):
    """Who does not accept gzip, or refuses it, gets the answer plain; caches learn that it varies."""
    caller = await call(500, accepted)
    assert "content-encoding" not in caller.headers
    assert (caller.body, caller.headers["vary"]) == (b"a" * 500, "Accept-Encoding")


async def test_small_answers_stay_as_they_are(call):
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
async def test_what_is_never_compressed(call, kind, header):
    """Event streams, what is compressed already and what is encoded already pass as they are."""
    request = [(b"content-type", kind)] if b"grpc" in kind else ()
    headers = [header] if header else []
    caller = await call(5_000, b"gzip", *headers, kind=kind, method="POST", request=request)
    assert caller.body == b"a" * 5_000
    assert "vary" not in caller.headers
    assert caller.headers.get("content-encoding") == ("br" if header else None)


async def test_an_answer_that_varies_already(call):
    """`Vary` is not said twice."""
    caller = await call(500, None, (b"vary", b"Origin, Accept-Encoding"))
    assert caller.headers["vary"] == "Origin, Accept-Encoding"


async def test_heads_do_not_promise_a_length(call):
    """The answer to HEAD names the encoding that GET would have, and no length that GET would not."""
    caller = await call(500, b"gzip", method="HEAD")
    assert "content-length" not in caller.headers
    assert (caller.headers["content-encoding"], caller.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert (await call(500, None, method="HEAD")).headers["content-length"] == "500"


async def test_what_may_not_be_transformed(call):
    """An answer that forbids to be transformed goes out as it is."""
    caller = await call(500, b"gzip", (b"cache-control", b"public, No-Transform"))
    assert caller.body == b"a" * 500


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body(status):
    """An answer that may have no body gets none by compression."""

    async def app(_scope, _receive, send):
        await start(send, status, (b"content-type", b"application/json"))
        await part(send, b"")
        await part(send, b"", more=False)

    shell = Shell(app, pipeline(Witness()), gzip_min_size=1)
    caller = await serve(shell, http(headers=[(b"accept-encoding", b"gzip")]))
    assert (caller.body, "content-encoding" in caller.headers, caller.ended) == (b"", False, True)


async def test_parts_come_out_as_they_go_in():
    """A stream is compressed part by part, each readable at once, whatever its messages leave out."""

    async def app(_scope, _receive, send):
        await start(send, 200, (b"content-type", b"application/x-ndjson"))
        await send({"type": "http.response.body", "more_body": True})
        for line in (b"1\n", b"2\n"):
            await part(send, line)
            assert zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(caller.body).endswith(line)
        await send({"type": "http.response.body"})

    caller, witness = http(headers=[(b"accept-encoding", b"gzip")]), Witness()
    await serve(Shell(app, pipeline(witness), gzip_min_size=500), caller)
    assert gzip.decompress(caller.body) == b"1\n2\n"
    assert (caller.ended, witness.call.complete) == (True, True)


async def test_trailers_of_what_is_compressed():
    """Trailers follow a compressed body as any other."""

    async def app(_scope, _receive, send):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await part(send, b"a" * 500, more=False)
        await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})

    witness = Witness()
    caller = await serve(
        Shell(app, pipeline(witness), gzip_min_size=500), http(headers=[(b"accept-encoding", b"gzip")])
    )
    assert gzip.decompress(caller.body) == b"a" * 500
    assert caller.sent[-1]["headers"] == [(b"a", b"b")]
    assert witness.call.complete
