"""What documents are served at."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from headgate.kit.hardening import HardeningSettings
from headgate.service.docs import McpWire, docs_routes, openapi
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from tests.service.docs.shop import Shop


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to a shop with its documents."""
    docs = docs_routes([Shop.contract()], title="The shop")
    wire = HttpWire(host([Shop()]), extra=dict.fromkeys(docs.prefixes, docs))
    transport = httpx.ASGITransport(app=wire)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as found:
        yield found


async def test_documents_are_served(client: httpx.AsyncClient) -> None:
    """Each document is where it is told to be, and the contract comes with its hash."""
    contract = (await client.get("/contract.json")).json()

    assert (await client.get("/openapi.json")).json() == json.loads(
        json.dumps(openapi([Shop.contract()], title="The shop"))
    )
    assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
    assert contract["contracts"][0]["hash"] == Shop.contract().hash
    assert contract["contracts"][0]["document"] == Shop.contract().document


async def test_the_page_takes_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """Page, script and style come from here, nothing is inline, and a policy says so."""
    page = await client.get("/docs")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for word in ("<style", " style=", " onclick", "http://", "https://"):
        assert word not in page.text
    for name in ("page.js", "page.css"):
        assert f"docs/{name}" in page.text
        assert (await client.get(f"/docs/{name}")).status_code == 200
    assert "innerHTML" not in (await client.get("/docs/page.js")).text


async def test_a_slash_too_many_leads_to_the_page(client: httpx.AsyncClient) -> None:
    """`/docs/` is answered with where the page is."""
    answer = await client.get("/docs/")

    assert (answer.status_code, answer.headers["location"]) == (308, "../docs")


async def test_what_did_not_change_is_not_sent_again(client: httpx.AsyncClient) -> None:
    """A caller who has a document already is told so."""
    first = await client.get("/openapi.json")
    again = await client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


async def test_documents_can_only_be_read(client: httpx.AsyncClient) -> None:
    """Anything but GET and HEAD is 405, what is not there 404; HEAD has no body."""
    assert (await client.post("/openapi.json")).headers["allow"] == "GET, HEAD"
    assert (await client.get("/docs/secret.txt")).status_code == 404
    head = await client.head("/docs")
    assert (head.status_code, head.content) == (200, b"")


async def test_documents_are_found_below_a_prefix() -> None:
    """An application that is itself mounted serves its documents there."""
    docs = docs_routes([Shop.contract()])
    wire = HttpWire(host([Shop()]), extra=dict.fromkeys(docs.prefixes, docs))
    transport = httpx.ASGITransport(app=wire, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        assert (await client.get("/api/openapi.json")).status_code == 200
        assert (await client.get("/api/docs/page.css")).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/mcp"])
async def test_there_is_nothing_for_sockets(path: str) -> None:
    """A WebSocket at the page or the tools is refused."""
    hosted = host([Shop()])
    wire = HttpWire(hosted, extra={"/docs": docs_routes([Shop.contract()]), "/mcp": McpWire(hosted)})
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event["type"])

    await wire({"type": "websocket", "path": path, "headers": [], "client": None}, receive, send)

    assert sent == ["websocket.close"]


def test_the_gate_of_the_kit_knows_the_page() -> None:
    """The paths that the kit hides outside of debugging are those of the page and of OpenAPI."""
    assert {"/docs", "/openapi.json"} <= set(HardeningSettings().docs_paths)
