"""The order service on Starlette alone."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from headgate.testing.conformance import orders


async def create(request: Request) -> Response:
    """Make an order."""
    return JSONResponse(orders.Order.model_validate_json(await request.body()).model_dump())


async def get(request: Request) -> Response:
    """Look an order up."""
    return JSONResponse(orders.find(request.path_params["order"]))


async def boom(_request: Request) -> Response:
    """Fail."""
    orders.boom()
    return Response()


async def fault(_request: Request) -> Response:
    """Raise a fault."""
    orders.fault()
    return Response()


async def slow(_request: Request) -> Response:
    """Take long."""
    return JSONResponse(await orders.slow())


async def events(request: Request) -> Response:
    """Stream."""
    asked = request.query_params
    stream = orders.events(int(asked.get("count", 3)), fail="fail" in asked, stall="stall" in asked)
    return StreamingResponse(stream, media_type="text/event-stream")


async def echo(socket: WebSocket) -> None:
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


def make() -> Starlette:
    """A new application."""
    return Starlette(
        routes=[
            Route("/orders", create, methods=["POST"]),
            Route("/orders/{order}", get),
            Route("/boom", boom),
            Route("/fault", fault),
            Route("/slow", slow),
            Route("/events", events),
            WebSocketRoute("/echo", echo),
        ]
    )
