"""Rules: stopping costs no call. They end the site, so each needs one of its own."""

import asyncio
from collections.abc import AsyncIterator

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.testing.service_conformance.hops import fresh
from headgate.testing.service_conformance.messages import Item, Total
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import expect, rule, same


@rule("leaving", without=["local"])
async def leaving_finishes_what_is_under_way(site: Site) -> None:
    """When serving ends, calls and streams under way finish, and what comes later is Unavailable."""
    keys, heard = [fresh() for _ in range(5)], asyncio.Event()

    async def said() -> AsyncIterator[Item]:
        yield Item(1)
        await heard.wait()
        yield Item(2)

    async with site.client() as stub:
        calls = [asyncio.ensure_future(stub.slow(key, 1.0)) for key in keys]
        uploading = asyncio.ensure_future(stub.total(said()))
        for key in keys:
            await stub.journal(key, awaited="began")
        stopping = asyncio.ensure_future(site.running.serving.stop())
        await asyncio.sleep(0.2)
        heard.set()
        same(await asyncio.gather(*calls), ["ended"] * 5)
        same(await uploading, Total(2, 3))
        await stopping
        try:
            await stub.say("late")
        except Fault as fault:
            expect(isinstance(fault, Unavailable), f"{type(fault).__name__}: {fault}")
        else:
            raise AssertionError("it was answered")


@rule("leaving", without=["local"])
async def leaving_fails_nobody(site: Site) -> None:
    """Of calls that come one after another while serving ends, each is answered or refused before it was begun."""
    done: list[str] = []
    failed: list[Fault] = []

    async def caller(number: int) -> None:
        key = f"{number}-{fresh()}"
        for _ in range(1_000):
            try:
                await stub.once(key)
            except Fault as fault:
                failed.append(fault)
                return
            done.append(key)

    async with site.client() as stub:
        callers = [asyncio.ensure_future(caller(number)) for number in range(8)]
        while len(done) < 20:  # noqa: ASYNC110 - whoever calls is under way by then
            await asyncio.sleep(0.01)
        await site.running.serving.stop()
        await asyncio.gather(*callers)
    expect(all(isinstance(each, Unavailable) for each in failed), f"{[(each.kind, each.code) for each in failed]}")
    begun = [journal for each in site.hosted for journal in _begun(each.service)]
    same(len(begun), len(done), "calls that were begun")


def _begun(service: object) -> list[str]:
    from headgate.testing.service_conformance.reference import Reference

    return service.noted("done") if isinstance(service, Reference) else []
