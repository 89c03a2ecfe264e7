"""A service with every kind of binding and stream, for the tests of the wire."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import NotFound, ResourceExhausted, Unavailable
from headgate.service import AUTHENTICATED, Context, Meta, Service, Struct, rpc


class Shelf(Enum):
    """Where a book stands."""

    FRONT = "front"
    BACK = "back"


class Book(Struct):
    """A book."""

    title: str
    pages: Annotated[int, Meta(ge=1)] = 1


class Filter(Struct, rename="camel"):
    """What is looked for."""

    most_pages: int
    on_shelf: Shelf | None = None
    tags: list[str] = []


class Box(Struct):
    """What a query tells as JSON."""

    width: int


@dataclass
class Seen:
    """What the handlers saw."""

    calls: list[Call] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    taken: int = 0
    given: int = 0


class Library(Service, name="library", public=True):
    """Books."""

    seen: Seen

    @rpc(get="/books/{key}")
    async def get(self, key: int, lang: str = "en", tags: list[str] = [], day: dt.date | None = None) -> dict:  # noqa: B006
        return {"id": key, "lang": lang, "tags": tags, "day": day}

    @rpc(post="/books/new")
    async def new(self, book: Book, context: Context) -> Book:
        self.seen.calls.append(context.call)
        return book

    @rpc(get="/books")
    async def find(self, wanted: Filter) -> Filter:
        return wanted

    @rpc(put="/books/{key}/pages/{page}", status=202)
    async def write(self, key: str, page: int, book: Book) -> str:
        return f"{key}/{page}/{book.title}"

    @rpc(patch="/books/{key}")
    async def change(self, key: str, title: str = "", pages: int = 0) -> list[str]:
        return [key, title, str(pages)]

    @rpc(delete="/books/{key}", status=204)
    async def remove(self, key: str) -> None:
        if key == "0":
            raise NotFound("no such book", hint="look for another")

    @rpc(get="/files/{name}/{rest:path}")
    async def file(self, name: str, rest: str) -> list[str]:
        return [name, rest]

    @rpc(get="/area")
    async def area(self, box: Box) -> int:
        return box.width

    @rpc(get="/boxed/{name}")
    async def boxed(self, name: str, box: Box) -> int:
        return box.width

    @rpc(get="/kept", cache=60)
    async def kept(self) -> str:
        return "kept"

    @rpc(get="/mine", cache=30, guard=AUTHENTICATED)
    async def mine(self) -> str:
        return "mine"

    @rpc
    async def ping(self) -> None:
        return None

    @rpc
    async def broken(self) -> int:
        raise RuntimeError("the password is hunter2")

    @rpc
    async def busy(self) -> int:
        raise ResourceExhausted("too much", retry_after=2.5)

    @rpc
    async def slow(self) -> int:
        await asyncio.Event().wait()
        return 1

    @rpc(get="/count/{most}")
    async def count(self, most: int, fail: int = -1) -> AsyncIterator[Book]:
        for number in range(1, most + 1):
            if number == fail:
                raise Unavailable("no more paper", retry_after=1.0)
            self.seen.given = number
            yield Book("b", number)

    @rpc(get="/forever")
    async def forever(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise

    @rpc(get="/silent")
    async def silent(self) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    @rpc
    async def total(self, books: AsyncIterator[Book]) -> int:
        pages = 0
        async for book in books:
            pages += book.pages
            self.seen.taken += 1
        return pages

    @rpc
    async def first(self, books: AsyncIterator[Book]) -> Book:
        return await anext(books)

    @rpc
    async def echo(self, books: AsyncIterator[Book]) -> AsyncIterator[Book]:
        async for book in books:
            yield book
