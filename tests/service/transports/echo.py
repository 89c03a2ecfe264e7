"""A service with a method of each kind, which the tests of wires call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from headgate.kit.controls.faults import FailedPrecondition
from headgate.service import AUTHENTICATED, Context, Service, Struct, rpc
from headgate.service.client.wires import Outgoing


class Say(Struct):
    """What is said."""

    text: str


class Seen(Struct):
    """What a handler sees of its call."""

    wire: str
    who: str
    request_id: str
    header: str
    trace: str
    remaining: float | None


class TooMuch(FailedPrecondition):
    """There is a limit."""

    default_code = "too_much"


class Echo(Service, name="echo", version="1.2.3", public=True):
    """Echoes."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0

    @rpc
    async def say(self, say: Say) -> Say:
        """Say it again."""
        return say

    @rpc
    async def see(self, context: Context) -> Seen:
        """Tell of the call."""
        trace = context.trace.trace_id if context.trace else ""
        return Seen(
            context.wire, context.principal.id, context.request_id, context.header("x-own"), trace, context.remaining
        )

    @rpc(guard=AUTHENTICATED)
    async def secret(self) -> Say:
        """For those who are known."""
        return Say("secret")

    @rpc(raises=[TooMuch])
    async def refuse(self) -> None:
        """Refuse."""
        raise TooMuch("it is too much", details={"left": 2})

    @rpc
    async def broken(self) -> None:
        """Have a defect."""
        raise ZeroDivisionError("secret text")

    @rpc
    async def wait(self) -> Say:
        """Wait until the gate opens."""
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Say("open")

    @rpc
    async def count(self, to: int) -> AsyncIterator[Say]:
        """Count."""
        try:
            for number in range(to):
                self.sent = number + 1
                yield Say(str(number))
        finally:
            self.cancelled.set()

    @rpc
    async def fail_after(self, to: int) -> AsyncIterator[Say]:
        """Count, then refuse."""
        for number in range(to):
            yield Say(str(number))
        raise TooMuch("it is too much")

    @rpc
    async def join(self, parts: AsyncIterator[Say]) -> Say:
        """Join what is sent."""
        return Say(",".join([part.text async for part in parts]))

    @rpc
    async def chat(self, parts: AsyncIterator[Say]) -> AsyncIterator[Say]:
        """Answer each."""
        async for part in parts:
            yield Say(part.text.upper())


CONTRACT = Echo.contract()


def out(name: str, **more: Any) -> Outgoing:
    """A call of the method `name`."""
    method = CONTRACT.methods[name]
    return Outgoing(method, CONTRACT.path(method), **more)


def request(name: str, **fields: Any) -> Any:
    """Its request."""
    return CONTRACT.methods[name].request(**fields)


async def parts(count: int) -> AsyncIterator[Say]:
    """A stream to send."""
    for number in range(count):
        yield Say(f"a{number}")


class Wired:
    """A service behind a wire, and how to make a client of it."""

    def __init__(self, service: Echo, client: Any) -> None:
        self.service = service
        self.client = client
        """Makes a client of a codec and options."""
