"""Tools over streamable HTTP: both eras of the protocol, calls, faults, and who may not."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from headgate.kit.controls.principal import Principal
from headgate.kit.current import current_call
from headgate.service.docs import McpWire
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from tests.service.docs.cases import module_of
from tests.service.docs.shop import Shop

MODERN = "2026-07-28"


class Known:
    """An application behind something that knows who calls, when a header says so."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Name the caller of the call that the wire has made."""
        roles = dict(scope["headers"]).get(b"x-roles")
        call = current_call()
        if roles and call is not None:
            call.principal = Principal("u-1", roles=frozenset((roles.decode(),)))
        await self.app(scope, receive, send)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to a shop whose tools are listed five at a time, and of whose streams three messages are collected."""
    hosted = host([Shop()])
    tools = McpWire(hosted, name="shop", page_size=5, most_items=3, collecting=0.05, origins=["https://agent.test"])
    wire = HttpWire(hosted, extra={"/mcp": Known(tools)})
    transport = httpx.ASGITransport(app=wire, client=("10.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as found:
        yield found


async def legacy(client: httpx.AsyncClient, method: str, params: Any = None, **headers: str) -> httpx.Response:
    """Ask as clients of 2025-11-25 do, once they have said `initialize`."""
    message = {"jsonrpc": "2.0", "id": 7, "method": method, **({"params": params} if params is not None else {})}
    return await client.post("/mcp", json=message, headers={"mcp-protocol-version": "2025-11-25", **headers})


async def modern(client: httpx.AsyncClient, method: str, params: Any = None, **headers: str) -> httpx.Response:
    """Ask as clients of 2026-07-28 do."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**(params or {}), "_meta": meta}}
    sent = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if method == "tools/call":
        sent["mcp-name"] = (params or {}).get("name", "")
    return await client.post("/mcp", json=message, headers={**sent, **headers})


async def called(client: httpx.AsyncClient, name: str, arguments: Any = None, **headers: str) -> dict[str, Any]:
    """The result of a tool."""
    answer = await modern(client, "tools/call", {"name": name, "arguments": arguments or {}}, **headers)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def fault_in(result: dict[str, Any]) -> dict[str, Any]:
    """The fault's document that a result tells of."""
    assert result["isError"] is True
    assert "structuredContent" not in result
    found: dict[str, Any] = json.loads(result["content"][0]["text"])
    return found


async def test_older_clients_are_welcomed(client: httpx.AsyncClient) -> None:
    """`initialize` is answered in the version asked for, or the newest of that era; what follows needs no session."""
    for wanted, given in (("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25")):
        params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        result = (await legacy(client, "initialize", params)).json()["result"]
        assert result["protocolVersion"] == given
        assert result["capabilities"] == {"tools": {}}
        assert result["serverInfo"] == {"name": "shop", "version": "1.0.0"}

    told = await client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (told.status_code, told.content) == (202, b"")
    assert (await legacy(client, "ping")).json() == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_newer_clients_ask_what_is_spoken(client: httpx.AsyncClient) -> None:
    """`server/discover` names versions and server, and how long that holds."""
    result = (await modern(client, "server/discover")).json()["result"]

    assert result["supportedVersions"][0] == MODERN
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "shop"
    assert (result["ttlMs"], result["cacheScope"]) == (300_000, "public")


async def test_tools_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    """A cursor leads to the next page until there is none; one that was never given is refused."""
    names: list[str] = []
    params: dict[str, str] = {}
    while True:
        result = (await legacy(client, "tools/list", params)).json()["result"]
        names += [tool["name"] for tool in result["tools"]]
        if "nextCursor" not in result:
            break
        params = {"cursor": result["nextCursor"]}

    assert len(names) == len(set(names)) == len(Shop.contract().methods)
    for cursor in ("?", base64.b64encode(b"999").decode(), base64.b64encode(b"-1").decode()):
        refused = (await legacy(client, "tools/list", {"cursor": cursor})).json()
        assert refused["error"]["code"] == -32602


async def test_a_tool_calls_its_method(client: httpx.AsyncClient) -> None:
    """An answer comes as structure and as text; what is no object, or nothing, in its own way."""
    placed = await called(client, "shop_place", {"sku": "tea", "quantity": 2})

    assert placed["structuredContent"] == {"sku": "tea", "quantity": 2}
    assert json.loads(placed["content"][0]["text"]) == placed["structuredContent"]
    assert (await called(client, "shop_total", {"messages": [1, 2, 3]}))["structuredContent"] == {"result": 6}
    assert "structuredContent" not in await called(client, "shop_nothing")


