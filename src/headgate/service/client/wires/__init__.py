"""How a call gets to an instance: one small class for each wire, all the same from above.

    wire = HttpWire("http://127.0.0.1:8080", MSGPACK, ClientPolicy())
    order = await wire.unary(Outgoing(method, path, headers, until), request)
    async for event in wire.stream(Outgoing(...), request): ...

A wire raises faults: those the service answered with, `Unreachable` when nothing was sent, `ConnectionLost` when it
cannot know, `BadAnswer` for what breaks the contract. It retries nothing and keeps no time beyond telling the service
how much there is; cancelling a call cancels it upstream.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.service.method import Method


@dataclass(slots=True)
class Outgoing:
    """One attempt at a call. `until` is when its time is up, on the event loop's clock."""

    method: Method
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    until: float | None = None

    def left(self) -> float | None:
        """Seconds there are, at least a millisecond; None for no limit."""
        if self.until is None:
            return None
        return max(0.001, self.until - asyncio.get_running_loop().time())


class ClientWire(Protocol):
    """The connections to one instance."""

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""

    def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come: to one request, or to an iterator of them where the method streams in."""

    async def aclose(self) -> None:
        """Close the connections."""
