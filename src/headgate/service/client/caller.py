"""One call from beginning to end: its time, what it takes along, its attempts, on which instances.

    caller = Caller(contract, policy, peers)
    order = await caller.unary(method, request, CallOptions(timeout=1))
    async for event in caller.stream(method, requests, options): ...

Sent again is what may be repeated, what never reached anybody, and what was refused before any of it was done (the
service says so: `refused` of a fault): to another instance, within the policy, the budget of the client and that of the
hops before, and in the call's time. A stream is never opened again once its first message came, or once one of the
caller's was taken. Hedged are only calls that may be repeated, out of the same budget.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from headgate.kit.controls.faults import DeadlineExceeded, Fault, Unavailable
from headgate.kit.controls.retry import RetryBudget, RetryPolicy, is_transient
from headgate.kit.current import current_call
from headgate.kit.resilience.retry import Retry, RetryObserver
from headgate.service.client.arguments import Requests
from headgate.service.client.errors import BadAnswer, NoInstances, OutOfTime, Unreachable
from headgate.service.client.hops import RETRY_BUDGET, Allowance, allowance_of
from headgate.service.client.options import CallOptions, ClientPolicy
from headgate.service.client.peers import Peer, Peers, Visit
from headgate.service.client.wires import Outgoing
from headgate.service.contract import Contract
from headgate.service.invoke import IDEMPOTENCY_KEY
from headgate.service.method import Method

_KEY: Final = IDEMPOTENCY_KEY.decode()
_END: Final = object()


class Work:
    """One call under way."""

    __slots__ = (
        "allowance", "headers", "hedge_after", "key", "method", "path",
        "refused", "request", "retries", "tried", "until",
    )  # fmt: skip

    def __init__(self, method: Method, path: str, request: Any, until: float | None) -> None:
        self.method = method
        self.path = path
        self.request = request
        self.until = until
        self.headers: dict[str, str] = {}
        self.retries = 0
        self.allowance = Allowance(None)
        self.hedge_after: float | None = None
        self.key = ""
        self.tried: list[Peer] = []
        self.refused = False
        """Whether the instance asked last had not begun with it."""

    def out(self) -> Outgoing:
        """The next attempt."""
        headers = {**self.headers, RETRY_BUDGET: str(self.retries)}
        return Outgoing(self.method, self.path, headers, self.until)

    def spend(self) -> None:
        """It is to be sent once more."""
        self.retries = max(0, self.retries - 1)
        self.allowance.spend()

    def may_repeat(self, error: BaseException) -> bool:
        """Whether what failed with `error` may be sent again."""
        spent = self.allowance.left == 0 or (self.hedge_after is not None and not self.retries)
        if spent or (isinstance(self.request, Requests) and self.request.taken):
            return False
        if isinstance(error, Unreachable):
            return True
        if not (self.method.is_safe_to_retry or self.refused) or isinstance(error, NoInstances):
            return False
        return is_transient(error)

    def failed(self, error: BaseException) -> None:
        """An attempt ended with `error`, whose mark is for us alone: our own caller's request had begun."""
        self.refused = isinstance(error, Fault) and error.refused
        if self.refused:
            error.refused = False  # type: ignore[attr-defined]


class _Again(Retry):
    """The retries of one call, out of the client's budget."""

    def __init__(self, work: Work, peers: Peers, policy: RetryPolicy, budget: RetryBudget, **world: Any) -> None:
        super().__init__(policy, budget, target=work.path, transient=work.may_repeat, **world)
        self._work = work
        self._peers = peers

    async def before_retry(self, error: Exception) -> None:  # noqa: ARG002
        """Tell those further down that one is gone."""
        self._work.spend()

    def patience(self, error: Exception) -> float | None:
        """Who is too busy asks for time; the next instance is not, as far as is known."""
        work = self._work
        if work.refused and isinstance(error, Unavailable) and self._peers.has_other_than(work.tried):
            return None
        return super().patience(error)


