"""Calls over one WebSocket, as a wire of the typed client.

    wire = SocketClient("ws://127.0.0.1:8080/rpc", MSGPACK, headers={"authorization": "Bearer ..."})
    order = await wire.unary(Outgoing(method, "/orders.Orders/Get"), request)

It connects with the first call, and anew with the first one after the connection broke or the server went away.

    Unreachable        no connection could be made: the call was not sent
    ConnectionLost     it broke before the answer was whole
    BadAnswer          what came back is not what the contract says
    ResourceExhausted  an answer is larger than `most_message` (`answer_too_large`)
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import Fault
from headgate.service.client.errors import BadAnswer, Unreachable
from headgate.service.codecs import JSON, UNDECODABLE, Codec
from headgate.service.codecs.codec import Decode
from headgate.service.method import Method
from headgate.service.transports.session.calling import Calling, Refused, fault_from
from headgate.service.transports.session.frames import MEBIBYTE, ROOM, form_of

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from headgate.service.client.wires import Outgoing

_MOST_MESSAGES: Final = 128


class Responses:
    """Decoders of what methods answer with, made when first needed."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._decoders: dict[Method, Decode] = {}

    def decode(self, method: Method, body: bytes | None) -> Any:
        """One response. Raises BadAnswer."""
        if method.response is None or body is None:
            return None
        decode = self._decoders.get(method)
        if decode is None:
            decode = self._decoders[method] = self._codec.decoder(method.response)
        try:
            return decode(body)
        except UNDECODABLE as error:
            raise BadAnswer(f"the answer of {method.rpc} is not what it promises", internal=str(error)) from error


class SocketClient:
    """See the module. `ssl` is a context for `wss`; sizes are bytes, times seconds."""

    def __init__(
        self,
        url: str,
        codec: Codec = JSON,
        *,
        headers: Mapping[str, str] | None = None,
        ssl: Any = None,
        connect_timeout: float = 2.0,
        most_calls: int = 128,
        most_message: int = 16 * MEBIBYTE,
        ping_interval: float = 20.0,
    ) -> None:
        self.url = url
        self._form = form_of(codec)
        self._codec = codec
        self._headers = dict(headers or {})
        self._ssl = ssl
        self._connect_timeout = connect_timeout
        self._most_calls = most_calls
        self.most_message = most_message
        self._ping_interval = ping_interval
        self._responses = Responses(codec)
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._old: set[_Link] = set()

    async def unary(self, out: "Outgoing", request: Any) -> Any:
        """The answer to one request."""
        link = await self._connected()
        data = self._codec.encode(request)
        try:
            body = await link.calling.unary(out.path, data, headers=out.headers, timeout_ms=milliseconds(out))
        except Refused as refused:
            raise self._fault(out, refused) from None
        return self._responses.decode(out.method, body)

    async def stream(self, out: "Outgoing", request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        link = await self._connected()
        streams = out.method.kind.streams_in
        data = None if streams else self._codec.encode(request)
        requests = encoded(self._codec, request) if streams else None
        messages = link.calling.stream(out.path, data, requests, headers=out.headers, timeout_ms=milliseconds(out))
        try:
            async for body in messages:
                yield self._responses.decode(out.method, body)
        except Refused as refused:
            raise self._fault(out, refused) from None
        finally:
            await messages.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        links = [*self._old, *([self._link] if self._link is not None else [])]
        self._link = None
        for link in links:
            await link.aclose()

    def _fault(self, out: "Outgoing", refused: Refused) -> Fault:
        return fault_from(self._form, refused, out.method.faults)

    async def _connected(self) -> "_Link":
        link = self._link
        if link is not None and link.usable:
            return link
        async with self._connecting:
            if self._link is not None and self._link.usable:
                return self._link
            if self._link is not None and not self._link.closed:
                # The server is leaving: what is under way there may end, what is new goes to a new connection.
                self._old.add(self._link)
                self._link.retire(self._old.discard)
            self._link = await self._connect()
            return self._link

    async def _connect(self) -> "_Link":
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            connection = await connect(
                self.url,
                subprotocols=[self._form.subprotocol],  # type: ignore[list-item]
                additional_headers=self._headers,
                ssl=self._ssl,
                open_timeout=self._connect_timeout,
                ping_interval=self._ping_interval,
                max_size=self.most_message * ROOM,
                max_queue=_MOST_MESSAGES,
                compression=None,
                user_agent_header=None,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Unreachable(f"{self.url} cannot be reached", internal=repr(error)) from error
        if connection.subprotocol != self._form.subprotocol:
            await connection.close()
            raise Unreachable(f"{self.url} does not speak {self._form.subprotocol}")
        return _Link(connection, self)


class _Link:
    """One connection: a reader and a writer."""

    def __init__(self, connection: "ClientConnection", client: SocketClient) -> None:
        self._connection = connection
        self._form = client._form  # noqa: SLF001 - the two are one
        self._waiting = asyncio.Event()
        self.calling = Calling(
            self._form,
            self._waiting.set,
            most_calls=client._most_calls,  # noqa: SLF001
            most_message=client.most_message,
        )
        self.closed = False
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        self._retired: Any = None

    @property
    def usable(self) -> bool:
        """Whether it takes new calls."""
        return not self.closed and not self.calling.session.leaving

    def retire(self, done: Any) -> None:
        """Close when nothing is under way; `done` is told then."""
        self._retired = done
        self._waiting.set()

    async def aclose(self) -> None:
        """Close it; what is under way ends with ConnectionLost."""
        self.closed = True
        await self._connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.calling.lost()

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        form = self._form
        try:
            async for raw in self._connection:
                self.calling.receive(form.decode(raw))
                if self._retired is not None and not self.calling.session.calls:
                    break
        except (Fault, ConnectionClosed):
            pass  # gone, or as good as gone for it breaks the protocol
        finally:
            self.closed = True
            self.calling.lost()
            self._tasks[1].cancel()
            if self._retired is not None:
                self._retired(self)
            asyncio.ensure_future(self._connection.close())  # noqa: RUF006 - closing waits for the other side

    async def _write(self) -> None:
        from websockets.exceptions import ConnectionClosed

        session, encode, text = self.calling.session, self._form.encode, self._form.text
        try:
            while True:
                await self._waiting.wait()
                self._waiting.clear()
                for frame in session.take():
                    raw = encode(frame)
                    await self._connection.send(raw, text=text)
        except ConnectionClosed:
            return


def milliseconds(out: "Outgoing") -> int | None:
    """How long the service has, None for as long as it likes."""
    left = out.left()
    return None if left is None else max(1, round(left * 1_000))


async def encoded(codec: Codec, requests: AsyncIterator[Any]) -> AsyncGenerator[bytes, None]:
    """Requests as they are sent."""
    try:
        async for request in requests:
            yield codec.encode(request)
    finally:
        close = getattr(requests, "aclose", None)
        if close is not None:
            await close()
