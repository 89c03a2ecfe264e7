"""What stands round a method, in which order, and what becomes of its streams."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headgate.kit.controls.faults import DeadlineExceeded, Fault, InvalidArgument, PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal
from headgate.service import AUTHENTICATED, Context, Service, Struct, current_context, require, rpc
from headgate.service.host import host
from headgate.service.invoke import LONGEST_KEY, Conditions, Endpoint, Following, Invocation
from tests.service.shop import NewOrder, Order, Orders, OutOfStock


def endpoint_of(function: Any, conditions: Conditions | None = None, **options: Any) -> Endpoint:
    """The endpoint of a service with this one function."""
    options.setdefault("public", "guard" not in options)
    made = type("One", (Service,), {"one": rpc(**options)(function)})
    return host([made()], conditions)[0].endpoints["One"]


class Kept:
    """A memo in a dict, through the codec of the type."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, ...], bytes] = {}
        self.asked: list[float] = []

    async def run(self, key: tuple[str, ...], ttl: float, kind: Any, make: Any) -> Any:
        """See Memo."""
        self.asked.append(ttl)
        if key not in self.kept:
            self.kept[key] = msgspec.json.encode(await make())
        return msgspec.json.decode(self.kept[key], type=kind)


def counting() -> tuple[list[Any], Any]:
    """Calls so far, and a method that counts them."""
    calls: list[Any] = []

    async def one(self: Any, number: int = 0) -> int:
        calls.append(number)
        return len(calls)

    return calls, one


async def test_a_method_is_called_with_its_request(call):
    """Fields become arguments, a record is the argument, the context is the call's."""
    (hosted,) = host([Orders()])
    get, place = hosted.endpoints["Get"], hosted.endpoints["Place"]
    assert await get.call(get.method.request(key="7", verbose=True), call()) == Order("7", "long")
    assert await place.call(NewOrder("tea", 2), call(Principal("ada"))) == Order("ada", "tea", 2)


async def test_parameters_of_every_form_are_given_their_values(call):
    """The context may stand anywhere, and parameters may be keyword-only or positional-only."""

    async def first(self: Any, context: Context, a: int, /, b: int, *, c: int = 3) -> list[int]:
        assert isinstance(context, Context)
        return [a, b, c]

    async def record(self: Any, context: Context, *, order: NewOrder) -> str:
        return f"{order.sku} {type(context).__name__}"

    endpoint = endpoint_of(first)
    assert await endpoint.call(endpoint.method.request(a=1, b=2), call()) == [1, 2, 3]
    assert await endpoint_of(record).call(NewOrder("tea"), call()) == "tea Context"


async def test_streams_go_both_ways(call):
    """Streams of requests and of responses are async iterators."""
    (hosted,) = host([Orders()])

    async def said() -> AsyncIterator[NewOrder]:
        yield NewOrder("tea", 2)
        yield NewOrder("salt", 3)

    assert await hosted.endpoints["Upload"].call(said(), call()) == 5
    answers = await hosted.endpoints["Chat"].call(said(), call())
    assert [each.sku async for each in answers] == ["tea", "salt"]
    track = hosted.endpoints["Track"]
    assert [each.quantity async for each in await track.call(track.method.request(key="7"), call())] == [0, 1, 2]


@pytest.mark.parametrize("timeout", [None, 30])
async def test_the_context_is_known_while_a_stream_is_read(call, timeout):
    """`current_context` finds the call in the method's body, also between two responses."""

    async def one(self: Any) -> AsyncIterator[str]:
        yield current_context().principal.id
        yield current_context().method

    answers = await endpoint_of(one, timeout=timeout).call(None, call(Principal("ada")))
    assert [each async for each in answers] == ["ada", "One"]


async def test_calls_at_the_same_time_have_contexts_of_their_own(call):
    """Each call's task sees its own call only, and there is none outside."""

    async def one(self: Any) -> str:
        await asyncio.sleep(0)
        return current_context().principal.id

    endpoint = endpoint_of(one)
    tasks = [asyncio.create_task(endpoint.call(None, call(Principal(name)))) for name in "abc"]
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    with pytest.raises(LookupError):
        current_context()


async def _passing(invocation, following):
    return await following(invocation)