class Caller:
    """See the module.

    `headers` and `remaining` are what the call being served hands on, `ready` returns once there was a snapshot;
    `sleep` and `spread` are as in the kit's retries.
    """

    def __init__(
        self,
        contract: Contract,
        policy: ClientPolicy,
        peers: Peers,
        *,
        ready: Callable[[], Awaitable[None]],
        headers: Callable[[], Mapping[str, str]],
        remaining: Callable[[], float | None],
        observer: RetryObserver | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        spread: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._peers = peers
        self._ready = ready
        self._headers = headers
        self._remaining = remaining
        self._world: dict[str, Any] = {"observer": observer, "sleep": sleep, "spread": spread}
        self._paths = {method.rpc: contract.path(method) for method in contract.methods.values()}
        self._policies = {policy.retry.attempts: policy.retry}
        self.budget = RetryBudget(policy.retry_ratio, policy.retry_reserve)

    async def unary(self, method: Method, request: Any, options: CallOptions) -> Any:
        """The answer. Raises the service's faults and those of `headgate.service.client.errors`."""
        work = self._work(method, request, options)
        if work.until is None:
            return await self._answer(work)
        try:
            async with asyncio.timeout_at(work.until) as limit:
                return await self._answer(work)
        except TimeoutError:
            if limit.expired():
                raise _late() from None
            raise

    async def stream(
        self, method: Method, requests: AsyncIterator[Any], options: CallOptions
    ) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        work = self._work(method, requests, options)
        try:
            visit, responses, response = await _in_time(self._opened(work), work.until)
        except BaseException:
            await _let_go(work.request)
            raise
        error: BaseException | None = None
        try:
            while response is not _END:
                yield response
                response = await _in_time(anext(responses, _END), work.until)
        except BaseException as failed:
            error = None if isinstance(failed, GeneratorExit | OutOfTime) else failed
            _reraise_own(work, failed)
            raise
        finally:
            try:
                await _closed(responses, work.request)
            finally:
                visit.leave(error)

    async def gathered(self, method: Method, requests: AsyncIterator[Any], options: CallOptions) -> Any:
        """The one answer to a stream."""
        responses = self.stream(method, requests, options)
        try:
            response = await anext(responses, _END)
        finally:
            await responses.aclose()
        if response is _END:
            raise BadAnswer(f"{method.name} ended without an answer")
        return response

    def _work(self, method: Method, request: Any, options: CallOptions) -> Work:
        streams = method.kind.streams_in or method.kind.streams_out
        work = Work(method, self._paths[method.rpc], request, self._until(method, options, streams))
        policy, call = self._policy, current_call()
        work.headers = {**self._headers(), **options.metadata} if options.metadata else dict(self._headers())
        if options.idempotency_key:
            work.headers[_KEY] = options.idempotency_key
        elif method.options.idempotent == "key":
            work.headers.setdefault(_KEY, uuid.uuid4().hex)
        wanted = policy.retry.attempts - 1
        if options.retries is not None:
            wanted = min(wanted, options.retries)
        work.allowance = allowance_of(call)
        work.retries = work.allowance.of(wanted)
        if method.is_safe_to_retry and not streams:
            work.hedge_after = options.hedge_after or policy.hedge_after
        work.key = options.key
        return work

    def _until(self, method: Method, options: CallOptions, streams: bool) -> float | None:
        """When the time of the call is up. Raises OutOfTime when it is already."""
        given = options.timeout
        if given is None:
            given = self._policy.stream_timeout if streams else self._policy.timeout
        left = min(
            (each for each in (given, method.options.timeout, self._remaining()) if each is not None), default=None
        )
        if left is None:
            return None
        if left <= 0:
            raise _late()
        return asyncio.get_running_loop().time() + left

    def _retry(self, work: Work) -> Retry:
        attempts = work.retries + 1
        policy = self._policies.get(attempts)
        if policy is None:
            policy = self._policies[attempts] = replace(self._policy.retry, attempts=attempts)
        return _Again(work, self._peers, policy, self.budget, remaining=partial(_left, work), **self._world)

    async def _answer(self, work: Work) -> Any:
        await self._ready()
        attempt = self._attempt if work.hedge_after is None else self._hedged
        return await self._retry(work).call(attempt, work)

    async def _attempt(self, work: Work) -> Any:
        """Send it once. How it went is held against the instance."""
        visit = self._peers.visit(work.key, work.tried)
        work.tried.append(visit.peer)
        try:
            response = await visit.wire.unary(work.out(), work.request)
        except BaseException as error:
            work.failed(error)
            visit.leave(self._blame(work, visit, error))
            raise
        visit.leave()
        return response

    async def _hedged(self, work: Work) -> Any:
        """Send it, and once more when no answer comes for a while; the first answer wins."""
        tasks = [asyncio.create_task(self._attempt(work))]
        try:
            await asyncio.wait(tasks, timeout=work.hedge_after)
            if not tasks[0].done() and work.retries and self.budget.withdraw():
                work.spend()
                tasks.append(asyncio.create_task(self._attempt(work)))
            return await _first(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _opened(self, work: Work) -> "tuple[Visit, AsyncGenerator[Any, None], Any]":
        await self._ready()
        return await self._retry(work).call(self._open, work)

    async def _open(self, work: Work) -> "tuple[Visit, AsyncGenerator[Any, None], Any]":
        """A stream of which the first message came."""
        visit = self._peers.visit(work.key, work.tried)
        work.tried.append(visit.peer)
        responses: AsyncGenerator[Any, None] | None = None
        try:
            responses = visit.wire.stream(work.out(), work.request)
            response = await anext(responses, _END)
        except BaseException as error:
            work.failed(error)
            try:
                if responses is not None:
                    await responses.aclose()
            finally:
                visit.leave(self._blame(work, visit, error))
            _reraise_own(work, error)
            raise
        visit.respond()
        return visit, responses, response

    def _blame(self, work: Work, visit: Visit, error: BaseException) -> BaseException | None:
        """What the attempt's end says of the instance. The caller's own errors say nothing."""
        if isinstance(work.request, Requests) and work.request.error is not None:
            return None
        patient = visit.took() >= self._policy.hung_after
        if isinstance(error, DeadlineExceeded):  # the service may notice first that our time is up
            return error if patient else asyncio.CancelledError()
        if isinstance(error, asyncio.CancelledError) and work.until is not None and patient:
            return _late() if asyncio.get_running_loop().time() >= work.until else error
        return error


async def _first(tasks: "list[asyncio.Task[Any]]") -> Any:
    """The first answer; when all fail, the error of the first sent."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and task.exception() is None:
                return task.result()
    return await tasks[0]


async def _in_time(awaitable: Awaitable[Any], until: float | None) -> Any:
    if until is None:
        return await awaitable
    try:
        async with asyncio.timeout_at(until) as limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            raise _late() from None
        raise


async def _closed(responses: AsyncGenerator[Any, None], requests: Any) -> None:
    """Close both directions; what the caller's iterator says to that is not the call's outcome."""
    try:
        await responses.aclose()
    finally:
        await _let_go(requests)


async def _let_go(requests: Any) -> None:
    if isinstance(requests, Requests):
        with suppress(Exception):
            await requests.aclose()


def _reraise_own(work: Work, error: BaseException) -> None:
    """Raise what the caller's own iterator raised, when that is why the call failed."""
    own = work.request.error if isinstance(work.request, Requests) else None
    if own is not None and own is not error and isinstance(error, Exception):
        raise own


def _left(work: Work) -> float | None:
    return None if work.until is None else work.until - asyncio.get_running_loop().time()


def _late() -> Fault:
    return OutOfTime("the time for this call is up", hint="allow more time, or ask for less")
