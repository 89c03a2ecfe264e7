"""A method of a service's instance with everything round it, the same behind every wire.

    endpoint = Endpoint(orders, contract, method, Conditions(roles=roles))
    response = await endpoint.call(request, call)           # a stream is an async iterator, either way

From the outside in: guard, idempotency key or cache, middleware, deadline, the method. A middleware is

    async def timed(invocation: Invocation, following: Following) -> Any:
        try:
            return await following(invocation)
        finally:
            ...

and gets what the method returns: a response, or the iterator of a stream. What an endpoint raises is a fault, or a
defect that the wire logs and hides; time that runs out is DeadlineExceeded (`method_timeout`).

Each call runs in a task of its own, in which `current_context` finds it, also while its stream is read. Whoever reads
a stream closes it (`aclose`), which closes the method's generator.
"""

import asyncio
import hashlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import DeadlineExceeded, Fault, InvalidArgument
from headgate.service.context import CONTEXT, Context
from headgate.service.contract import Contract
from headgate.service.faults import detailed
from headgate.service.guard import Guard, Roles, check
from headgate.service.method import Method
from headgate.service.service import Service
from headgate.service.types import enc_hook

IDEMPOTENCY_KEY: Final = b"idempotency-key"
LONGEST_KEY: Final = 255

_TIMED: Final = "method_timeout"
"""Under this name a call keeps whether its deadline is that of the method."""
_MARGIN_SECONDS: Final = 0.02
_MARGIN_SHARE: Final = 0.1


@dataclass(slots=True)
class Invocation:
    """One call on its way to a method. Middleware may replace `request`."""

    method: Method
    request: Any
    context: Context


Following = Callable[[Invocation], Awaitable[Any]]
Middleware = Callable[[Invocation, Following], Awaitable[Any]]


