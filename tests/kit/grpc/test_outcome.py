"""What the log says of calls that went wrong, over each wire."""

import asyncio

import grpc
import pytest

from headgate.kit.controls.access_log import AccessLog
from headgate.kit.controls.faults import Unavailable
from headgate.kit.grpc.registry import methods_handler
from headgate.kit.observe.logs import AccessLines
from tests.kit.grpc.echo import SECRET, Ask, Reply, begin, finish, path
from tests.kit.grpc.web import stream, web

MISSING = "/made.Up/Method"


async def over_native(served, where):
    """The code of a native call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.channel.unary_unary(where)(b"")
    return caught.value.code().value[0]


async def over_web(served, where):
    """The code of a call over gRPC-Web."""
    return int((await web(served.client, where, Ask()))[2]["grpc-status"])


async def over_connect(served, where):
    """The code of a call over Connect, as gRPC numbers it."""
    headers = {"connect-protocol-version": "1"}
    response = await served.client.post(where, json={}, headers=headers)
    assert response.status_code == 501
    return {"unimplemented": 12}[response.json()["code"]]


async def over_connect_streams(served, where):
    """The same for streams."""
    return {"unimplemented": 12}[(await stream(served.client, where, {}))[2]["error"]["code"]]


WAYS = [
    pytest.param("serve", over_native, id="native"),
    pytest.param("over_http", over_web, id="grpc-web"),
    pytest.param("over_http", over_connect, id="connect"),
    pytest.param("over_http", over_connect_streams, id="connect-streams"),
]


@pytest.mark.parametrize(("server", "ask"), WAYS)
async def test_unknown_methods_are_no_errors_of_ours(serve, over_http, logged, server, ask):
    """A call of a method that is not there is one line at level info, without a traceback, over every wire."""
    served = await {"serve": serve, "over_http": over_http}[server](AccessLog(AccessLines()))
    assert await ask(served, MISSING) == 12
    await served.recorder.settled()
    lines = [line for line in logged() if line.get("path") == MISSING or line["level"] not in {"debug", "info"}]
    assert [(line["logger"], line["level"], line["code"]) for line in lines] == [
        ("headgate.access", "info", "UNIMPLEMENTED")
    ]
    assert (lines[0]["fault"], lines[0]["route"]) == ("no_such_method", "")
    assert not [line for line in logged() if "exception" in line]


def unwritten(_request, context):
    """What generated code has for a method that nobody wrote."""
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")


async def test_methods_that_nobody_wrote(serve, over_http, logged):
    """A method of which there is only the generated code is as one that is not there."""
    handler = grpc.unary_unary_rpc_method_handler(unwritten, Ask.FromString, Reply.SerializeToString)
    unwritten_service = methods_handler("made.Up", {"Method": handler})
    served, web_served = await serve(), await over_http()
    served.server.add_generic_rpc_handlers((unwritten_service,))
    web_served.registry.add_generic_rpc_handlers((unwritten_service,))
    assert await over_native(served, MISSING) == 12
    assert await over_web(web_served, MISSING) == 12
    assert (await served.recorder.settled())[0].route == MISSING
    assert not [line for line in logged() if line["level"] not in {"debug", "info"}]


async def test_what_is_down_is_a_warning(serve, logged):
    """A fault that says that something is down is a warning, with what is internal, and no traceback."""
    served = await serve()

    async def down(_ask, _context):
        raise Unavailable("the stock is not to be reached", code="stock_down", internal=SECRET)

    served.echo.nothing = down
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finish(begin(served.channel, "Unary", Ask()))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    [line] = [line for line in logged() if line["event"] == "call failed"]
    assert (line["level"], line["code"], line["method"]) == ("warning", "stock_down", path("Unary"))
    assert "exception" not in line


async def test_nobody_waits_for_the_books(serve):
    """A unary answer is sent before its call is settled, and the call is settled nonetheless."""
    served = await serve()
    order = []

    async def noting(_ask, context):
        context.add_done_callback(lambda _context: order.append(asyncio.current_task()))

    served.echo.nothing = noting
    await finish(begin(served.channel, "Unary", Ask()))
    await served.recorder.settled()
    assert order == [None], "settled within the task that answers"
