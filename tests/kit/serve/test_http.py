"""Serving, draining, and starts that fail."""

import asyncio
import signal
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from headgate.kit.asgi.health import Health, health_routes
from headgate.kit.controls.faults import FailedPrecondition, Unavailable
from headgate.kit.observe.metrics import Metrics
from headgate.kit.serve.http import HttpServer


class Gate:
    """An endpoint that answers when it is let to, and tells when it is asked."""

    def __init__(self) -> None:
        self.asked, self.opened = asyncio.Event(), asyncio.Event()

    async def endpoint(self, _request: Request) -> Response:
        """Waits for the gate."""
        self.asked.set()
        await self.opened.wait()
        return PlainTextResponse("through")


def application(gate: Gate, health: Health, lifespan=None) -> Starlette:
    """An application with the gate and the health routes."""
    return Starlette(routes=[Route("/gate", gate.endpoint), *health_routes(health, Metrics())], lifespan=lifespan)


def server(app, **options) -> HttpServer:
    """A server on a free port."""
    return HttpServer(app, host="127.0.0.1", port=0, setting="api_port", **options)


async def test_serving():
    """Started, it answers where it says; stopped, the port is free again."""
    served = server(application(Gate(), Health()))
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        answer = await http.get("/health")
    assert answer.status_code == 200
    assert "server" not in answer.headers
    await served.stop()
    again = HttpServer(application(Gate(), Health()), host="127.0.0.1", port=served.port, setting="api_port")
    await again.start()
    await again.stop()


async def test_draining_finishes_what_is_under_way():
    """While it stops, it is not ready, and a request under way is answered."""
    gate, health = Gate(), Health()
    served = server(application(gate, health), health=health, drain_seconds=30, linger_seconds=0.2)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        under_way = asyncio.create_task(http.get("/gate"))
        await gate.asked.wait()
        stopping = asyncio.create_task(served.stop())
        await asyncio.sleep(0)
        assert (await http.get("/ready")).json()["status"] == "draining"
        assert not stopping.done()
        gate.opened.set()
        assert (await under_way).text == "through"
    await stopping


async def test_draining_has_an_end():
    """A request that does not finish in time does not keep the process alive."""
    gate = Gate()
    served = server(application(gate, Health()), drain_seconds=1)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        under_way = asyncio.create_task(http.get("/gate"))
        await gate.asked.wait()
        await asyncio.wait_for(served.stop(), 20)
        await asyncio.gather(under_way, return_exceptions=True)


async def test_a_taken_port():
    """A taken port is a fault that names the setting, before the application starts up."""
    started = []

    @asynccontextmanager
    async def lifespan(_app):
        started.append(True)
        yield

    first = server(application(Gate(), Health()))
    await first.start()
    second = HttpServer(application(Gate(), Health(), lifespan), host="127.0.0.1", port=first.port, setting="api_port")
    with pytest.raises(FailedPrecondition, match="HEADGATE_API_PORT"):
        await second.start()
    await second.stop()
    await first.stop()
    assert started == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(Unavailable("no database", code="no_database"), "no_database"), (RuntimeError("x"), "startup_failed")],
)
async def test_a_start_up_that_fails(error, code):
    """The fault of a failed start-up reaches the caller, the loop goes on, and the port is free."""

    @asynccontextmanager
    async def lifespan(_app):
        raise error
        yield

    failed = server(application(Gate(), Health(), lifespan))
    with pytest.raises(Unavailable) as caught:
        await failed.start()
    assert caught.value.code == code
    again = HttpServer(application(Gate(), Health()), host="127.0.0.1", port=failed.port, setting="api_port")
    await again.start()
    await again.stop()


async def test_the_life_of_the_application():
    """The application starts up before it is asked and shuts down after; its state reaches requests."""
    story = []

    @asynccontextmanager
    async def lifespan(_app):
        story.append("up")
        yield {"who": "state"}
        story.append("down")

    async def endpoint(request: Request) -> Response:
        story.append("asked")
        return PlainTextResponse(request.state.who)

    served = server(Starlette(routes=[Route("/", endpoint)], lifespan=lifespan))
    await served.start()
    async with httpx.AsyncClient() as http:
        assert (await http.get(served.url)).text == "state"
    await served.stop()
    assert story == ["up", "asked", "down"]


async def test_an_application_without_a_life():
    """A bare application that knows only HTTP is served too."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    served = server(app)
    await served.start()
    async with httpx.AsyncClient() as http:
        assert (await http.get(served.url)).status_code == 204
    await served.stop()


async def test_signals_are_left_alone():
    """Serving installs no signal handlers: they are the process's own."""
    before = signal.getsignal(signal.SIGTERM)
    served = server(application(Gate(), Health()))
    await served.start()
    assert signal.getsignal(signal.SIGTERM) is before
    await served.stop()
