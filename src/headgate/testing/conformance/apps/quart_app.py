"""The order service on Quart."""

from typing import Any

from quart import Quart, Response, request, websocket

from headgate.testing.conformance import orders


def make() -> Quart:
    """A new application."""
    app = Quart("orders")

    @app.post("/orders")
    async def create() -> dict[str, Any]:
        return orders.Order.model_validate_json(await request.get_data()).model_dump()

    @app.get("/orders/<order>")
    async def get(order: str) -> dict[str, Any]:
        return orders.find(order)

    @app.get("/boom")
    async def boom() -> dict[str, Any]:
        orders.boom()
        return {}

    @app.get("/fault")
    async def fault() -> dict[str, Any]:
        orders.fault()
        return {}

    @app.get("/slow")
    async def slow() -> dict[str, Any]:
        return await orders.slow()

    @app.get("/events")
    async def events() -> Response:
        asked = request.args
        stream = orders.events(int(asked.get("count", 3)), fail="fail" in asked, stall="stall" in asked)
        response = Response(stream, mimetype="text/event-stream")
        response.timeout = None
        return response

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            text = await websocket.receive()
            if text == "boom":
                orders.boom()
            await websocket.send(text)

    return app
