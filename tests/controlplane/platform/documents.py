"""Small documents to import, and how to import them."""

from typing import Any

import httpx

UPSTREAM = "http://127.0.0.1:3001"


def document(paths: dict[str, Any] | None = None, **root: Any) -> dict[str, Any]:
    """An OpenAPI document; unless told otherwise, of a shop with three operations."""
    shop = {
        "/orders": {"get": {"operationId": "listOrders"}, "post": {"operationId": "createOrder"}},
        "/orders/{id}": {"get": {"operationId": "getOrder"}},
    }
    info = {"title": "Shop API", "version": "1.2"}
    servers = [{"url": "https://shop.example/v1"}]
    return {"openapi": "3.1.0", "info": info, "servers": servers, "paths": shop if paths is None else paths, **root}


def operations(*paths: str) -> dict[str, Any]:
    """Paths with a GET each."""
    return {path: {"get": {}} for path in paths}


async def put(api: httpx.AsyncClient, content: Any = None, **query: Any) -> dict[str, Any]:
    """Import, and return the report."""
    answer = await post(api, content, **query)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def post(api: httpx.AsyncClient, content: Any = None, **query: Any) -> httpx.Response:
    """Import, and return the answer."""
    return await api.post("/platform/import/openapi", params=query, json=document() if content is None else content)


async def routes(api: httpx.AsyncClient, host: str = "default", config: str = "gateway") -> list[dict[str, Any]]:
    """The routes of a virtual host as they are stored, in order."""
    answer = await api.get(f"/native/route-configs/{config}")
    hosts = answer.json()["spec"]["virtual_hosts"] if answer.status_code == 200 else []
    return next((found.get("routes", []) for found in hosts if found["name"] == host), [])


async def names(api: httpx.AsyncClient, host: str = "default", config: str = "gateway") -> list[str]:
    """The names of the routes of a virtual host, in order."""
    return [route["name"] for route in await routes(api, host, config)]


async def clusters(api: httpx.AsyncClient) -> list[str]:
    """The names of all clusters."""
    return [item["name"] for item in (await api.get("/native/clusters")).json()["items"]]
