"""Rules: events, by any broker."""

import asyncio

from headgate.testing.service_conformance.hops import fresh
from headgate.testing.service_conformance.messages import SHARED, TROUBLED, Happening
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import rule, same


@rule("events")
async def events_arrive(site: Site) -> None:
    """What a method publishes is heard by subscriptions to its subject, whatever its text."""
    key = fresh()
    async with site.client() as stub:
        await stub.publish(Happening(key, "größer 🙂\x00"))
        await stub.journal(key, awaited="happened größer 🙂\x00")


@rule("events")
async def patterns_are_heard(site: Site) -> None:
    """A subscription to a pattern hears what it means, and nothing else."""
    key = fresh()
    async with site.client() as stub:
        await stub.publish(Happening(key, "no"), "conformance.a.b.wild")
        await stub.publish(Happening(key, "yes"), "conformance.a.wild")
        same(await stub.journal(key, awaited="wild yes"), ["wild yes"])


@rule("events")
async def one_of_a_group_hears(site: Site) -> None:
    """Of the subscriptions of a group one is handed each event."""
    keys = [fresh() for _ in range(20)]
    async with site.client() as stub:
        for key in keys:
            await stub.publish(Happening(key), SHARED.subject)
        for key in keys:
            same(await stub.journal(key, awaited="shared"), ["shared"])


@rule("events")
async def failures_are_tried_again(site: Site) -> None:
    """An event whose handling fails is handed out again until it is handled."""
    key = fresh()
    async with site.client() as stub:
        await stub.publish(Happening(key, failures=2), TROUBLED.subject)
        same(await stub.journal(key, awaited="handled"), ["tried", "tried", "tried", "handled"])


@rule("events")
async def what_fails_for_good_is_buried(site: Site) -> None:
    """An event that fails more often than it is tried becomes a dead letter, once."""
    key = fresh()
    async with site.client() as stub:
        await stub.publish(Happening(key, failures=99), TROUBLED.subject)
        same(await stub.journal(key, awaited="dead"), ["tried", "tried", "tried", "dead"])


@rule("events")
async def a_key_is_heard_once(site: Site) -> None:
    """Events with one key are handled once by each subscription."""
    key, last = fresh(), fresh()
    async with site.client() as stub:
        for _ in range(3):
            await stub.publish(Happening(key, "x"), event_key=f"k-{key}")
        await stub.publish(Happening(last, "x"))
        await stub.journal(last, awaited="happened x")
        lines = await stub.journal(key, awaited="happened x")
        same(lines.count("happened x"), 1, "how often it was heard")


@rule("events")
async def events_belong_to_the_trace(site: Site) -> None:
    """A handler of an event is in the trace of the call that published it."""
    import secrets

    key, trace = fresh(), secrets.token_hex(16)
    metadata = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    async with site.client(metadata=metadata) as stub:
        await stub.publish(Happening(key, "x"))
        await stub.journal(key, awaited=f"trace {trace}")


@rule("events")
async def many_events_arrive(site: Site) -> None:
    """A hundred events published at once are all heard."""
    keys = [fresh() for _ in range(100)]
    async with site.client() as stub:
        await asyncio.gather(*(stub.publish(Happening(key, "n")) for key in keys))
        await asyncio.gather(*(stub.journal(key, awaited="happened n") for key in keys))
