"""Descriptors wherever they are kept: pools that services bring, and the default one of generated code.

    descriptors = Descriptors()
    descriptors.add(pool)
    descriptors.FindFileContainingSymbol("shop.v1.Orders")

It looks like a pool to those who only ask: Connect's JSON and server reflection. What several pools know, the first
that was added tells.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pool


class Descriptors:
    """See the module. Raises KeyError for what no pool knows."""

    def __init__(self) -> None:
        self._pools: list[Any] = []

    def add(self, pool: Any) -> None:
        """Ask this pool as well, before the default one."""
        if pool not in self._pools:
            self._pools.append(pool)

    def FindMethodByName(self, full_name: str) -> Any:  # noqa: N802 - as pools call it, here and below
        """The method of this name."""
        return self._first(lambda pool: pool.FindMethodByName(full_name))

    def FindFileByName(self, file_name: str) -> Any:  # noqa: N802
        """The file at this path."""
        return self._first(lambda pool: pool.FindFileByName(file_name))

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802
        """The file with this service, message, enum or method."""
        return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))

    def FindMessageTypeByName(self, full_name: str) -> Any:  # noqa: N802
        """The message of this name."""
        return self._first(lambda pool: pool.FindMessageTypeByName(full_name))

    def FindExtensionByNumber(self, message_descriptor: Any, number: int) -> Any:  # noqa: N802
        """The extension of a message by its number."""
        return message_descriptor.file.pool.FindExtensionByNumber(message_descriptor, number)

    def FindAllExtensions(self, message_descriptor: Any) -> Any:  # noqa: N802
        """The extensions of a message."""
        return message_descriptor.file.pool.FindAllExtensions(message_descriptor)

    def _first(self, find: Callable[[Any], Any]) -> Any:
        for pool in self._pools:
            try:
                return find(pool)
            except KeyError:
                continue
        return find(descriptor_pool.Default())
