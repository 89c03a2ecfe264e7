"""One thing per name, made when first asked for, and no more than so many of them.

budgets = Registry(lambda host: RetryBudget(), limit=1024)
budgets["api.example.com"].deposit()
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class Registry(Generic[V]):
    """Keeps the `limit` things asked for last; the one that nobody asked for longest is forgotten."""

    def __init__(self, make: Callable[[str], V], *, limit: int) -> None:
        self._make = make
        self._limit = limit
        self._things: OrderedDict[str, V] = OrderedDict()

    def __getitem__(self, name: str) -> V:
        thing = self._things.get(name)
        if thing is not None:
            self._things.move_to_end(name)
            return thing
        thing = self._things[name] = self._make(name)
        if len(self._things) > self._limit:
            self._things.popitem(last=False)
        return thing

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._things))

    def __len__(self) -> int:
        return len(self._things)

    def values(self) -> list[V]:
        """Every thing there is, without touching the order."""
        return list(self._things.values())

    def items(self) -> list[tuple[str, V]]:
        """Every name and its thing, without touching the order."""
        return list(self._things.items())