async def test_streams_are_collected_up_to_a_limit(client: httpx.AsyncClient) -> None:
    """A stream ends with its end, with enough messages, or when nothing comes for too long."""
    for name, arguments, numbers, truncated in (
        ("shop_count", {"upto": 3}, [0, 1, 2], False),
        ("shop_count", {"upto": 9}, [0, 1, 2], True),
        ("shop_endless", {}, [0], True),
    ):
        found = (await called(client, name, arguments))["structuredContent"]
        assert [each["number"] for each in found["items"]] == numbers
        assert found["truncated"] is truncated


async def test_faults_are_results(client: httpx.AsyncClient) -> None:
    """A declared fault is told as its document, with details; a defect without its text."""
    fault = fault_in(await called(client, "shop_place", {"sku": "none"}))
    defect = fault_in(await called(client, "shop_place", {"sku": "broken"}))

    assert (fault["code"], fault["details"]) == ("out_of_stock", {"left": 0})
    assert defect["code"] == "internal"
    assert "secret" not in str(defect)


async def test_all_that_is_wrong_with_arguments_is_told(client: httpx.AsyncClient) -> None:
    """Arguments that do not fit are a fault a model can mend: every mistake with its pointer."""
    fault = fault_in(await called(client, "shop_place", {"quantity": 99}))
    stream = fault_in(await called(client, "shop_total", {"messages": [1, "two"]}))

    assert {each["pointer"] for each in fault["errors"]} == {"/sku", "/quantity"}
    assert [each["pointer"] for each in stream["errors"]] == ["/messages/1"]


async def test_guards_hold_for_tools(client: httpx.AsyncClient) -> None:
    """Who may not call a method may not call its tool."""
    assert fault_in(await called(client, "shop_guarded"))["code"] == "no_credentials"
    assert fault_in(await called(client, "shop_guarded", **{"x-roles": "guest"}))["code"] == "missing_role"
    allowed = await called(client, "shop_guarded", **{"x-roles": "clerk"})
    assert allowed["structuredContent"] == {"result": "for clerks"}


async def test_mistakes_of_the_protocol_are_errors(client: httpx.AsyncClient) -> None:
    """What is no request, or asks for what there is not, is an error of JSON-RPC with the status it has."""
    for body, status, code in (
        (b"{", 400, -32700),
        (b"[]", 400, -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', 400, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', 400, -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "nothing"}', 200, -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}', 200, -32602),
    ):
        answer = await client.post("/mcp", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (await modern(client, "nothing")).status_code == 404


async def test_headers_say_what_the_message_says(client: httpx.AsyncClient) -> None:
    """Since 2026-07-28 version, method and tool stand in headers too; other ones, or none, are refused."""
    encoded = f"=?base64?{base64.b64encode(b'shop_nothing').decode()}?="
    fine = await modern(client, "tools/call", {"name": "shop_nothing"}, **{"mcp-name": encoded})
    assert fine.status_code == 200
    for headers, code in (
        ({"mcp-method": "tools/list"}, -32020),
        ({"mcp-name": "shop_place"}, -32020),
        ({"mcp-protocol-version": "2025-11-25"}, -32020),
    ):
        answer = await modern(client, "tools/call", {"name": "shop_nothing"}, **headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    unknown = await legacy(client, "ping", **{"mcp-protocol-version": "1999-01-01"})
    assert unknown.json()["error"]["data"]["supported"][0] == MODERN


async def test_pages_of_strange_origins_are_refused(client: httpx.AsyncClient) -> None:
    """Only pages of the origins that are named may call, and those of this machine from this machine."""
    assert (await legacy(client, "ping", origin="https://evil.test")).status_code == 403
    assert (await legacy(client, "ping", origin="http://localhost:3000")).status_code == 403
    assert (await legacy(client, "ping", origin="https://agent.test")).status_code == 200


async def test_only_json_is_posted(client: httpx.AsyncClient) -> None:
    """GET and DELETE, which older versions knew, are 405; another type than JSON is 415."""
    for method in ("GET", "DELETE"):
        answer = await client.request(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await client.post("/mcp", content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


async def test_results_are_what_tools_promise() -> None:
    """What a tool answers with fits its output schema, field by field."""
    orders = McpWire(host([module_of("library").SERVICES[1]()]))
    transport = httpx.ASGITransport(app=orders)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        tools = (await legacy(client, "tools/list")).json()["result"]["tools"]

    assert tools[0]["outputSchema"]["required"] == ["reader", "amount"]
    assert tools[1]["outputSchema"]["properties"] == {"result": {"type": "integer"}}


async def test_a_caller_who_leaves_ends_the_call() -> None:
    """When the connection is closed the tool is cancelled, and nothing is sent any more."""
    wire = McpWire(host([Shop()]))
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "shop_wait"}}
    told = [{"type": "http.request", "body": json.dumps(message).encode()}, {"type": "http.disconnect"}]
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Any:
        return told.pop(0) if told else await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event)

    await asyncio.wait_for(wire(scope, receive, send), 5)

    assert sent == []
