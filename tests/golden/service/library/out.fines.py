"""Fines 0.1.0: Fines of its readers.

Generated from the contract of the service: change that, and generate it again.
"""

from __future__ import annotations

from headgate.service import Service, Struct, rpc


class Item(Struct):
    """A fine."""

    reader: str
    amount: Money


class Money(Struct):
    """An amount."""

    cents: int
    currency: str = "EUR"


class Fines(Service, name="library-fines", version="0.1.0", public=True):
    """Fines of its readers."""

    @rpc(post="/fines")
    async def fine(self, item: Item) -> Item:
        """Fine a reader."""
        raise NotImplementedError

    @rpc(get="/count")
    async def count(self) -> int:
        """How many fines there are."""
        raise NotImplementedError
