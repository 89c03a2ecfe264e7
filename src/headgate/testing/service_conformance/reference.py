"""The reference service: every kind of exchange, guard and option, and a journal in which it notes what befell it.

    app = App(Reference(), Relay(), settings=settings, authenticators=[Names()], roles=ROLES)

`Relay` calls `Reference`, so that what crosses one hop is seen to cross two. Who calls is said by the header
`x-conformance-principal`, which proves nothing: neither belongs where others can reach it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from headgate.kit.controls.faults import KINDS, Violation
from headgate.service.broker import Broker
from headgate.service.client import Client
from headgate.service.context import Context, current_context
from headgate.service.guard import AUTHENTICATED, require
from headgate.service.invoke import Following, Invocation
from headgate.service.service import Service, on, rpc
from headgate.testing.service_conformance.journal import Journal
from headgate.testing.service_conformance.messages import (
    HAPPENED,
    SHARED,
    TROUBLED,
    Circle,
    Everything,
    Happening,
    Household,
    Item,
    OutOfStock,
    Person,
    Seen,
    Square,
    Strict,
    Total,
    Undeclared,
)
from headgate.testing.service_conformance.people import owns_it

SECRET: Final = "hunter2-must-not-leak"  # noqa: S105 - what must not be told, and opens nothing


async def stamped(invocation: Invocation, following: Following) -> Any:
    """Middleware: what it lets through carries a stamp."""
    return f"{await following(invocation)}, stamped"


class Reference(Service, name="reference", version="1.0.0", public=True):
    """Does what the rules ask about."""

    broker: Broker

    def __init__(self, **dependencies: Any) -> None:
        super().__init__(**dependencies)
        self._journal = Journal()

    def noted(self, line: str) -> list[str]:
        """The keys under which a line was noted, as often as it was; for who is in the same process."""
        return self._journal.count(line)

    @rpc
    async def journal(self, key: str, awaited: str = "") -> list[str]:
        """What was noted under a key, once `awaited` is among it."""
        if awaited:
            await self._journal.has(key, awaited)
        return self._journal.read(key)

    @rpc
    async def note(self, key: str, line: str) -> None:
        """Note a line."""
        self._journal.note(key, line)

    @rpc
    async def echo(self, thing: Everything) -> Everything:
        """The same."""
        return thing

    @rpc
    async def introduce(self, person: Person) -> Person:
        """The same, of pydantic."""
        return person

    @rpc
    async def house(self, household: Household) -> Household:
        """The same, of both."""
        return household

    @rpc
    async def say(self, text: str) -> str:
        """The same text."""
        return text

    @rpc
    async def bytes(self, raw: bytes) -> bytes:
        """The same bytes."""
        return raw

    @rpc
    async def big(self, size: int) -> str:
        """As much text as is asked for."""
        return "x" * size

    @rpc
    async def area(self, shape: Circle | Square, scale: float = 1.0) -> float | None:
        """A number, or nothing."""
        return shape.side**2 * scale if isinstance(shape, Square) else None

    @rpc
    async def nothing(self) -> None:
        """Neither asks nor answers."""

    @rpc
    async def optional(self, left: int | None = 3, *, right: int = 4) -> list[int | None]:
        """What came, and what stood in for what did not."""
        return [left, right]

    @rpc(raises=[OutOfStock])
    async def fail(self, kind: str, text: str, after: float | None = None) -> None:
        """Raise a fault with all that it can have."""
        if kind == OutOfStock.default_code:
            raise OutOfStock(text, hint=f"hint {text}", details={"left": 2, "places": [text]})
        if kind == Undeclared.default_code:
            raise Undeclared(text, details={"a": [1, None, {"b": text}]}, internal=SECRET)
        raise KINDS[kind](
            text,
            code=f"code_{kind.lower()}",
            hint=f"hint {text}",
            violations=[Violation("/a~1b/0", f"wrong {text}", "write it right"), Violation("", "all of it")],
            retry_after=after,
            details={"text": text, "deep": {"list": [1, 2.5, None, True]}},
            internal=SECRET,
        )

    @rpc
    async def defect(self) -> str:
        """Raise what is no fault."""
        raise RuntimeError(SECRET)

    @rpc
    async def defective_stream(self, after: int) -> AsyncIterator[Item]:
        """Raise what is no fault, in a stream."""
        for number in range(after):
            yield Item(number)
        raise RuntimeError(SECRET)

    @rpc
    async def lie(self) -> int:
        """Answer what the contract does not say."""
        answer: Any = object()
        return answer  # type: ignore[no-any-return]

    @rpc(get="/reference/strict/{sku}")
    async def found(self, sku: str, limit: int = 10, tags: list[str] = [], colour: str | None = None) -> list[str]:  # noqa: B006
        """What came by path and query."""
        return [sku, str(limit), *tags, colour or "-"]

    @rpc(get="/reference/files/{rest:path}")
    async def file(self, rest: str) -> str:
        """All that follows in the path."""
        return rest

    @rpc(put="/reference/strict/{sku}", status=202)
    async def replace(self, sku: str, strict: Strict) -> Strict:
        """What came by path and body."""
        strict.sku = sku
        return strict

    @rpc
    async def check(self, strict: Strict) -> Strict:
        """The same, when it is right."""
        return strict

    @rpc
    async def seen(self, header: str = "") -> Seen:
        """What the handler sees."""
        return seen_now(header)

    @rpc
    async def slow(self, key: str, seconds: float = 60.0) -> str:
        """Take a while, or until it is cancelled."""
        self._journal.note(key, "began")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._journal.note(key, "cancelled")
            raise
        self._journal.note(key, "ended")
        return "ended"

    @rpc(timeout=0.05)
    async def limited(self) -> None:
        """Take longer than the method may."""
        await asyncio.sleep(60)

    @rpc(raises=[OutOfStock])
    async def count(
        self, to: int, key: str = "", size: int = 0, fail_at: int = -1, wait_at: int = -1
    ) -> AsyncIterator[Item]:
        """Numbers from 0; notes how far it came and that it was closed."""
        number, text = 0, "ö" * size
        try:
            while number < to:
                if number == fail_at:
                    raise OutOfStock(f"no {number}", details={"left": number})
                if number == wait_at:
                    await asyncio.sleep(60)
                yield Item(number, text)
                number += 1
        finally:
            if key:
                self._journal.note(key, f"produced {number}")
                self._journal.note(key, "closed")

    @rpc
    async def total(self, items: AsyncIterator[Item]) -> Total:
        """How many came, and their sum."""
        count = total = 0
        async for item in items:
            count, total = count + 1, total + item.number
        return Total(count, total)

    @rpc
    async def idle(self, items: AsyncIterator[Item]) -> None:
        """Read one, and then no more; notes under its text how that goes."""
        async for item in items:
            await self.slow(item.text)

    @rpc
    async def first(self, items: AsyncIterator[Item]) -> Item:
        """The first that came, without waiting for more."""
        async for item in items:
            return item
        return Item(-1)

    @rpc(raises=[OutOfStock])
    async def refuse(self, items: AsyncIterator[Item]) -> Total:
        """A fault after the first that came."""
        async for item in items:
            raise OutOfStock("enough", details={"left": item.number})
        return Total(0, 0)

    @rpc
    async def chat(self, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Each at once, doubled."""
        async for item in items:
            yield Item(item.number * 2, item.text)

    @rpc
    async def greet(self, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Speaks first, and closes when it has heard enough."""
        yield Item(-1, "hello")
        async for item in items:
            yield item
            if item.number == 2:
                return

    @rpc(idempotent="key")
    async def once(self, key: str, text: str = "") -> str:
        """Done once for each key."""
        self._journal.note(key, "done")
        await asyncio.sleep(0.02)
        return f"{text} {len(self._journal.read(key))}"

    @rpc(cache=60)
    async def remembered(self, key: str) -> int:
        """How often it ran for a key."""
        self._journal.note(key, "ran")
        return len(self._journal.read(key))

    @rpc(middleware=[stamped])
    async def stamp(self, text: str) -> str:
        """The text, as middleware leaves it."""
        return text

    @rpc(deprecated=True)
    async def old(self) -> str:
        """Still answers."""
        return "old"

    @rpc(guard=AUTHENTICATED)
    async def known(self) -> str:
        """For all who are known."""
        return current_context().principal.id

    @rpc(guard=require(roles={"clerk"}))
    async def clerks(self) -> str:
        """For clerks, and who stands on them."""
        return "clerks"

    @rpc(guard=require(scopes={"stock:read"}))
    async def stock(self) -> str:
        """For a scope."""
        return "stock"

    @rpc(guard=require(permissions={"orders:refund:eu"}))
    async def refund(self) -> str:
        """For a permission."""
        return "refund"

    @rpc(guard=require(when=owns_it))
    async def mine(self, owner: str) -> str:
        """For who owns it."""
        return owner

    @rpc(guard=require(roles={"clerk"}))
    async def guarded_stream(self, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """For clerks too."""
        async for item in items:
            yield item

    @rpc
    async def publish(self, happening: Happening, subject: str = "", event_key: str = "") -> None:
        """Say that something happened."""
        await self.broker.publish(subject or HAPPENED.subject, happening, key=event_key or None)

    @on(HAPPENED)
    async def happened(self, event: Happening, context: Context) -> None:
        """Hear of it."""
        self._journal.note(event.key, f"happened {event.text}")
        self._journal.note(event.key, f"trace {context.trace.trace_id if context.trace else ''}")

    @on(SHARED, group="conformance")
    async def shared_once(self, event: Happening) -> None:
        """One of a group."""
        self._journal.note(event.key, "shared")

    @on(SHARED, group="conformance")
    async def shared_again(self, event: Happening) -> None:
        """The other one."""
        self._journal.note(event.key, "shared")

    @on("conformance.*.wild")
    async def wild(self, event: Happening) -> None:
        """A pattern."""
        self._journal.note(event.key, f"wild {event.text}")

    @on(TROUBLED, group="troubled", retries=2, backoff=0.01, dead_letter=True)
    async def troubled(self, event: Happening) -> None:
        """Fail as often as it is told to."""
        self._journal.note(event.key, "tried")
        if self._journal.read(event.key).count("tried") <= event.failures:
            raise RuntimeError(SECRET)
        self._journal.note(event.key, "handled")

    @on(f"{TROUBLED.subject}.dead")
    async def buried(self, event: Happening) -> None:
        """Hear of what failed for good."""
        self._journal.note(event.key, "dead")


class Relay(Service, name="relay", version="1.0.0", public=True):
    """Hands calls on to the reference service."""

    reference: Client[Reference]

    @rpc
    async def seen(self, header: str = "") -> list[Seen]:
        """What both handlers see."""
        return [seen_now(header), await self.reference.stub.seen(header)]

    @rpc
    async def slow(self, key: str) -> str:
        """Wait for the other one."""
        return await self.reference.stub.slow(key)

    @rpc(raises=[OutOfStock])
    async def fail(self, kind: str, text: str) -> None:
        """Fail as the other one does."""
        await self.reference.stub.fail(kind, text)

    @rpc
    async def count(self, to: int, key: str, wait_at: int = -1) -> AsyncIterator[Item]:
        """Hand on a stream."""
        async with self.reference.stub.count(to, key, wait_at=wait_at) as items:  # type: ignore[attr-defined]
            async for item in items:
                yield item


def seen_now(header: str = "") -> Seen:
    """What there is to see of the call being served."""
    context = current_context()
    trace = context.trace.trace_id if context.trace else ""
    return Seen(
        context.method,
        context.wire,
        context.request_id,
        trace,
        context.principal.id,
        context.remaining,
        context.header(header) if header else "",
    )
