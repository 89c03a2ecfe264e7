"""Bodies of requests: counted as they arrive, whatever was announced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.asgi.shell import Shell
from tests.kit.asgi.test_shell import echo, hello
from tests.kit.asgi.wire import Witness, http, part, pipeline, serve, start


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.integers(1, 120))
async def test_d03_a_chunked_body_is_counted(parts, limit):
    """A body passes exactly when the bytes received are no more than the limit, however it is cut up."""
    witness = Witness()
    caller = await serve(Shell(echo, pipeline(witness), max_body_size=limit), http(method="POST", body=parts))
    size = sum(len(each) for each in parts)
    assert caller.status == (200 if size <= limit else 413)
    if size <= limit:
        assert (caller.body, witness.call.bytes_in) == (b"".join(parts), size)
    else:
        assert (caller.problem["code"], witness.call.refused_by) == ("body_too_large", "body_limit")


async def swallowing(_scope, receive, send):
    """Answers whatever happens to the body, as frameworks do."""
    try:
        while (await receive()).get("more_body"):
            pass
    except Exception:  # noqa: BLE001
        await start(send, 400)
        await part(send, b"swallowed", more=False)
        return
    await hello({}, receive, send)


async def test_the_refusal_wins_over_what_is_made_of_it():
    """An application that answers the failed read of a body does not get its answer out."""
    caller = await serve(
        Shell(swallowing, pipeline(Witness()), max_body_size=10), http(method="POST", body=[b"x" * 9] * 3)
    )
    assert (caller.status, caller.problem["code"]) == (413, "body_too_large")


async def test_an_announced_body_is_refused_before_it_is_read():
    """The answer goes out at once; then the body is read on, so that a caller who is still sending sees it."""
    calls = []

    async def app(_scope, _receive, _send):
        calls.append(1)

    caller = http(method="POST", headers=[(b"content-length", b"300")], body=None)
    received_at_answer = []
    caller.on_send = lambda _message: received_at_answer.append(caller.received)
    for _ in range(3):
        caller.say(type="http.request", body=b"x" * 100, more_body=True)
    caller.say(type="http.request", body=b"", more_body=False)
    await serve(Shell(app, pipeline(Witness()), max_body_size=100), caller)
    assert received_at_answer == [0, 0, 4]
    assert (caller.status, caller.headers["connection"], caller.ended, calls) == (413, "close", True, [])


async def test_who_waits_for_a_continue_is_not_invited():
    """A caller who asks before sending is refused without one byte being read."""
    headers = [(b"content-length", b"300"), (b"expect", b"100-continue")]
    caller = await serve(Shell(echo, pipeline(Witness()), max_body_size=100), http(headers=headers, body=None))
    assert (caller.status, caller.received) == (413, 0)


async def test_http2_has_no_connection_header():
    """The refusal of a body asks only HTTP/1 to close the connection: HTTP/2 forbids the header."""
    headers = [(b"content-length", b"300")]
    request = http(method="POST", headers=headers, body=b"", http_version="2")
    caller = await serve(Shell(echo, pipeline(Witness()), max_body_size=100), request)
    assert "connection" not in caller.headers


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"-1")],
        [(b"content-length", b"")],
        [(b"content-length", b"0x10")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
    ],
)
async def test_a_length_that_is_none(headers):
    """A Content-Length that is no number, is said twice, or contradicts the transfer encoding is refused."""
    caller = await serve(Shell(echo, pipeline(Witness())), http(method="POST", headers=headers))
    assert (caller.status, caller.problem["code"]) == (400, "malformed_request")


async def test_an_absurd_length():
    """A length of thousands of digits is too large, and costs nothing."""
    headers = [(b"content-length", b"9" * 5_000)]
    caller = await serve(Shell(echo, pipeline(Witness()), max_body_size=10), http(method="POST", headers=headers))
    assert caller.status == 413


async def test_no_limit():
    """A limit of 0 is none."""
    caller = await serve(Shell(echo, pipeline(Witness())), http(method="POST", body=[b"x" * 100_000] * 2))
    assert (caller.status, len(caller.body)) == (200, 200_000)


async def test_the_announced_size_is_known():
    """The size that was announced is on the call, None without one."""
    witness = Witness()
    shell = Shell(echo, pipeline(witness))
    await serve(shell, http(method="POST", headers=[(b"content-length", b"3")], body=b"abc"))
    await serve(shell, http(method="POST", body=[b"abc", b"d"]))
    assert [call.size for call in witness.settled] == [3, None]


async def test_a_body_that_grows_too_large_while_the_answer_runs():
    """Once the answer began, a body that turns out too large cuts it off."""

    async def app(_scope, receive, send):
        await start(send, 200, (b"content-type", b"text/plain"))
        while True:
            message = await receive()
            await part(send, message["body"], more=message["more_body"])

    witness = Witness()
    caller = http(method="POST", body=[b"x" * 8] * 3)
    with pytest.raises(Exception, match="cut short"):
        await serve(Shell(app, pipeline(witness), max_body_size=10), caller)
    assert (len(caller.starts), caller.ended, witness.call.complete) == (1, False, False)
