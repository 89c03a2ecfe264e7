"""The shop: books, search, orders, and a stream of what happens to the stock. All in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DOCUMENT = Path(__file__).with_name("openapi.json")
LISTENERS_MAX = 100
ORDERS_MAX = 10_000


@dataclass
class Book:
    """A book on the shelf."""

    id: str
    title: str
    author: str
    year: int
    price_cents: int
    stock: int


@dataclass
class Shop:
    """What is on the shelf, what was ordered, and who listens to changes of the stock."""

    books: dict[str, Book]
    orders: list[dict[str, Any]] = field(default_factory=list)
    listeners: set[asyncio.Queue[Book]] = field(default_factory=set)

    def order(self, book: Book, quantity: int) -> dict[str, Any]:
        """Take books off the shelf and tell those who listen."""
        book.stock -= quantity
        order = {"id": str(len(self.orders) + 1), "book": book.id, "quantity": quantity}
        order["total_cents"] = book.price_cents * quantity
        self.orders.append(order)
        for listener in self.listeners:
            if not listener.full():  # who reads too slowly misses a change, not the shop
                listener.put_nowait(book)
        return order


def shelf() -> dict[str, Book]:
    """Return the books of a shop that has just opened."""
    books = [
        Book("dune", "Dune", "Frank Herbert", 1965, 1299, 400),
        Book("earthsea", "A Wizard of Earthsea", "Ursula K. Le Guin", 1968, 1099, 250),
        Book("foundation", "Foundation", "Isaac Asimov", 1951, 1199, 300),
        Book("neuromancer", "Neuromancer", "William Gibson", 1984, 999, 150),
        Book("solaris", "Solaris", "Stanisław Lem", 1961, 1149, 200),
    ]
    return {book.id: book for book in books}


def _problem(status: int, title: str, detail: str) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


async def list_books(request: Request) -> Response:
    """Books, perhaps of one author only."""
    author = request.query_params.get("author", "").lower()
    books = request.app.state.shop.books.values()
    return JSONResponse({"books": [asdict(book) for book in books if author in book.author.lower()]})


async def get_book(request: Request) -> Response:
    """One book."""
    book = request.app.state.shop.books.get(request.path_params["book_id"])
    return JSONResponse(asdict(book)) if book else _problem(404, "Not Found", "there is no such book")


async def search(request: Request) -> Response:
    """Books whose title or author holds a word."""
    word = request.query_params.get("q", "").strip().lower()
    if not word:
        return _problem(400, "Bad Request", "the query parameter q is needed")
    books = request.app.state.shop.books.values()
    found = [asdict(book) for book in books if word in f"{book.title} {book.author}".lower()]
    return JSONResponse({"books": found})


async def create_order(request: Request) -> Response:
    """Order a book: `{"book": "dune", "quantity": 2}`."""
    shop: Shop = request.app.state.shop
    try:
        wanted = await request.json()
        book, quantity = shop.books[wanted["book"]], wanted.get("quantity", 1)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _problem(422, "Unprocessable Content", "the body must name a book of this shop")
    if type(quantity) is not int or not 1 <= quantity <= 10:
        return _problem(422, "Unprocessable Content", "quantity must be 1 to 10")
    if quantity > book.stock or len(shop.orders) >= ORDERS_MAX:
        return _problem(409, "Conflict", "sold out")
    order = shop.order(book, quantity)
    return JSONResponse(order, 201, headers={"location": f"/orders/{order['id']}"})


async def get_order(request: Request) -> Response:
    """One order."""
    orders, number = request.app.state.shop.orders, request.path_params["order_id"]
    if not 1 <= number <= len(orders):
        return _problem(404, "Not Found", "there is no such order")
    return JSONResponse(orders[number - 1])


async def stock_events(request: Request) -> Response:
    """Server-sent events: the stock of every book now, then each change; `limit` ends the stream."""
    shop: Shop = request.app.state.shop
    limit = request.query_params.get("limit", "0")
    if not limit.isdecimal() or len(limit) > 6:
        return _problem(400, "Bad Request", "limit must be a number")
    if len(shop.listeners) >= LISTENERS_MAX:
        return _problem(503, "Service Unavailable", "too many listen already")
    return StreamingResponse(_events(shop, int(limit)), media_type="text/event-stream")


async def _events(shop: Shop, limit: int) -> AsyncIterator[str]:
    changes: asyncio.Queue[Book] = asyncio.Queue(maxsize=1000)
    shop.listeners.add(changes)
    try:
        for book in shop.books.values():
            changes.put_nowait(book)
        sent = 0
        while not limit or sent < limit:
            try:
                async with asyncio.timeout(15.0):
                    book = await changes.get()
            except TimeoutError:
                yield ": still here\n\n"
                continue
            sent += 1
            yield f"event: stock\nid: {sent}\ndata: {json.dumps({'book': book.id, 'stock': book.stock})}\n\n"
    finally:
        shop.listeners.discard(changes)


async def health(_: Request) -> Response:
    """Whether the shop is open."""
    return JSONResponse({"status": "open"})


async def document(_: Request) -> Response:
    """The OpenAPI document of the shop."""
    return Response(DOCUMENT.read_bytes(), media_type="application/json")


def create_app() -> Starlette:
    """Open a shop."""
    app = Starlette(
        routes=[
            Route("/books", list_books),
            Route("/books/{book_id}", get_book),
            Route("/search", search),
            Route("/orders", create_order, methods=["POST"]),
            Route("/orders/{order_id:int}", get_order),
            Route("/stock/events", stock_events),
            Route("/health", health),
            Route("/openapi.json", document),
        ]
    )
    app.state.shop = Shop(shelf())
    return app


app = create_app()
