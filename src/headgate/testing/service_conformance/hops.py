"""Rules: what crosses one hop, and two."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from headgate.kit.controls.faults import DeadlineExceeded, FailedPrecondition
from headgate.kit.controls.retry import RetryPolicy
from headgate.testing.service_conformance.faults import raised_by
from headgate.testing.service_conformance.messages import Item, OutOfStock
from headgate.testing.service_conformance.reference import Relay
from headgate.testing.service_conformance.site import STEADY, Site
from headgate.testing.service_conformance.suite import expect, rule, same

LONG = 25.0
"""Seconds: less than any limit of a server."""


def fresh() -> str:
    """A key that nobody used."""
    return secrets.token_hex(8)


@rule("reference")
async def deadlines_cross(site: Site) -> None:
    """The handler sees no more time than its caller has, and at most the server's own limit where that has none."""
    async with site.client(policy=replace(STEADY, timeout=None)) as stub:
        limit = (await stub.seen()).remaining
        expect(limit is None or limit > LONG, f"{limit} seconds without a deadline")
    async with site.client(timeout=5) as stub:
        remaining = (await stub.seen()).remaining
        expect(remaining is not None and 2 < remaining <= 5, f"the handler sees {remaining} of 5 seconds")


@rule("reference")
async def time_runs_out_on_both_sides(site: Site) -> None:
    """When its time is up a call is DeadlineExceeded for the caller, and its handler is cancelled."""
    key, client = fresh(), site.client()
    began = time.monotonic()
    try:
        fault = await raised_by(client.using(timeout=0.3).slow(key))
        expect(isinstance(fault, DeadlineExceeded), f"{type(fault).__name__}: {fault}")
        expect(time.monotonic() - began < 5, "it took more than the time it had")
        lines = await client.stub.journal(key, awaited="cancelled")
        same(lines, ["began", "cancelled"], "the journal")
    finally:
        await client.aclose()


@rule("reference")
async def a_stream_ends_when_its_time_is_up(site: Site) -> None:
    """A stream whose time is up is DeadlineExceeded after what it gave, and is closed at its source."""
    key, client = fresh(), site.client()
    seen: list[int] = []
    try:
        try:
            async for item in client.using(timeout=0.5).count(10, key, wait_at=3):
                seen.append(item.number)  # noqa: PERF401 - what came before its end counts
        except DeadlineExceeded:
            pass
        else:
            raise AssertionError("it ended")
        same(seen, [0, 1, 2])
        await client.stub.journal(key, awaited="closed")
    finally:
        await client.aclose()


@rule("reference")
async def methods_have_a_time_of_their_own(site: Site) -> None:
    """A method's own timeout ends it, whatever its caller allows."""
    async with site.client(timeout=10) as stub:
        fault = await raised_by(stub.limited())
    expect(isinstance(fault, DeadlineExceeded), f"{type(fault).__name__}: {fault}")


@rule("reference")
async def leaving_cancels_the_handler(site: Site) -> None:
    """A caller that is cancelled cancels the handler, and the connection serves on."""
    key = fresh()
    async with site.client() as stub:
        calling = asyncio.ensure_future(stub.slow(key))
        await stub.journal(key, awaited="began")
        calling.cancel()
        await asyncio.wait([calling])
        expect(calling.cancelled(), "the caller was not cancelled")
        same(await stub.journal(key, awaited="cancelled"), ["began", "cancelled"])


@rule("hops")
async def leaving_cancels_the_next_hop(site: Site) -> None:
    """A caller that leaves cancels the handler at the second hop."""
    key = fresh()
    async with site.client(Relay) as relay, site.client() as stub:
        calling = asyncio.ensure_future(relay.slow(key))
        await stub.journal(key, awaited="began")
        calling.cancel()
        await asyncio.wait([calling])
        same(await stub.journal(key, awaited="cancelled"), ["began", "cancelled"])


@rule("hops")
async def leaving_a_stream_closes_the_next_hop(site: Site) -> None:
    """A stream that is left is closed at the second hop."""
    key = fresh()
    async with site.client(Relay) as relay, site.client() as stub:
        async with relay.count(10, key, wait_at=3) as items:  # type: ignore[attr-defined]
            async for item in items:
                if item.number == 2:
                    break
        await stub.journal(key, awaited="closed")