async def _doubling(responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for each in responses:
            yield each
    finally:
        await responses.aclose()


async def _wrapping(invocation, following):
    return _doubling(await following(invocation))


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("middleware", [(), (_passing,), (_wrapping,)])
@pytest.mark.parametrize("raises", [(), (OutOfStock,)])
async def test_a_stream_that_is_closed_closes_its_method(call, timeout, middleware, raises):
    """Closing what an endpoint returned runs the method's `finally`, whatever stands between."""
    closed = []

    async def one(self: Any) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    answers = await endpoint_of(one, timeout=timeout, middleware=middleware, raises=raises).call(None, call())
    assert await anext(answers) == 1
    await answers.aclose()
    assert closed == [True]


async def test_a_stream_that_is_cancelled_closes_its_method(call):
    """Cancelling who reads a stream ends the method where it waits."""
    closed = asyncio.Event()

    async def one(self: Any) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    first = asyncio.Event()

    async def read() -> None:
        async for _ in await endpoint_of(one, timeout=60).call(None, call()):
            first.set()

    reading = asyncio.create_task(read())
    await first.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await asyncio.wait_for(closed.wait(), 5)


async def test_guards_come_before_everything(call):
    """Neither middleware nor memo see a call that the guard refuses."""
    seen = []

    async def watch(invocation, following):
        seen.append(invocation)
        return await following(invocation)

    _, one = counting()
    kept = Kept()
    endpoint = endpoint_of(one, Conditions(middleware=[watch], memo=kept), guard=require(scopes={"a:b"}), cache=5)
    with pytest.raises(Unauthenticated):
        await endpoint.call(endpoint.method.request(), call())
    with pytest.raises(PermissionDenied):
        await endpoint.call(endpoint.method.request(), call(Principal("ada")))
    assert seen == []
    assert kept.kept == {}


def named(name: str, said: list[str]) -> Any:
    """A middleware that says when it was called."""

    async def middleware(invocation, following):
        said.append(name)
        return await following(invocation)

    middleware.__name__ = name
    return middleware


async def test_middleware_runs_from_the_application_inwards(call):
    """Order: the application's, those of the service's base, the service's, the method's; some may be left out."""
    said: list[str] = []

    class Base(Service, name="base", public=True, middleware=[named("base", said)]): ...

    class One(Base, middleware=["timed", named("own", said)]):
        @rpc(middleware=[named("method", said)])
        async def one(self) -> None: ...

        @rpc(skip={"timed", "app"})
        async def two(self) -> None: ...

    conditions = Conditions(middleware=[named("app", said)], named={"timed": named("anything", said)})
    endpoints = host([One()], conditions)[0].endpoints
    await endpoints["One"].call(None, call())
    assert said == ["app", "base", "anything", "own", "method"]
    said.clear()
    await endpoints["Two"].call(None, call())
    assert said == ["base", "own"]


async def test_middleware_may_replace_request_and_answer(call):
    """What middleware puts in the invocation is what the method gets, and what it returns is the answer."""

    async def change(invocation, following):
        invocation.request = NewOrder(invocation.request.sku + "!", 9)
        return (await following(invocation)).sku

    async def one(self: Any, order: NewOrder) -> NewOrder:
        return order

    assert await endpoint_of(one, middleware=[change]).call(NewOrder("tea"), call()) == "tea!"


@pytest.mark.parametrize("options", [{"middleware": ["unheard"]}, {"skip": ["unheard"]}])
def test_unknown_middleware_stops_the_start(options):
    """A name nobody knows, in a chain or left out of it, is refused before the first call."""
    _, one = counting()
    with pytest.raises(InvalidArgument) as raised:
        endpoint_of(one, **options)
    assert raised.value.code == "unknown_middleware"


def test_a_method_without_a_guard_stops_the_start():
    """A method that does not say who may call it cannot be served."""
    _, one = counting()
    with pytest.raises(InvalidArgument) as raised:
        endpoint_of(one, public=False)
    assert raised.value.code == "unguarded_method"


async def test_a_method_that_takes_too_long_is_ended(call):
    """`timeout` ends a method, and the fault says so."""

    async def one(self: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as raised:
        await endpoint_of(one, timeout=0.01).call(None, call())
    assert raised.value.code == "method_timeout"


async def test_a_methods_time_is_up_before_its_deadline(call):
    """Whoever keeps the deadline round a method finds that it has ended: its fault is told and not theirs."""

    async def one(self: Any) -> None:
        await asyncio.Event().wait()

    async def shell(invocation: Invocation, following: Following) -> Any:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + (invocation.context.remaining or 0.0)):
            return await following(invocation)

    made = call()
    with pytest.raises(DeadlineExceeded) as raised:
        await endpoint_of(one, timeout=0.2, middleware=[shell]).call(None, made)
    assert raised.value.code == "method_timeout"


async def test_an_earlier_deadline_is_kept_by_its_wire(call):
    """Where the caller waits no longer than the method may take, it is not the method that took too long."""

    async def one(self: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await endpoint_of(one, timeout=60).call(None, call(deadline=0.01))


async def test_a_stream_that_takes_too_long_is_ended(call):
    """`timeout` is for the whole stream."""

    async def one(self: Any) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    answers = await endpoint_of(one, timeout=0.01).call(None, call())
    with pytest.raises(DeadlineExceeded):
        [each async for each in answers]


async def test_a_timeout_of_the_methods_own_stays_one(call):
    """TimeoutError that a method raises is a defect of its own, not the call's deadline."""

    async def one(self: Any) -> None:
        raise TimeoutError

    async def other(self: Any) -> AsyncIterator[int]:
        yield 1
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await endpoint_of(one, timeout=60).call(None, call())
    with pytest.raises(TimeoutError):
        [each async for each in await endpoint_of(other, timeout=60).call(None, call())]


async def test_a_timeout_shortens_the_deadline_and_never_lengthens_it(call):
    """What a method calls in turn sees the earlier of its own and its caller's end."""

    async def one(self: Any, context: Context) -> float:
        return context.remaining or 0.0

    assert 1 < await endpoint_of(one, timeout=5).call(None, call()) <= 5
    assert 0 < await endpoint_of(one, timeout=50).call(None, call(deadline=2)) <= 2


async def test_cached_answers_are_kept_apart(call):
    """Answers are kept by request, and by principal unless the method is public."""
    calls, one = counting()
    conditions = Conditions(memo=Kept())
    endpoint = endpoint_of(one, conditions, guard=AUTHENTICATED, cache=5)
    ask = endpoint.method.request
    for name, number in (("ada", 1), ("ada", 1), ("bob", 1), ("ada", 2)):
        await endpoint.call(ask(number=number), call(Principal(name)))
    assert calls == [1, 1, 2]
    calls.clear()
    open_to_all = endpoint_of(one, Conditions(memo=Kept()), cache=5)
    for name in ("ada", "bob"):
        await open_to_all.call(ask(number=1), call(Principal(name)))
    assert calls == [1]


async def test_a_key_is_done_once(call):
    """Calls with the same idempotency key have one outcome, each principal's own; without a key each is done."""
    _, one = counting()
    kept = Kept()
    endpoint = endpoint_of(one, Conditions(outcomes=kept, keys_kept=77), guard=AUTHENTICATED, idempotent="key")
    ask = endpoint.method.request

    async def once(name: str, key: bytes | None) -> Any:
        headers = ((b"idempotency-key", key),) if key else ()
        return await endpoint.call(ask(number=1), call(Principal(name), headers))

    assert [await once("ada", b"k"), await once("ada", b"k"), await once("bob", b"k")] == [1, 1, 2]
    assert [await once("ada", None), await once("ada", None)] == [3, 4]
    assert set(kept.asked) == {77}


async def test_a_key_is_for_one_request(call):
    """A key that comes with another request is refused, as is one that is too long."""
    _, one = counting()
    endpoint = endpoint_of(one, Conditions(outcomes=Kept()), idempotent="key")
    ask = endpoint.method.request
    await endpoint.call(ask(number=1), call(headers=((b"idempotency-key", b"k"),)))
    with pytest.raises(InvalidArgument) as raised:
        await endpoint.call(ask(number=2), call(headers=((b"idempotency-key", b"k"),)))
    assert raised.value.code == "idempotency_key_reused"
    with pytest.raises(InvalidArgument) as raised:
        await endpoint.call(ask(number=2), call(headers=((b"idempotency-key", b"k" * (LONGEST_KEY + 1)),)))
    assert raised.value.code == "invalid_idempotency_key"


async def test_details_of_declared_faults_are_held_to_their_type(call):
    """A method that raises a fault with other details than it declares has a defect."""
    (hosted,) = host([Orders()])
    get = hosted.endpoints["Get"]
    with pytest.raises(OutOfStock):
        await get.call(get.method.request(key="none"), call())
    with pytest.raises(TypeError, match="OutOfStock"):
        await get.call(get.method.request(key="odd"), call())


async def test_details_within_streams_are_held_to_their_type(call):
    """The same goes for what is raised in the middle of a stream."""

    async def one(self: Any) -> AsyncIterator[int]:
        yield 1
        raise OutOfStock("x", details={"left": None})

    answers = await endpoint_of(one, raises=[OutOfStock]).call(None, call())
    with pytest.raises(TypeError):
        [each async for each in answers]


async def test_faults_pass_unchanged(call):
    """What a method raises is what its caller gets, the same object."""

    class Told(Struct):
        text: str

    fault = Fault("x")

    async def one(self: Any, told: Told) -> None:
        raise fault

    with pytest.raises(Fault) as raised:
        await endpoint_of(one, raises=[OutOfStock], middleware=[_passing]).call(Told("x"), call())
    assert raised.value is fault
