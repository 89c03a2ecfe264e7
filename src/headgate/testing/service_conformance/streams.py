"""Rules: streams of no message, of one, of very many; slow readers; early ends."""

import asyncio
from collections.abc import AsyncIterator

from headgate.testing.service_conformance.hops import fresh
from headgate.testing.service_conformance.messages import Item, Total
from headgate.testing.service_conformance.reference import Reference
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import expect, rule, same

MANY = 10_000
MOST_AHEAD = 16 * 1024 * 1024
"""Bytes that may be on their way to a reader who reads nothing: what buffers of sockets and servers add up to."""


async def items(count: int, text: str = "") -> AsyncIterator[Item]:
    """Numbers from 0."""
    for number in range(count):
        yield Item(number, text)


@rule("reference")
async def streams_of_any_length_arrive(site: Site) -> None:
    """Streams of 0, 1 and 10 000 messages arrive whole and in order, each way."""
    async with site.client() as stub:
        for count in (0, 1, MANY):
            same([each.number async for each in stub.count(count)], list(range(count)))
            same(await stub.total(items(count)), Total(count, sum(range(count))))


@rule("reference")
async def streams_go_both_ways(site: Site) -> None:
    """Streams of 0, 1 and 1 000 messages go both ways at once and come back in order."""
    async with site.client() as stub:
        for count in (0, 1, 1_000):
            same([each.number async for each in stub.chat(items(count, "ß"))], [2 * number for number in range(count)])


@rule("reference", without=["http"])
async def both_sides_take_turns(site: Site) -> None:
    """In a stream both ways each message is answered before the next is sent."""
    answered: asyncio.Queue[Item] = asyncio.Queue()

    async def said() -> AsyncIterator[Item]:
        number = 1
        for _ in range(20):
            yield Item(number)
            number = (await answered.get()).number + 1

    async with site.client() as stub:
        seen = []
        async for item in stub.chat(said()):
            seen.append(item.number)
            await answered.put(item)
    same(len(seen), 20)
    same(seen[:4], [2, 6, 14, 30])


@rule("reference", without=["http"])
async def the_service_may_speak_first(site: Site) -> None:
    """In a stream both ways the service may speak first, and end it while its caller has more to say."""
    closed = asyncio.Event()
    heard = asyncio.Event()

    async def said() -> AsyncIterator[Item]:
        try:
            await heard.wait()
            for number in range(100_000):
                yield Item(number)
        finally:
            closed.set()

    seen = []
    async with site.client() as stub:
        async for item in stub.greet(said()):
            seen.append(item.number)
            heard.set()
        await closed.wait()
    same(seen, [-1, 0, 1, 2])


@rule("reference")
async def a_stream_may_be_answered_early(site: Site) -> None:
    """An answer before all of a stream was sent is taken, and the sender is closed."""
    closed = asyncio.Event()

    async def said() -> AsyncIterator[Item]:
        try:
            for number in range(2_000):  # over HTTP/1.1 all of it is sent first
                yield Item(number + 7)
        finally:
            closed.set()

    async with site.client() as stub:
        same((await stub.first(said())).number, 7)
        await closed.wait()


@rule("reference")
async def what_the_sender_raises_is_raised(site: Site) -> None:
    """What the caller's own iterator raises comes out of the call, and the service does not take the rest for all."""

    async def said() -> AsyncIterator[Item]:
        yield Item(1)
        raise LookupError("mine")

    async with site.client() as stub:
        try:
            answer = await stub.total(said())
        except LookupError as error:
            same(str(error), "mine")
        else:
            raise AssertionError(f"it was answered: {answer}")
        same(await stub.say("after"), "after")


@rule("reference")
async def leaving_closes_the_generator(site: Site) -> None:
    """A caller who leaves a stream in its midst closes the generator at the other end, and calls go on."""
    key = fresh()
    async with site.client() as stub:
        async with stub.count(1_000_000, key) as stream:  # type: ignore[attr-defined]
            async for item in stream:
                if item.number == 5:
                    break
        await stub.journal(key, awaited="closed")
        same(await stub.say("after"), "after")


@rule("reference")
async def cancelling_closes_the_generator(site: Site) -> None:
    """A caller who is cancelled while waiting for the next message closes the generator at the other end."""
    key = fresh()
    came = asyncio.Event()

    async with site.client() as stub:

        async def read() -> None:
            async for _ in stub.count(10, key, wait_at=2):
                came.set()

        reading = asyncio.ensure_future(read())
        await came.wait()
        reading.cancel()
        await asyncio.wait([reading])
        expect(reading.cancelled(), "the reader was not cancelled")
        await stub.journal(key, awaited="closed")


@rule("reference", patience=60.0)
async def slow_readers_hold_the_service_back(site: Site) -> None:
    """While nobody reads, a stream gets no further than buffers between allow; other calls are answered."""
    key, size = fresh(), 8 * 1024
    async with site.client() as stub:
        async with stub.count(100_000, key, size=size) as stream:  # type: ignore[attr-defined]
            await anext(stream)
            for _ in range(50):
                same(await stub.say("meanwhile"), "meanwhile")
            await asyncio.sleep(0.3)  # what is not held back would have come far by now
        produced = [line for line in await stub.journal(key, awaited="closed") if line.startswith("produced")]
    far = int(produced[0].split()[1])
    expect(far * size * 2 <= MOST_AHEAD, f"it was {far} messages of {2 * size} bytes ahead")


@rule("reference", patience=60.0)
async def slow_services_hold_the_sender_back(site: Site) -> None:
    """While a service reads nothing, its caller is asked for no more than buffers between allow."""
    asked, text = 0, "ö" * 8 * 1024
    key = fresh()

    async def said() -> AsyncIterator[Item]:
        nonlocal asked
        for number in range(100_000):
            asked = number
            yield Item(number, text if number else key)

    async with site.client() as stub:
        sending = asyncio.ensure_future(stub.idle(said()))
        await stub.journal(key, awaited="began")
        await asyncio.sleep(0.3)
        sending.cancel()
        await asyncio.wait([sending])
        if site.way.wire != "http":  # servers of HTTP/1.1 that were told to read no more do not see who leaves
            await stub.journal(key, awaited="cancelled")
    expect(asked * len(text) * 2 <= MOST_AHEAD, f"{asked} messages of {2 * len(text)} bytes were asked for")


@rule("reference")
async def many_streams_share_a_connection(site: Site) -> None:
    """Streams at once do not wait for one another's readers."""
    async with site.client() as stub:
        async with stub.count(100_000, size=1_024) as idle:  # type: ignore[attr-defined]
            await anext(idle)
            found = await asyncio.gather(*(_length(stub, count) for count in range(20)))
        same(found, list(range(20)))


async def _length(stub: Reference, count: int) -> int:
    return len([each async for each in stub.count(count)])
