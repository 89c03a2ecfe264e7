"""Start and stop of an application with the kit's parts round it."""

import asyncio

import pytest

from headgate.kit.asgi.shell import Shell
from tests.kit.asgi.test_sse import FRAMEWORKS, items
from tests.kit.asgi.wire import Witness, pipeline

STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class Hook:
    """Notes in `log` that it was opened and closed."""

    def __init__(self, log, fails=False):
        self.log, self.fails = log, fails

    async def on_startup(self):
        if self.fails:
            raise OSError("no store")
        self.log.append("open")

    async def on_shutdown(self):
        self.log.append("close")


async def live(app, log=None):
    """Start, and once started stop; returns what was sent."""
    sent: list[str] = []
    log = log if log is not None else []
    started = asyncio.Event()
    asked = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive():
        kind = next(asked)
        if kind == "lifespan.shutdown":
            await started.wait()
        return {"type": kind}

    async def send(message):
        sent.append(message["type"])
        log.append(message["type"])
        started.set()

    async with asyncio.timeout(10):
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return sent


def speaking(log, fail=""):
    """An application with a lifespan."""

    async def app(_scope, receive, send):
        await receive()
        if fail == "startup":
            await send({"type": "lifespan.startup.failed", "message": "no"})
            raise RuntimeError
        log.append("app up")
        await send({"type": STARTED})
        await receive()
        if fail == "shutdown":
            await send({"type": "lifespan.shutdown.failed", "message": "no"})
            return
        log.append("app down")
        await send({"type": STOPPED})

    return app


def shell(app, hook):
    """A shell with a hook."""
    return Shell(app, pipeline(Witness()), lifespan=hook)


async def test_round_the_application():
    """The hook opens before the application starts and closes after it stopped, before the server hears of it."""
    log: list[str] = []
    await live(shell(speaking(log), Hook(log)), log)
    assert log == ["open", "app up", STARTED, "app down", "close", STOPPED]


async def test_without_a_hook():
    """Without a hook the scope goes to the application untouched."""
    log: list[str] = []
    await live(Shell(speaking(log), pipeline(Witness())), log)
    assert log == ["app up", STARTED, "app down", STOPPED]


async def asserts_http(scope, _receive, _send):
    """An application that knows no lifespan."""
    assert scope["type"] == "http"


async def returns(_scope, _receive, _send):
    """One that ignores it."""


async def fails_late(_scope, receive, _send):
    """One that fails to start and says so to nobody."""
    await receive()
    raise RuntimeError


@pytest.mark.parametrize("app", [asserts_http, returns, fails_late])
async def test_applications_without_a_lifespan(app, logged):
    """An application that knows no lifespan has the hook's, and the server is told that all is well."""
    log: list[str] = []
    await live(shell(app, Hook(log)), log)
    assert log == ["open", STARTED, "close", STOPPED]


async def test_a_hook_that_fails():
    """What keeps the hook from opening keeps the process from starting, and the application never starts."""
    log: list[str] = []
    with pytest.raises(OSError, match="no store"):
        await live(shell(speaking(log), Hook(log, fails=True)), log)
    assert log == ["lifespan.startup.failed"]


async def test_an_application_that_fails_to_start():
    """What was opened is closed again when the application does not start."""
    log: list[str] = []
    with pytest.raises(RuntimeError):
        await live(shell(speaking(log, "startup"), Hook(log)), log)
    assert log == ["open", "close", "lifespan.startup.failed"]


async def test_an_application_that_fails_to_stop():
    """The hook is closed also when the application fails to stop."""
    log: list[str] = []
    await live(shell(speaking(log, "shutdown"), Hook(log)), log)
    assert log[-2:] == ["close", "lifespan.shutdown.failed"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_in_frameworks(framework):
    """Applications of each framework start and stop within the hook."""
    log: list[str] = []
    await live(shell(FRAMEWORKS[framework](items), Hook(log)), log)
    assert log == ["open", STARTED, "close", STOPPED]
