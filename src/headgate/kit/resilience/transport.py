"""What the shared HTTP client does around each request: headers, deadline, breaker, retries, in this order.

Used through `headgate.kit.resilience.http`, which says the rules and imports this late: it needs httpx.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Protocol

import httpx

from headgate.kit.controls.faults import DeadlineExceeded
from headgate.kit.resilience.breaker import Breakers, Guard, counts_against
from headgate.kit.resilience.registry import Registry
from headgate.kit.resilience.retry import Retry

REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2."""
TRANSIENT_STATUSES: Final = frozenset({429, 502, 503, 504})
FAILING_STATUSES: Final = frozenset({500, 502, 503, 504})

_REFUSING_STATUSES: Final = frozenset({429, 503})
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout)
_BROKEN: Final = (*_NEVER_SENT, httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)
_OWN_FAULT: Final = (DeadlineExceeded, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Span(Protocol):
    """A span of a call to others, over once its answer has begun."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent along, so that the other side's spans are its children."""

    def answered(self, status: int) -> None:
        """The other side has answered."""


Spans = Callable[[str, str], AbstractContextManager[Span]]
"""Begins the span of a call, by method and URL."""


class FailingStatus(Exception):  # noqa: N818 - never raised: what an answered failure counts as
    """An answer whose status says that the host fails."""


class Repeatable(Exception):  # noqa: N818 - never leaves this module
    """A failed attempt that may be repeated: an answer or an error."""

    def __init__(self, response: httpx.Response | None, error: httpx.TransportError | None) -> None:
        super().__init__()
        self.response = response
        self.error = error
        self.retry_after = None if response is None else retry_after_of(response.headers, time.time())


class RequestRetry(Retry):
    """Retries of requests; an answer that is not handed on gives its connection back."""

    @staticmethod
    def repeatable(error: BaseException) -> bool:
        """Whether an attempt may be repeated."""
        return isinstance(error, Repeatable)

    async def before_retry(self, error: Exception) -> None:
        """Close the answer of the failed attempt."""
        if isinstance(error, Repeatable) and error.response is not None:
            await error.response.aclose()


def counts_against_host(error: BaseException) -> bool:
    """Whether an error speaks against the host: not when our pool was full, our time up or our request malformed."""
    return counts_against(error) and not isinstance(error, _OWN_FAULT)


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that Retry-After asks for, at `now` (seconds since 1970); None when absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class ResilientTransport(httpx.AsyncBaseTransport):
    """Sends through `inner`. `breakers` and `retries` are by origin, None for none."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        *,
        breakers: Breakers | None,
        retries: Registry[Retry] | None,
        headers: Callable[[], Mapping[str, str]] | None,
        remaining: Callable[[], float | None] | None,
        spans: Spans | None = None,
    ) -> None:
        self._inner = inner
        self._breakers = breakers
        self._retries = retries
        self._headers = headers
        self._remaining = remaining
        self._spans = spans

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what httpx raises, Unavailable (circuit_open) and DeadlineExceeded."""
        if self._spans is None:
            return await self._send(request)
        with self._spans(request.method, str(request.url)) as span:
            for name, value in span.headers.items():
                request.headers.setdefault(name, value)
            response = await self._send(request)
            span.answered(response.status_code)
            return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        if self._headers is not None:
            for name, value in self._headers().items():
                request.headers.setdefault(name, value)
        left = None if self._remaining is None else self._remaining()
        if left is None:
            return await self._guarded(request, None)
        if left <= 0:
            raise _out_of_time()
        end = asyncio.get_running_loop().time() + left
        try:
            async with asyncio.timeout_at(end) as limit:
                return await self._guarded(request, end)
        except TimeoutError:
            if limit.expired():
                raise _out_of_time() from None
            raise

    async def aclose(self) -> None:
        """Close the pool."""
        await self._inner.aclose()

    async def _guarded(self, request: httpx.Request, end: float | None) -> httpx.Response:
        origin = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
        guard = None if self._breakers is None else self._breakers[origin].guard()
        if guard is None:
            response = await self._repeated(request, origin)
        else:
            guard.enter()
            try:
                response = await self._repeated(request, origin)
            except BaseException as error:
                guard.leave(error)
                raise
            if response.status_code in FAILING_STATUSES:
                guard.leave(FailingStatus())
            else:
                guard.respond()
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("the inner transport must answer with an asynchronous stream")
        response.stream = Body(response.stream, guard, end)
        return response

    async def _repeated(self, request: httpx.Request, origin: str) -> httpx.Response:
        if self._retries is None or not isinstance(request.stream, httpx.ByteStream):
            return await self._inner.handle_async_request(request)
        repeatable = (
            request.method in REPEATABLE_METHODS
            or "idempotency-key" in request.headers
            or bool(request.extensions.get("idempotent"))
        )
        try:
            return await self._retries[origin].call(partial(self._attempt, request, repeatable))
        except Repeatable as last:
            if last.response is not None:
                return last.response
            failed = last.error
        assert failed is not None  # noqa: S101 - it has one or the other
        raise failed

    async def _attempt(self, request: httpx.Request, repeatable: bool) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except _BROKEN as error:
            if repeatable or isinstance(error, _NEVER_SENT):
                raise Repeatable(None, error) from None
            raise
        status = response.status_code
        if status in TRANSIENT_STATUSES and (
            repeatable or (status in _REFUSING_STATUSES and "retry-after" in response.headers)
        ):
            raise Repeatable(response, None)
        return response


class Body(httpx.AsyncByteStream):
    """An answer's body: keeps the deadline, and tells the breaker how it ended."""

    def __init__(self, inner: httpx.AsyncByteStream, guard: Guard | None, end: float | None) -> None:
        self._inner = inner
        self._guard = guard
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._inner.__aiter__()
        try:
            if self._end is None:
                async for chunk in chunks:
                    yield chunk
            else:
                async with aclosing(self._in_time(chunks, self._end)) as timed:
                    async for chunk in timed:
                        yield chunk
        except BaseException as error:
            if self._guard is not None:
                self._guard.leave(error)
            raise

    async def _in_time(self, chunks: AsyncIterator[bytes], end: float) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with asyncio.timeout_at(end) as limit:
                    chunk = await anext(chunks, None)
            except TimeoutError:
                if limit.expired():
                    raise _out_of_time() from None
                raise
            if chunk is None:
                return
            yield chunk

    async def aclose(self) -> None:
        """Give the connection back. A body that was not read to its end is no failure."""
        if self._guard is not None:
            self._guard.leave()
        await self._inner.aclose()


def _out_of_time() -> DeadlineExceeded:
    return DeadlineExceeded(
        "the time for this call ran out while another service was asked",
        hint="allow more time, or ask for less",
    )