class Memo(Protocol):
    """Remembers what a call returned: `headgate.service.remember` has one over the kit's cache."""

    async def run(self, key: tuple[str, ...], ttl: float, kind: Any, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` returned for this key within the last `ttl` seconds, or returns now. Errors are not kept."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an application gives all its endpoints.

    `memo` keeps answers of methods with `cache`; `outcomes` those of calls with a key, `keys_kept` seconds long.
    """

    roles: Roles = field(default_factory=Roles)
    middleware: Sequence[Middleware] = ()
    named: Mapping[str, Middleware] = field(default_factory=dict)
    memo: Memo | None = None
    outcomes: Memo | None = None
    keys_kept: float = 86_400.0


class Endpoint:
    """See the module. Raises InvalidArgument for a method without a guard, or with middleware nobody knows."""

    __slots__ = ("_bind", "_conditions", "_guard", "_outcome", "_plain", "_run", "method", "path", "service")

    def __init__(self, service: Service, contract: Contract, method: Method, conditions: Conditions) -> None:
        if method.guard is None:
            raise InvalidArgument(
                f"{contract.title}.{method.name} says nothing about who may call it",
                code="unguarded_method",
                hint="guard=require(...) for some, guard=AUTHENTICATED for all who are known, public=True for all",
            )
        self.service = contract.name
        self.method = method
        self.path = contract.path(method)
        self._conditions = conditions
        self._guard: Guard = method.guard
        self._bind = binder(method, getattr(service, method.name))
        self._outcome = _outcome_of(method.response)
        chain = _chain(contract, method, conditions)
        run: Following = self._handle
        if any(hasattr(fault, "Details") for fault in method.faults.values()):
            run = partial(_with_details, run)
        for each in reversed(chain):
            run = _link(each, run)
        options = method.options
        self._plain = run == self._handle and not (
            method.kind.streams_out or options.timeout is not None or options.cache or options.idempotent == "key"
        )
        """Whether nothing is round the method but its guard."""
        self._run = run

    async def call(self, request: Any, call: Call) -> Any:
        """The response, or an async iterator of responses. Raises what the module says."""
        method, options = self.method, self.method.options
        context = Context(call, self.service, method.rpc)
        CONTEXT.set(context)
        if not self._guard.public:
            await check(self._guard, self._conditions.roles, context, request)
        if self._plain:
            return await self._bind(request, context)
        if options.timeout is not None:
            call.keep(_TIMED, _shorten(call, options.timeout))
        invocation = Invocation(method, request, context)
        if options.cache or options.idempotent == "key":
            return await self._remembered(invocation)
        return await self._run(invocation)

    async def _remembered(self, invocation: Invocation) -> Any:
        """The response of an earlier call that was the same, where the method says that it may be."""
        conditions, method, call = self._conditions, self.method, invocation.context.call

        async def run() -> Any:
            return await self._run(invocation)

        if method.options.cache:
            if conditions.memo is None:
                return await run()
            key = (self.path, "" if self._guard.public else call.key, _fingerprint(invocation.request))
            return await conditions.memo.run(key, method.options.cache, method.response, run)
        named = _key_of(call)
        if not named or conditions.outcomes is None:
            return await run()
        return await self._once(conditions.outcomes, invocation, (self.path, call.key, named), run)

    async def _once(
        self, memo: Memo, invocation: Invocation, key: tuple[str, ...], run: Callable[[], Awaitable[Any]]
    ) -> Any:
        """The outcome of the first call with this key, which must have asked for the same."""
        fingerprint, outcome_type = _fingerprint(invocation.request), self._outcome

        async def first() -> Any:
            return outcome_type(request=fingerprint, response=await run())

        outcome = await memo.run(key, self._conditions.keys_kept, outcome_type, first)
        if outcome.request != fingerprint:
            raise InvalidArgument(
                "this idempotency key was used for another request",
                code="idempotency_key_reused",
                hint="make a new key for each thing that is to be done once",
            )
        return outcome.response

    async def _handle(self, invocation: Invocation) -> Any:
        """Call the method itself."""
        context = invocation.context
        timed = self.method.options.timeout is not None and context.call.kept(_TIMED)
        result = self._bind(invocation.request, context)
        if not self.method.kind.streams_out:
            return await (_within(result, context.call) if timed else result)
        if inspect.isawaitable(result):
            result = await result
        return _stream_within(result, context.call) if timed else result


def _outcome_of(response: Any) -> Any:
    """The type of what is kept by key: which request it was, and what came of it."""
    return msgspec.defstruct("Outcome", [("request", str), ("response", response)], array_like=True)


def binder(method: Any, handler: Callable[..., Any]) -> Callable[[Any, Context], Any]:
    """Calls `handler` with a request (or event, or the stream of requests) and the context, as it declares them.

    `method` is a Method; of what it says only `function`, `arguments` and `context` are read.
    """
    whole, context_name = method.arguments is None, method.context
    parameters = list(inspect.signature(method.function).parameters.values())[1:]
    placed = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    named = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    if not context_name and not named:
        return _placed(handler, None if whole else placed)

    def value(name: str, request: Any, context: Context) -> Any:
        if name == context_name:
            return context
        return request if whole else getattr(request, name)

    def call(request: Any, context: Context) -> Any:
        return handler(
            *[value(name, request, context) for name in placed],
            **{name: value(name, request, context) for name in named},
        )

    return call


def _placed(handler: Callable[..., Any], names: Sequence[str] | None) -> Callable[[Any, Context], Any]:
    """The same for parameters in the order of `names`, None for the request itself; nine of ten methods are so."""
    if names is None:
        return lambda request, _context: handler(request)
    if not names:
        return lambda _request, _context: handler()
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda request, _context: handler(only(request))
    every = attrgetter(*names)
    return lambda request, _context: handler(*every(request))


async def _with_details(following: Following, invocation: Invocation) -> Any:
    """Hold the details of declared faults to their types, for callers rely on them."""
    try:
        result = await following(invocation)
    except Fault as fault:
        raise detailed(fault) from fault.__cause__
    return _stream_with_details(result) if invocation.method.kind.streams_out else result


async def _stream_with_details(responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for response in responses:
            yield response
    except Fault as fault:
        raise detailed(fault) from fault.__cause__
    finally:
        await _close(responses)


async def _close(responses: AsyncIterator[Any]) -> None:
    if (close := getattr(responses, "aclose", None)) is not None:
        await close()


def _chain(contract: Contract, method: Method, conditions: Conditions) -> list[Middleware]:
    """The middleware of application, service and method, without what the method skips."""
    listed = [*conditions.middleware, *contract.owner.declared.middleware, *method.options.middleware]
    chain = [_named(each, conditions.named, f"{contract.title}.{method.name}") for each in listed]
    names = {_name(each, conditions.named) for each in chain}
    for name in method.options.skip - names:
        raise _unknown(f"{contract.title}.{method.name} skips", name, names)
    return [each for each in chain if _name(each, conditions.named) not in method.options.skip]


def _named(each: Any, named: Mapping[str, Middleware], where: str) -> Middleware:
    if not isinstance(each, str):
        middleware: Middleware = each
        return middleware
    if each not in named:
        raise _unknown(f"{where} names", each, named)
    return named[each]


def _name(middleware: Middleware, named: Mapping[str, Middleware]) -> str:
    found = next((name for name, each in named.items() if each is middleware), "")
    return found or getattr(middleware, "__name__", type(middleware).__name__)


def _unknown(where: str, name: str, known: Any) -> InvalidArgument:
    return InvalidArgument(
        f"{where} the middleware '{name}', which there is not",
        code="unknown_middleware",
        hint=f"known here: {', '.join(sorted(known)) or 'none'}",
    )


def _link(middleware: Middleware, following: Following) -> Following:
    async def run(invocation: Invocation) -> Any:
        return await middleware(invocation, following)

    return run


def _shorten(call: Call, seconds: float) -> bool:
    """Let the call end within `seconds`. False when its caller waits no longer than that: its wire sees to it."""
    end = time.monotonic() + seconds
    if call.deadline is not None and call.deadline <= end:
        return False
    call.deadline = end
    return True


async def _within(result: Awaitable[Any], call: Call) -> Any:
    try:
        async with asyncio.timeout(_left(call)) as limit:
            return await result
    except TimeoutError as error:
        if limit.expired():
            raise _late() from error
        raise


async def _stream_within(responses: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
    try:
        while True:
            try:
                async with asyncio.timeout(_left(call)) as limit:
                    response = await anext(responses)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if limit.expired():
                    raise _late() from error
                raise
            yield response
    finally:
        await _close(responses)


def _left(call: Call) -> float | None:
    return None if call.deadline is None else ahead(call.deadline - time.monotonic())


def ahead(left: float) -> float:
    """A little less than the seconds that are left: who ends a call before its shell does says so in the right form."""
    return max(0.0, left - min(_MARGIN_SECONDS, left * _MARGIN_SHARE))


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the method took too long", code="method_timeout")


def _key_of(call: Call) -> str:
    value = call.headers.get(IDEMPOTENCY_KEY, b"").decode("latin-1")
    if len(value) > LONGEST_KEY:
        raise InvalidArgument(
            f"an idempotency key has at most {LONGEST_KEY} characters", code="invalid_idempotency_key"
        )
    return value


def _fingerprint(request: Any) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(request, enc_hook=enc_hook, order="deterministic")).hexdigest()
