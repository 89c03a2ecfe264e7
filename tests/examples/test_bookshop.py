"""The bookshop, the upstream of the tour."""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def shop(monkeypatch):
    """Return the module of the shop, found as uvicorn finds it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sys.modules.pop("bookshop.app", None)
    from bookshop import app

    return app


@pytest.fixture
async def client(shop):
    """Return a client of a shop that has just opened."""
    app = shop.create_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        client.shop = app.state.shop
        yield client


def test_document_is_of_this_shop(shop):
    """Every route of the shop stands in its OpenAPI document with its method, and no other."""
    document = json.loads(shop.DOCUMENT.read_text())
    written = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    routes = [route for route in shop.create_app().routes if isinstance(route, Route)]
    served = {
        (route.path.replace(":int", ""), method) for route in routes for method in (route.methods or ()) - {"HEAD"}
    }
    assert written == served - {("/openapi.json", "GET")}
    assert document["openapi"].startswith("3.1")


async def test_books(client):
    """Books can be listed, filtered by author, fetched and searched."""
    assert len((await client.get("/books")).json()["books"]) == 5
    assert [book["id"] for book in (await client.get("/books?author=gibson")).json()["books"]] == ["neuromancer"]
    assert (await client.get("/books/solaris")).json()["title"] == "Solaris"
    assert (await client.get("/books/none")).status_code == 404
    assert [book["id"] for book in (await client.get("/search?q=earth")).json()["books"]] == ["earthsea"]
    assert (await client.get("/search")).status_code == 400
    assert (await client.get("/health")).json() == {"status": "open"}
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Bookshop"


async def test_orders(client):
    """An order takes from the stock, is found again, and cannot take more than there is."""
    answer = await client.post("/orders", json={"book": "dune", "quantity": 2})
    assert (answer.status_code, answer.json()["total_cents"]) == (201, 2598)
    assert (await client.get(answer.headers["location"])).json() == answer.json()
    assert (await client.get("/orders/99")).status_code == 404
    assert client.shop.books["dune"].stock == 398
    client.shop.books["dune"].stock = 1
    assert (await client.post("/orders", json={"book": "dune", "quantity": 2})).status_code == 409


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"book": "x"}', b'{"book": "dune", "quantity": "2"}', b'{"book": []}']
)
async def test_bad_orders(client, body):
    """An order that makes no sense is refused as a problem."""
    answer = await client.post("/orders", content=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_stock_events(client):
    """The stream starts with the stock of every book and goes on with each change until its limit."""
    asked = asyncio.create_task(client.get("/stock/events?limit=6"))
    while not client.shop.listeners:
        await asyncio.sleep(0)
    await client.post("/orders", json={"book": "dune"})
    lines = [line for line in (await asked).text.splitlines() if line.startswith("data: ")]
    assert [json.loads(line[6:]) for line in lines][-1] == {"book": "dune", "stock": 399}
    assert len(lines) == 6
    assert not client.shop.listeners
    assert (await client.get("/stock/events?limit=x")).status_code == 400
