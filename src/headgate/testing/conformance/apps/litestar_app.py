"""The order service on Litestar."""

from typing import Any

from litestar import Litestar, WebSocket, post, websocket
from litestar import get as get_
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Stream

from headgate.testing.conformance import orders


@post("/orders", status_code=200)
async def create(data: orders.Order) -> orders.Order:
    """Make an order."""
    return data


@get_("/orders/{order:str}")
async def get(order: str) -> dict[str, Any]:
    """Look an order up."""
    return orders.find(order)


@get_("/boom")
async def boom() -> None:
    """Fail."""
    orders.boom()


@get_("/fault")
async def fault() -> None:
    """Raise a fault."""
    orders.fault()


@get_("/slow")
async def slow() -> dict[str, Any]:
    """Take long."""
    return await orders.slow()


@get_("/events")
async def events(count: int = 3, fail: bool = False, stall: bool = False) -> Stream:
    """Stream."""
    return Stream(orders.events(count, fail=fail, stall=stall), media_type="text/event-stream")


@websocket("/echo")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    """Say what is heard."""
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            if text == "boom":
                orders.boom()
            await socket.send_text(text)
    except WebSocketDisconnect:
        return


def make() -> Litestar:
    """A new application."""
    return Litestar(route_handlers=[create, get, boom, fault, slow, events, echo])
