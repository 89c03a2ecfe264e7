"""Two services that call different things `Item`, and one thing both `Money`."""

from headgate.service import Service, Struct, rpc


class Money(Struct):
    """An amount."""

    cents: int
    currency: str = "EUR"


def _books() -> type[Service]:
    class Item(Struct):
        """A book."""

        isbn: str
        price: Money

    class Shelf(Struct):
        """Books together."""

        items: list[Item]
        next: "Shelf | None" = None

    globals().update(Item=Item, Shelf=Shelf)

    class Books(Service, name="library.books", public=True):
        """Books of a library."""

        @rpc(get="/shelves/{number}")
        async def shelf(self, number: int) -> Shelf:
            """All that stands on a shelf, and on those after it."""
            raise NotImplementedError

    Books.contract()
    return Books


def _fines() -> type[Service]:
    class Item(Struct):
        """A fine."""

        reader: str
        amount: Money

    globals().update(Item=Item)

    class Fines(Service, name="library-fines", public=True):
        """Fines of its readers."""

        @rpc(post="/fines")
        async def fine(self, item: Item) -> Item:
            """Fine a reader."""
            raise NotImplementedError

        @rpc(get="/count")
        async def count(self) -> int:
            """How many fines there are."""
            raise NotImplementedError

    Fines.contract()
    return Fines


SERVICES = [_books(), _fines()]
