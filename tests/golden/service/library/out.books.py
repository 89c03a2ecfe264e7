"""Books 0.1.0: Books of a library.

Generated from the contract of the service: change that, and generate it again.
"""

from __future__ import annotations

from headgate.service import Service, Struct, rpc


class Item(Struct):
    """A book."""

    isbn: str
    price: Money


class Money(Struct):
    """An amount."""

    cents: int
    currency: str = "EUR"


class Shelf(Struct):
    """Books together."""

    items: list[Item]
    next: Shelf | None = None


class Books(Service, name="library.books", version="0.1.0", public=True):
    """Books of a library."""

    @rpc(get="/shelves/{number}")
    async def shelf(self, number: int) -> Shelf:
        """All that stands on a shelf, and on those after it."""
        raise NotImplementedError