@rule("hops")
async def deadlines_cross_two_hops(site: Site) -> None:
    """The second handler has no more time than the first, and a deadline that passes cancels both."""
    key = fresh()
    async with site.client(Relay, timeout=5) as relay:
        first, second = await relay.seen()
        expect(first.remaining is not None and second.remaining is not None, "a handler sees no deadline")
        # Wires tell whole milliseconds, gRPC's core as few digits as it can, and none less than there is.
        rounded = (first.remaining or 0) / 100 if site.way.wire == "grpc" else 0.002
        expect((second.remaining or 9) <= (first.remaining or 0) + rounded, f"{second.remaining} of {first.remaining}")
    async with site.client(Relay, timeout=0.4) as relay, site.client() as stub:
        fault = await raised_by(relay.slow(key))
        expect(isinstance(fault, DeadlineExceeded), f"{type(fault).__name__}: {fault}")
        await stub.journal(key, awaited="cancelled")


@rule("hops")
async def faults_cross_two_hops(site: Site) -> None:
    """A fault of the second hop arrives as it was raised, of its class where the first declares it too."""
    async with site.client(Relay) as relay:
        fault = await raised_by(relay.fail(OutOfStock.default_code, "näh"))
        expect(type(fault) is OutOfStock, f"{type(fault).__name__}: {fault}")
        same((fault.message, fault.details), ("näh", {"left": 2, "places": ["näh"]}))
        fault = await raised_by(relay.fail("FAILED_PRECONDITION", "näh"))
        expect(type(fault) is FailedPrecondition, type(fault).__name__)
        same((fault.code, len(fault.violations)), ("code_failed_precondition", 2))


@rule("hops")
async def trace_and_request_id_cross(site: Site) -> None:
    """The trace of the caller and one request id are seen at both hops."""
    trace = secrets.token_hex(16)
    metadata = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    async with site.client(Relay, metadata=metadata) as relay:
        first, second = await relay.seen()
    same((first.trace, second.trace), (trace, trace), "the trace")
    expect(first.request_id or site.way.wire == "local", "there is no request id")
    same(second.request_id, first.request_id, "the second request id")
    wire = {"socket": "websocket"}.get(site.way.wire, site.way.wire)
    expect(first.wire in (wire, site.way.wire), f"the wire is {first.wire}")
    same((first.method, second.method), ("Seen", "Seen"), "the methods")


@rule("hops")
async def the_budget_of_retries_crosses(site: Site) -> None:
    """Each hop is told how often it may still call again, which is never more than the hop before was."""
    for attempts in (3, 1):
        policy = replace(STEADY, retry=RetryPolicy(attempts=attempts))
        async with site.client(Relay, policy=policy) as relay:
            first, second = await relay.seen("x-retry-budget")
        expect(first.header.isdigit() and second.header.isdigit(), f"it is '{first.header}' and '{second.header}'")
        expect(int(second.header) <= int(first.header) < attempts, f"it is {first.header}, then {second.header}")


@rule("reference")
async def metadata_reaches_the_handler(site: Site) -> None:
    """What a caller says besides reaches the handler, under its name in any case."""
    async with site.client(metadata={"X-Own": "value with spaces; and=signs"}) as stub:
        same((await stub.seen("x-own")).header, "value with spaces; and=signs")


@rule("reference")
async def calls_do_not_mix(site: Site) -> None:
    """A hundred calls at once each get their own answer, faults and context among them."""
    async with site.client() as stub:

        async def one(number: int) -> str | int:
            if number % 5 == 0:
                fault = await raised_by(stub.fail("NOT_FOUND", f"n{number}"))
                return fault.message
            if number % 5 == 1:
                return str((await stub.total(_items(number))).sum)
            if number % 5 == 2:
                return len([each async for each in stub.count(number)])
            return await stub.say(f"s{number}")

        answers = await asyncio.gather(*(one(number) for number in range(100)))
    wanted = []
    for number in range(100):
        case = number % 5
        sums = str(sum(range(number)))
        wanted.append([f"n{number}", sums, number, f"s{number}", f"s{number}"][case])
    same(answers, wanted)


async def _items(count: int) -> AsyncIterator[Item]:
    for number in range(count):
        yield Item(number)
