"""The order service on FastAPI."""

from typing import Any

from fastapi import FastAPI, WebSocket
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocketDisconnect

from headgate.testing.conformance import orders


def make() -> FastAPI:
    """A new application."""
    app = FastAPI(title="orders")

    @app.post("/orders")
    async def create(order: orders.Order) -> orders.Order:
        return order

    @app.get("/orders/{order}")
    async def get(order: str) -> dict[str, Any]:
        return orders.find(order)

    @app.get("/boom")
    async def boom() -> None:
        orders.boom()

    @app.get("/fault")
    async def fault() -> None:
        orders.fault()

    @app.get("/slow")
    async def slow() -> dict[str, Any]:
        return await orders.slow()

    @app.get("/events")
    async def events(count: int = 3, fail: bool = False, stall: bool = False) -> StreamingResponse:
        return StreamingResponse(orders.events(count, fail=fail, stall=stall), media_type="text/event-stream")

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                text = await socket.receive_text()
                if text == "boom":
                    orders.boom()
                await socket.send_text(text)
        except WebSocketDisconnect:
            return

    return app
