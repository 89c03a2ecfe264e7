"""A small application on the kit, spoken to over HTTP without a socket."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp

from headgate.kit.asgi import problems
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import OVER_HTTP, Pipeline
from headgate.kit.controls.request_ids import RequestIds


class Item(BaseModel):
    """What the application takes."""

    model_config = ConfigDict(extra="forbid")
    name: str
    price: Annotated[int, Field(ge=0, le=100)] = 0


@pytest.fixture
def app() -> FastAPI:
    """An application with one prefix, answering with problems."""
    made = FastAPI()
    problems.install(made)
    router = APIRouter(prefix="/items")

    @router.post("/{shelf}")
    async def put(shelf: int, item: Item, limit: Annotated[int, Query(le=10)] = 1) -> dict[str, Any]:
        return {"shelf": shelf, "name": item.name, "limit": limit}

    made.include_router(router, prefix="/v1")
    return made


@pytest.fixture
def client() -> Callable[..., httpx.AsyncClient]:
    """Makes a client of an application behind the shell; further arguments are the shell's."""

    def make(app: ASGIApp, **limits: Any) -> httpx.AsyncClient:
        wrapped = Shell(app, Pipeline([RequestIds(lambda: uuid.uuid4().hex)], OVER_HTTP), **limits)
        return httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://test")

    return make
