"""Rules: what is sent arrives as it was."""

import asyncio
from dataclasses import replace
from datetime import date

from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.testing.service_conformance.messages import (
    EVERYTHING,
    Address,
    Circle,
    Everything,
    Household,
    Line,
    Person,
    Square,
    Strict,
)
from headgate.testing.service_conformance.site import LIMIT, STEADY, UNCHECKED, Site
from headgate.testing.service_conformance.suite import expect, rule, same

ADA = Person(name="Zoë 日本", born=date(1815, 12, 10), addresses=[Address(street="ß/~", number=1)])
TEXTS = (
    "", "é", "e\u0301", "日本語", "🙂\U0001f469\u200d\U0001f467", "\x00\x1f\x7f\x85\u2028", "\ufeffx",
    "'\"\\</script>", "null",
)  # fmt: skip
UNLIMITED = ("local",)
"""Wires without a limit."""


@rule("reference")
async def every_type_comes_back(site: Site) -> None:
    """A value of every type comes back as it was, field by field."""
    async with site.client() as stub:
        back = await stub.echo(EVERYTHING)
    for name in Everything.__struct_fields__:
        same(getattr(back, name), getattr(EVERYTHING, name), name)
        expect(type(getattr(back, name)) is type(getattr(EVERYTHING, name)), f"{name} is of another type")


@rule("reference")
async def models_of_pydantic_come_back(site: Site) -> None:
    """Models of pydantic come back as they were, alone and within other types."""
    async with site.client() as stub:
        same(await stub.introduce(ADA), ADA)
        same(await stub.house(Household(ADA, [ADA])), Household(ADA, [ADA]))


@rule("reference")
async def parameters_have_their_defaults(site: Site) -> None:
    """Arguments by position, by name and left out mean the same as they do in Python."""
    async with site.client() as stub:
        same(await stub.optional(), [3, 4])
        same(await stub.optional(None, right=0), [None, 0])
        await stub.nothing()
        same(await stub.area(Square(2.0)), 4.0)
        same(await stub.area(shape=Circle(2.0), scale=2.0), None)
        same(await stub.old(), "old")


@rule("reference")
async def text_is_any_text(site: Site) -> None:
    """Text of any script comes back, empty text and control characters too."""
    async with site.client() as stub:
        for text in (
            "",
            "é",
            "e\u0301",
            "日本語",
            "🙂👩‍👩‍👧",
            "\x00\x1f\x7f\x85\u2028",
            "\ufeffx",
            "'\"\\</script>",
            "null",
        ):
            same(await stub.say(text), text)


@rule("reference")
async def bytes_are_any_bytes(site: Site) -> None:
    """Bytes of any value come back."""
    async with site.client() as stub:
        for raw in (b"", bytes(range(256)) * 4, b"\xff\xfe"):
            same(await stub.bytes(raw), raw)


@rule("reference")
async def all_that_is_wrong_is_told(site: Site) -> None:
    """Everything that is wrong with a request is told at once, each by its JSON pointer."""
    async with site.client(policy=UNCHECKED) as stub:
        try:
            await stub.check(Strict("a", 101, [Line("ok"), Line("")]))
        except InvalidArgument as fault:
            same({each.pointer for each in fault.violations}, {"/sku", "/quantity", "/lines/1/name"})
            expect(all(each.message for each in fault.violations), "a violation says nothing")
            return
    raise AssertionError("it was taken")


@rule("reference")
async def pydantic_says_what_is_wrong(site: Site) -> None:
    """What a model of pydantic refuses is told by its JSON pointers."""
    bad = Person.model_construct(name="", addresses=[Address.model_construct(street="x", number=0)])
    async with site.client(policy=UNCHECKED) as stub:
        try:
            await stub.introduce(bad)
        except InvalidArgument as fault:
            same({each.pointer for each in fault.violations}, {"/name", "/addresses/0/number"})
            return
    raise AssertionError("it was taken")


@rule("reference")
async def wrong_arguments_are_not_sent(site: Site) -> None:
    """What a client can see to be wrong is refused before it is sent, in the same words."""
    before = len(site.watch.calls)
    async with site.client() as stub:
        try:
            await stub.check(Strict("a", 0))
        except InvalidArgument as fault:
            same({each.pointer for each in fault.violations}, {"/sku", "/quantity"})
        else:
            raise AssertionError("it was taken")
    same(len([each for each in site.watch.calls[before:] if each.route.endswith("/Check")]), 0, "calls")


@rule("reference")
async def large_messages_pass(site: Site) -> None:
    """A message just within the limit comes and goes whole."""
    text = "ö" * (LIMIT // 2 - 1_000)
    async with site.client() as stub:
        same(len(await stub.say(text)), len(text))
        raw = b"\x00" * (LIMIT // 2)
        same(await stub.bytes(raw), raw)


@rule("reference", without=UNLIMITED)
async def too_large_messages_are_refused(site: Site) -> None:
    """A message beyond the limit is a fault with a code and not a broken connection, and other calls are not hurt."""
    async with site.client() as stub:
        slow = asyncio.create_task(stub.slow("large", 0.3))
        try:
            await stub.say("x" * (LIMIT + LIMIT // 2))
        except Fault as fault:
            expect(
                fault.kind in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "OUT_OF_RANGE"),
                f"it is {fault.kind} {fault.code}: {fault.message}",
            )
        else:
            raise AssertionError("it was taken")
        finally:
            same(await slow, "ended")
        same(await stub.say("after"), "after")


@rule("reference", without=UNLIMITED)
async def too_large_answers_are_refused(site: Site) -> None:
    """An answer beyond what the client takes is a fault, and the next call is answered."""
    async with site.client(policy=replace(STEADY, max_message=64 * 1024)) as stub:
        try:
            await stub.big(100 * 1024)
        except Fault as fault:
            expect(
                fault.kind in ("RESOURCE_EXHAUSTED", "INTERNAL", "OUT_OF_RANGE"),
                f"it is {fault.kind} {fault.code}: {fault.message}",
            )
        else:
            raise AssertionError("it was taken")
        same(await stub.say("after"), "after")
