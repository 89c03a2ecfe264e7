"""Rules: what goes wrong arrives as what it was."""

import asyncio
from collections.abc import AsyncIterator

from headgate.kit.controls.faults import KINDS, Fault, Internal, ResourceExhausted, Violation
from headgate.testing.service_conformance.messages import Item, OutOfStock, Undeclared
from headgate.testing.service_conformance.reference import SECRET
from headgate.testing.service_conformance.site import Site
from headgate.testing.service_conformance.suite import expect, rule, same

TEXT = 'nö \u2013 日本 % "quoted" <b>'


async def raised_by(call: object) -> Fault:
    """The fault that a call ends with."""
    try:
        answer = await call  # type: ignore[misc]
    except Fault as fault:
        return fault
    raise AssertionError(f"it was answered: {answer!r}")


@rule("reference")
async def each_kind_arrives_whole(site: Site) -> None:
    """Each of the sixteen kinds arrives as its class with message, code, hint, violations, details and retry_after."""
    async with site.client() as stub:
        for kind, wanted in KINDS.items():
            fault = await raised_by(stub.fail(kind, TEXT, 1.5))
            expect(type(fault) is wanted, f"{kind} arrives as {type(fault).__name__}: {fault}")
            same(fault.message, TEXT, f"the message of {kind}")
            same(fault.code, f"code_{kind.lower()}", f"the code of {kind}")
            same(fault.hint, f"hint {TEXT}", f"the hint of {kind}")
            violations = (Violation("/a~1b/0", f"wrong {TEXT}", "write it right"), Violation("", "all of it"))
            same(fault.violations, violations, f"violations of {kind}")
            same(fault.details, {"text": TEXT, "deep": {"list": [1, 2.5, None, True]}}, f"details of {kind}")
            same(fault.retry_after, 1.5, f"retry_after of {kind}")
            expect(SECRET not in repr(vars(fault)), f"{kind} tells what is for the log alone")


@rule("reference")
async def declared_faults_arrive_as_their_class(site: Site) -> None:
    """A fault that a method declares arrives as that class, with its details; one it does not as the class above."""
    async with site.client() as stub:
        fault = await raised_by(stub.fail(OutOfStock.default_code, TEXT))
        expect(type(fault) is OutOfStock, f"{type(fault).__name__}: {fault}")
        same(fault.details, {"left": 2, "places": [TEXT]}, "its details")
        same((fault.message, fault.code, fault.hint), (TEXT, "out_of_stock", f"hint {TEXT}"))
        fault = await raised_by(stub.fail(Undeclared.default_code, TEXT))
        expect(type(fault) is ResourceExhausted, type(fault).__name__)
        same((fault.code, fault.details), ("undeclared", {"a": [1, None, {"b": TEXT}]}))


@rule("reference")
async def defects_tell_nothing(site: Site) -> None:
    """What is no fault arrives as Internal, without a word of it, whether in a call, a stream or an answer."""
    async with site.client() as stub:
        faults = [await raised_by(stub.defect()), await raised_by(stub.lie())]
        seen = []
        try:
            async for item in stub.defective_stream(2):
                seen.append(item.number)  # noqa: PERF401 - what came before a fault counts
        except Fault as fault:
            faults.append(fault)
        same(seen, [0, 1], "what came before")
        same(len(faults), 3, "faults")
        for each in faults:
            expect(type(each) is Internal, f"{type(each).__name__}: {each}")
            told = f"{each.message} {each.hint} {each.details} {each.violations} {each.internal}"
            expect(SECRET not in told and "RuntimeError" not in told and "Traceback" not in told, told)


@rule("reference")
async def a_fault_ends_a_stream_after_what_was_sent(site: Site) -> None:
    """What a stream gave before its fault arrives, then the fault as it was raised; one before the first too."""
    async with site.client() as stub:
        for number in (0, 1, 7):
            seen = []
            try:
                async for item in stub.count(10, fail_at=number):
                    seen.append(item.number)  # noqa: PERF401 - what came before a fault counts
            except Fault as fault:
                same(
                    (fault.kind, fault.code, fault.details),
                    ("FAILED_PRECONDITION", "out_of_stock", {"left": number, "places": []}),
                )
            else:
                raise AssertionError("it ended without a fault")
            same(seen, list(range(number)), "what came before")


@rule("reference")
async def an_early_fault_ends_what_is_sent(site: Site) -> None:
    """A fault before all of a stream was sent reaches who sends it, and the sender is closed."""
    closed = asyncio.Event()

    async def items() -> AsyncIterator[Item]:
        try:
            for number in range(2_000):
                yield Item(number)
        finally:
            closed.set()

    async with site.client() as stub:
        fault = await raised_by(stub.refuse(items()))
        expect(type(fault) is OutOfStock, f"{type(fault).__name__}: {fault}")
        await closed.wait()
