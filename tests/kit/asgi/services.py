"""The same small service in four frameworks, made without a thought for errors."""

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from headgate.kit.controls.faults import ResourceExhausted

FRAMEWORKS = ("fastapi", "litestar", "quart", "starlette")


class Item(BaseModel):
    """A document to validate."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=5)]
    price: Annotated[int, Field(ge=0, le=100)] = 0
    tags: list[Annotated[str, Field(max_length=2)]] = []


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    """The same for msgspec."""

    name: Annotated[str, msgspec.Meta(max_length=5)]
    price: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    tags: list[Annotated[str, msgspec.Meta(max_length=2)]] = []


def fault() -> None:
    """Raise what domain code raises."""
    raise ResourceExhausted("no more", code="quota", hint="wait", retry_after=3)


def defect() -> None:
    """Raise what nobody foresaw."""
    raise KeyError("sda9")


async def lines():
    """The body of a stream that breaks."""
    yield b"first"
    raise KeyError("sda9")


def service(framework: str) -> Any:
    """A new application of that framework."""
    return {"fastapi": on_fastapi, "litestar": on_litestar, "quart": on_quart, "starlette": on_starlette}[framework]()


def on_fastapi() -> Any:
    """On FastAPI, with a router and a mount."""
    from fastapi import APIRouter, FastAPI, HTTPException, WebSocket

    app, router, mounted = FastAPI(debug=True), APIRouter(prefix="/v1/{team}"), FastAPI()

    @app.post("/items")
    async def items(item: Item) -> Item:
        return item

    @router.get("/items/{item}")
    async def item(team: str, item: int) -> str:
        return team

    @mounted.get("/deep/{leaf}")
    async def deep(leaf: str) -> str:
        return leaf

    @app.get("/fault")
    async def fails() -> None:
        fault()

    @app.get("/defect")
    async def breaks() -> None:
        defect()

    @app.get("/abort/{status}")
    async def abort(status: int) -> None:
        raise HTTPException(status)

    @app.get("/says")
    async def says() -> None:
        raise HTTPException(403, "not on Mondays", headers={"X-Why": "Monday"})

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        (fault if await websocket.receive_text() == "fault" else defect)()

    app.include_router(router)
    app.mount("/sub/{which}", mounted)
    return app


def on_starlette() -> Any:
    """On Starlette."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route, WebSocketRoute

    async def items(request: Any) -> Response:
        return JSONResponse(Item.model_validate(await request.json() if await request.body() else None).model_dump())

    async def item(request: Any) -> Response:
        return Response(request.path_params["team"])

    async def fails(_request: Any) -> Response:
        fault()
        return Response()

    async def breaks(_request: Any) -> Response:
        defect()
        return Response()

    async def abort(request: Any) -> Response:
        raise HTTPException(request.path_params["status"])

    async def says(_request: Any) -> Response:
        raise HTTPException(403, "not on Mondays", headers={"X-Why": "Monday"})

    async def socket(websocket: Any) -> None:
        await websocket.accept()
        (fault if await websocket.receive_text() == "fault" else defect)()

    return Starlette(
        debug=True,
        routes=[
            Route("/items", items, methods=["POST"]),
            Mount("/v1/{team}", routes=[Route("/items/{item:int}", item)]),
            Mount("/sub/{which}", app=Starlette(routes=[Route("/deep/{leaf}", item)])),
            Route("/fault", fails),
            Route("/defect", breaks),
            Route("/abort/{status:int}", abort),
            Route("/says", says),
            WebSocketRoute("/socket", socket),
        ],
    )


def on_litestar() -> Any:
    """On Litestar."""
    from litestar import Litestar, Router, WebSocket, get, post, websocket
    from litestar.exceptions import HTTPException
    from litestar.params import FromPath, JSONBody

    @post("/items", status_code=200)
    async def items(data: JSONBody[Item]) -> Item:
        return data

    @post("/structs", status_code=200)
    async def structs(data: JSONBody[Struct]) -> Struct:
        return data

    @get("/items/{item:int}")
    async def item(team: FromPath[str], item: FromPath[int]) -> str:
        return team

    @get("/fault")
    async def fails() -> None:
        fault()

    @get("/defect")
    async def breaks() -> None:
        defect()

    @get("/abort/{status:int}")
    async def abort(status: FromPath[int]) -> None:
        raise HTTPException(status_code=status)

    @get("/says")
    async def says() -> None:
        raise HTTPException("not on Mondays", status_code=403, headers={"X-Why": "Monday"})

    @websocket("/socket")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        (fault if await socket.receive_text() == "fault" else defect)()

    team = Router("/v1/{team:str}", route_handlers=[item])
    return Litestar([items, structs, team, fails, breaks, abort, says, socket], debug=True)


def on_quart() -> Any:
    """On Quart."""
    from quart import Quart, abort, request, websocket
    from werkzeug.exceptions import Forbidden

    app = Quart("service")
    app.debug = True

    @app.post("/items")
    async def items() -> Any:
        return Item.model_validate(await request.get_json()).model_dump()

    @app.post("/structs")
    async def structs() -> Any:
        return msgspec.to_builtins(msgspec.json.decode(await request.get_data(), type=Struct))

    @app.get("/v1/<team>/items/<int:item>")
    async def item(team: str, item: int) -> str:
        return team

    @app.get("/fault")
    async def fails() -> None:
        fault()

    @app.get("/defect")
    async def breaks() -> None:
        defect()

    @app.get("/abort/<int:status>")
    async def aborts(status: int) -> None:
        abort(status)

    @app.get("/says")
    async def says() -> None:
        error = Forbidden("not on Mondays")
        error.get_headers = lambda *_: [("X-Why", "Monday"), ("Content-Type", "text/html")]
        raise error

    @app.websocket("/socket")
    async def socket() -> None:
        await websocket.accept()
        (fault if await websocket.receive() == "fault" else defect)()

    return app
