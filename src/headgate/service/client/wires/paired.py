"""Two wires as one: conversations take the second, for over HTTP both sides would have to take turns.

wire = Paired(HttpWire(...), lambda: SocketClient(...))
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any

from headgate.service.client.wires import ClientWire, Outgoing
from headgate.service.method import Kind


class Paired:
    """`usual` for all methods but those that stream both ways; `duplex` opens the other with the first of these."""

    def __init__(self, usual: ClientWire, duplex: Callable[[], ClientWire]) -> None:
        self._usual = usual
        self._open = duplex
        self._duplex: ClientWire | None = None

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        return await self._usual.unary(out, request)

    def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        if out.method.kind is not Kind.BIDI:
            return self._usual.stream(out, request)
        if self._duplex is None:
            self._duplex = self._open()
        return self._duplex.stream(out, request)

    async def aclose(self) -> None:
        """Close the connections of both."""
        try:
            await self._usual.aclose()
        finally:
            if self._duplex is not None:
                await self._duplex.aclose()
