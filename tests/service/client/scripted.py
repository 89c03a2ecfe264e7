"""Instances whose behaviour is written down, and clients of them: no network, no time but the test's."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from headgate.service.client import Client, ClientPolicy
from headgate.service.client.wires import Outgoing
from headgate.service.registry.instance import Instance
from tests.service.shop import Order, Orders


class Told:
    """A wire that does what it is told, one thing for each call; then it answers.

    Each thing is an exception to raise, a value to answer, or a function of the attempt that gives either or an
    awaitable.
    """

    def __init__(self, name: str, script: list[Any]) -> None:
        self.name = name
        self.script = script
        self.sent: list[Outgoing] = []
        self.requests: list[Any] = []
        self.cancelled = 0
        self.closed = False

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """What the script says next."""
        self.sent.append(out)
        self.requests.append(request)
        step = self.script.pop(0) if self.script else Order(self.name, "tea")
        try:
            if callable(step):
                step = step(out)
            if asyncio.iscoroutine(step):
                step = await step
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(step, BaseException):
            raise step
        return step

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """A list is streamed, the exceptions in it are raised in their turn."""
        self.sent.append(out)
        steps = self.script.pop(0) if self.script else [Order(self.name, "tea")]
        if callable(steps):
            steps = await steps(out, request)
        try:
            for step in steps if isinstance(steps, list) else [steps]:
                made = await step if asyncio.iscoroutine(step) else step
                if isinstance(made, BaseException):
                    raise made
                yield made
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True


def instance(name: str, **more: Any) -> Instance:
    """An instance of the shop on the wire of the tests."""
    return Instance(id=name, service="orders", endpoints={"http": f"http://{name}"}, **more)


class Shop:
    """Scripted instances by name; `client` gives one of them all."""

    def __init__(self, **scripts: list[Any]) -> None:
        self.wires = {name: Told(name, script) for name, script in scripts.items()}

    def open(self, found: Instance) -> Told:
        """The wire of an instance."""
        return self.wires[found.id]

    def client(self, policy: ClientPolicy | None = None, **options: Any) -> Client[Orders]:
        """A client whose first choice is always the first instance."""
        options.setdefault("balancer", First())
        if "registry" not in options:
            options["instances"] = [instance(name) for name in self.wires]
        return Client(Orders, policy=policy, open_wire=self.open, randomness=lambda: 0.0, **options)

    @property
    def attempts(self) -> list[str]:
        """How many calls each one got."""
        return [f"{name}:{len(wire.sent)}" for name, wire in self.wires.items()]


class First:
    """Always the first candidate."""

    def pick(self, candidates, key, everyone):
        """The first."""
        return candidates[0]


def never() -> Callable[[Outgoing], Any]:
    """A call that has no answer."""

    async def wait() -> None:
        await asyncio.Event().wait()

    return lambda _out: wait()
