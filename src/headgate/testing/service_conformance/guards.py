"""Rules: who may call, the same on every wire."""

from collections.abc import AsyncIterator
from typing import Any

from headgate.kit.controls.faults import Fault
from headgate.testing.service_conformance.messages import Item
from headgate.testing.service_conformance.reference import Reference
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import rule, same

CALLS: dict[str, tuple[Any, ...]] = {"known": (), "clerks": (), "stock": (), "refund": (), "mine": ("bob",)}
YES, DENIED = "yes", "PERMISSION_DENIED"
ALLOWED: dict[str, dict[str, str]] = {
    "": dict.fromkeys(CALLS, "UNAUTHENTICATED no_credentials"),
    "ada": {"known": YES, "clerks": YES, "stock": YES, "refund": YES, "mine": f"{DENIED} policy_denied"},
    "bob": {
        "known": YES,
        "clerks": YES,
        "stock": f"{DENIED} missing_scope",
        "refund": f"{DENIED} missing_permission",
        "mine": YES,
    },
    "eve": {
        "known": YES,
        "clerks": f"{DENIED} missing_role",
        "stock": f"{DENIED} missing_scope",
        "refund": f"{DENIED} missing_permission",
        "mine": f"{DENIED} policy_denied",
    },
}


@rule("reference")
async def guards_hold(site: Site) -> None:
    """Roles, scopes, permissions and policies let in whom they should, and say what is missing."""
    for who, wanted in ALLOWED.items():
        async with site.client(who=who) as stub:
            same({name: await _asked(stub, name) for name in CALLS}, wanted, f"what {who or 'a stranger'} may")
            same(await stub.say("public"), "public")


async def _asked(stub: Reference, name: str) -> str:
    try:
        await getattr(stub, name)(*CALLS[name])
    except Fault as fault:
        return f"{fault.kind} {fault.code}"
    return YES


@rule("reference")
async def guards_hold_for_streams(site: Site) -> None:
    """Streams are guarded as calls are, before anything of them is read."""
    asked: list[int] = []

    async def said() -> AsyncIterator[Item]:
        for number in range(3):
            asked.append(number)
            yield Item(number)

    async with site.client(who="eve") as stub:
        try:
            async for _ in stub.guarded_stream(said()):
                raise AssertionError("it was answered")
        except Fault as fault:
            same((fault.kind, fault.code), (DENIED, "missing_role"))
    async with site.client(who="bob") as stub:
        same([each.number async for each in stub.guarded_stream(said())], [0, 1, 2])


@rule("reference")
async def principals_reach_the_handler(site: Site) -> None:
    """The handler sees who calls, and nobody for a stranger."""
    for who in ("ada", ""):
        async with site.client(who=who) as stub:
            same((await stub.seen()).principal, who)
