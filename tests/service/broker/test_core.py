"""NATS core as a broker where its server does not answer."""

import asyncio

import pytest

from headgate.kit.controls.faults import Unavailable
from headgate.service.broker.core import NatsBroker
from headgate.testing.nats import nats_or_skip


async def never(_delivery: object) -> None:
    """Nothing comes."""


async def test_a_server_that_does_not_answer_is_told():
    """Who subscribes is told that the subscription is not known to hold; what drains goes on."""
    with nats_or_skip() as server:
        broker = NatsBroker(server.url, connect_timeout=0.5)
        await broker.start()
        first = await broker.subscribe("orders.*", never)
        server.pause()
        with pytest.raises(Unavailable) as told:
            await broker.subscribe("news", never)
        assert told.value.code == "not_connected"
        async with asyncio.timeout(20):
            await first.drain()
            await broker.drain()
            await broker.aclose()


async def test_a_subscription_that_was_not_confirmed_is_none():
    """Who was told that it does not hold is not called by it later, and takes nothing from its group."""
    with nats_or_skip() as server:
        broker = NatsBroker(server.url, connect_timeout=0.5)
        await broker.start()
        heard: list[str] = []

        def hearing(who: str):
            async def hear(_delivery: object) -> None:
                heard.append(who)

            return hear

        server.pause()
        with pytest.raises(Unavailable):
            await broker.subscribe("news", hearing("refused"), group="all")
        server.resume()
        await broker.subscribe("news", hearing("held"), group="all")
        for number in range(20):
            await broker.publish("news", number)
        async with asyncio.timeout(20):
            while len(heard) < 20:
                await asyncio.sleep(0.01)
        assert set(heard) == {"held"}
        await broker.aclose()


async def test_what_is_subscribed_while_it_was_slow_holds():
    """A server that answers late has what was sent before all the same."""
    with nats_or_skip() as server:
        broker, other = NatsBroker(server.url), NatsBroker(server.url)
        await broker.start()
        await other.start()
        heard: list[object] = []
        came = asyncio.Event()

        async def hear(delivery: object) -> None:
            heard.append(delivery)
            came.set()

        server.pause()
        subscribing = asyncio.create_task(broker.subscribe("news", hear))
        await asyncio.sleep(0.1)
        assert not subscribing.done()
        server.resume()
        await subscribing
        await other.publish("news", "today")
        async with asyncio.timeout(20):
            await came.wait()
        assert len(heard) == 1
        await other.aclose()
        await broker.aclose()
