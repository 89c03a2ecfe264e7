"""Templates of routes, never what the caller wrote."""

import httpx
import pytest

from headgate.kit.asgi.shell import Shell
from tests.kit.asgi.services import FRAMEWORKS, service
from tests.kit.asgi.wire import Witness, http, part, pipeline, serve, start


async def routes(app, *paths, method="GET") -> list[str]:
    """The route of each path, as the call has it."""
    witness = Witness()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Shell(app, pipeline(witness))), base_url="http://t"
    ) as c:
        for path in paths:
            await c.request(method, path)
    return [call.route for call in witness.settled]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_templates(framework, logged):
    """Each framework's route is known by the same template, whatever the prefix or mount; an unknown path by none."""
    found = await routes(service(framework), "/v1/a/items/7", "/v1/b/items/8", "/fault", "/defect", "/nowhere")
    assert found == ["/v1/{team}/items/{item}", "/v1/{team}/items/{item}", "/fault", "/defect", ""]


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_templates_in_mounts(framework, logged):
    """A route in a mounted application is known by the whole template."""
    assert await routes(service(framework), "/sub/a/deep/b") == ["/sub/{which}/deep/{leaf}"]


async def test_routes_added_later():
    """A route that is added after the application was hardened is known too."""
    app = service("fastapi")
    witness = Witness()
    shell = Shell(app, pipeline(witness))

    @app.get("/late/{x}")
    async def late(x: str) -> str:
        return x

    await serve(shell, http("/late/1"))
    assert witness.call.route == "/late/{x}"


async def test_a_quart_application_in_a_mount():
    """What is mounted from another framework is known by its own template."""
    app = service("starlette")
    app.mount("/q", service("quart"))
    witness = Witness()
    await serve(Shell(app, pipeline(witness)), http("/q/v1/a/items/7"))
    assert witness.call.route.endswith("/v1/{team}/items/{item}")


async def test_other_applications():
    """An application of no framework has no templates, unless it leaves one in the scope."""

    async def app(scope, _receive, send):
        if scope["path"] == "/b/1":
            scope["headgate.route"] = "/b/{n}"
        await start(send)
        await part(send, b"", more=False)

    assert await routes(app, "/a/1", "/b/1") == ["", "/b/{n}"]


@pytest.mark.parametrize(("framework", "own"), [(each, False) for each in FRAMEWORKS] + [("fastapi", True)])
async def test_controls_judge_the_path_that_the_framework_routes_by(framework, own, logged):
    """What is served under a prefix, whoever says so, is to the controls what it is to the routes: without it."""
    app = service(framework)
    prefix = "" if own else "/api"
    if own:
        app.root_path = "/api"
    witness = Witness()
    transport = httpx.ASGITransport(Shell(app, pipeline(witness)), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        for path in ("/api/v1/a/items/7", "/apiary", "/api"):
            await client.get(path)
    assert [call.path for call in witness.settled] == ["/v1/a/items/7", SEEN[framework], "/"]
    assert [call.status for call in witness.settled][:2] == [200, 404]


SEEN = {"fastapi": "/apiary", "starlette": "/apiary", "quart": "/apiary", "litestar": "ary"}
"""What each of them makes of a path that only begins like the prefix."""
