"""The middleware that comes along."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headgate.kit.controls.faults import ResourceExhausted, Unavailable
from headgate.kit.controls.principal import Principal
from headgate.service import Service, rpc
from headgate.service.host import host
from headgate.service.invoke import Endpoint, Middleware
from headgate.service.middleware import bulkhead, limited, told_when_slow


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0

    async def __call__(self) -> None:
        """Wait at the gate."""
        self.inside += 1
        await self.open.wait()
        self.inside -= 1


def endpoints(middleware: Middleware, gate: Gate | None = None) -> dict[str, Endpoint]:
    """The endpoints of a service with this middleware."""

    class One(Service, public=True, middleware=[middleware]):
        @rpc
        async def one(self) -> str:
            if gate is not None:
                await gate()
            return "done"

        @rpc
        async def many(self) -> AsyncIterator[int]:
            for number in range(3):
                yield number
                if gate is not None:
                    await gate()

        @rpc(skip={"bulkhead", "limited", "told_when_slow"} & {middleware.__name__})  # type: ignore[attr-defined]
        async def free(self) -> str:
            return "free"

    return dict(host([One()])[0].endpoints)


async def until(holds: Any) -> None:
    """Let others run until it holds."""
    while not holds():
        await asyncio.sleep(0)


async def test_each_caller_has_a_limit_for_each_method(call):
    """Callers, and methods, do not use up each other's limit; the fault says when to come again."""
    now = 0.0
    made = endpoints(limited("2/minute", clock=lambda: now))
    ada, bob = (call(Principal(name)) for name in ("ada", "bob"))
    for _ in range(2):
        await made["One"].call(None, ada)
    with pytest.raises(ResourceExhausted) as raised:
        await made["One"].call(None, ada)
    assert raised.value.code == "rate_limited"
    assert raised.value.retry_after == pytest.approx(30)
    await made["One"].call(None, bob)
    await (await made["Many"].call(None, ada)).aclose()
    await made["Free"].call(None, ada)
    now = 30.0
    await made["One"].call(None, ada)


async def test_a_bulkhead_lets_so_many_in(call):
    """No more than its places run at a time, so many wait, and the others are refused at once."""
    gate = Gate()
    made = endpoints(bulkhead(2, waiting=1, patience=60), gate)
    running = [asyncio.create_task(made["One"].call(None, call())) for _ in range(3)]
    await until(lambda: gate.inside == 2)
    with pytest.raises(Unavailable) as raised:
        await made["One"].call(None, call())
    assert raised.value.code == "method_full"
    assert raised.value.retry_after == 1
    gate.open.set()
    assert await asyncio.gather(*running) == ["done"] * 3


async def test_a_bulkhead_is_not_waited_for_for_ever(call):
    """Who waits longer than the patience is refused, and takes no place."""
    gate = Gate()
    made = endpoints(bulkhead(1, waiting=1, patience=0.01), gate)
    running = asyncio.create_task(made["One"].call(None, call()))
    await until(lambda: gate.inside == 1)
    with pytest.raises(Unavailable):
        await made["One"].call(None, call())
    gate.open.set()
    await running
    assert await made["One"].call(None, call()) == "done"


@pytest.mark.parametrize("how", ["unread", "read", "closed", "cancelled"])
async def test_a_stream_holds_its_place_until_it_ends(call, how):
    """The place of a stream is free when it was read, was closed, or its reader was cancelled."""
    gate = Gate()
    made = endpoints(bulkhead(1), gate)
    stream = await made["Many"].call(None, call())
    assert how == "unread" or await anext(stream) == 0
    with pytest.raises(Unavailable):
        await made["One"].call(None, call())
    if how == "read":
        gate.open.set()
        assert [each async for each in stream] == [1, 2]
    elif how in ("unread", "closed"):
        await stream.aclose()
    else:
        reading = asyncio.create_task(anext(stream))
        await until(lambda: gate.inside == 1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    gate.open.set()
    assert await made["One"].call(None, call()) == "done"


async def test_a_call_that_is_cancelled_gives_its_place_back(call):
    """Neither who runs nor who waits keeps a place that it has no use for."""
    gate = Gate()
    made = endpoints(bulkhead(1, waiting=1, patience=60), gate)
    running, waiting = (asyncio.create_task(made["One"].call(None, call())) for _ in range(2))
    await until(lambda: gate.inside == 1)
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    gate.open.set()
    assert await made["One"].call(None, call()) == "done"


async def test_what_takes_long_is_told(call, logged):
    """A call that takes longer than it should is a line of the log, a stream when it ends."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    made = endpoints(told_when_slow(0.5, clock=clock))
    await made["One"].call(None, call())
    stream = await made["Many"].call(None, call())
    assert [line["method"] for line in logged() if line["event"] == "slow"] == ["one.One"]
    await stream.aclose()
    assert [line["method"] for line in logged() if line["event"] == "slow"][-1] == "one.Many"


async def test_what_is_quick_is_not_told(call, logged):
    """A call in time is not spoken of."""
    await endpoints(told_when_slow(60))["One"].call(None, call())
    assert not [line for line in logged() if line["event"] == "slow"]
