"""Rules: what is done once, what is kept, what runs round a method."""

import asyncio

from headgate.testing.service_conformance.faults import raised_by
from headgate.testing.service_conformance.hops import fresh
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import expect, rule, same


@rule("reference")
async def a_key_is_done_once(site: Site) -> None:
    """Calls with one idempotency key are done once and have one answer, one after the other and at the same time."""
    for at_once in (False, True):
        key, client = fresh(), site.client()
        stub = client.using(idempotency_key=f"key-{key}")
        try:
            calls = [stub.once(key, "ä") for _ in range(10)]
            answers = await asyncio.gather(*calls) if at_once else [await each for each in calls]
            same(answers, ["ä 1"] * 10)
            same(await client.stub.journal(key), ["done"], "the journal")
            fault = await raised_by(stub.once(key, "another"))
            same((fault.kind, fault.code), ("INVALID_ARGUMENT", "idempotency_key_reused"))
        finally:
            await client.aclose()


@rule("reference")
async def calls_without_a_shared_key_are_done_each(site: Site) -> None:
    """Each call has a key of its own unless its caller gives one; two principals' keys are two."""
    key = fresh()
    async with site.client() as stub:
        same([await stub.once(key), await stub.once(key)], [" 1", " 2"])
    answers = []
    for who in ("ada", "bob"):
        client = site.client(who=who, idempotency_key=f"shared-{key}")
        async with client as stub:
            answers.append(await stub.once(key))
    same(answers, [" 3", " 4"])


@rule("reference")
async def answers_are_kept(site: Site) -> None:
    """An answer that may be kept is made once for the same request."""
    key = fresh()
    async with site.client() as stub:
        same([await stub.remembered(key) for _ in range(3)], [1, 1, 1])
        same(await asyncio.gather(*(stub.remembered(f"{key}-2") for _ in range(20))), [1] * 20)


@rule("reference")
async def middleware_runs(site: Site) -> None:
    """Middleware of a method runs round it."""
    async with site.client() as stub:
        same(await stub.stamp("ü"), "ü, stamped")


@rule("reference")
async def calls_have_one_name(site: Site) -> None:
    """Controls and metrics know a call by the same route and outcome on every wire."""
    if site.way.wire == "local":
        return
    before = len(site.watch.calls)
    async with site.client() as stub:
        await stub.say("x")
        await raised_by(stub.fail("NOT_FOUND", "x"))
        stream = [each async for each in stub.count(3)]
    same(len(stream), 3)
    contract = site.hosted[0].contract
    wanted = [
        (f"/{contract.full_name}/{name}", code)
        for name, code in (("Say", "OK"), ("Fail", "NOT_FOUND"), ("Count", "OK"))
    ]
    async with asyncio.timeout(5):
        while len(_calls(site, before)) < len(wanted):  # noqa: ASYNC110 - a call is settled some time after its answer
            await asyncio.sleep(0.01)
    same([(each.route, each.code) for each in _calls(site, before)], wanted)
    expect(all(each.status in (200, 404) for each in _calls(site, before)), "a status")


def _calls(site: Site, before: int) -> list:  # type: ignore[type-arg]
    return [
        each for each in site.watch.calls[before:] if each.route.startswith(f"/{site.hosted[0].contract.full_name}/")
    ]


@rule("reference")
async def metrics_have_one_name(site: Site) -> None:
    """Metrics count a call under its route, whatever the wire."""
    import httpx

    if site.way.wire == "local":
        return
    async with site.client() as stub:
        await stub.say("x")
    route = f"/{site.hosted[0].contract.full_name}/Say"
    async with httpx.AsyncClient(base_url=site.running.url) as http, asyncio.timeout(5):
        while route not in (text := (await http.get("/metrics")).text):
            expect(text, "there are no metrics")
            await asyncio.sleep(0.05)
