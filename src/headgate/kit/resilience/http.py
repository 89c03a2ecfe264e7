"""The HTTP client a process shares: one pool, whose limits hold, with a breaker and retries per host.

    clients = HttpClients(
        HttpPolicy(max_connections=50, read_timeout=120),
        headers=lambda: {"x-request-id": current_request_id()},
        remaining=lambda: call_time_left(),
    )
    response = await clients.client().post("https://models.example.com/v1/chat", json={...})
    ...
    await clients.aclose()

`client()` gives a plain `httpx.AsyncClient`, one per event loop. Under it, per scheme, host and port:

- the breaker, outside: one outcome per request. Broken connections, timeouts and 500, 502, 503, 504 count
  against the host; an open circuit raises `Unavailable(code="circuit_open")` before a connection is made.
- retries, inside: 429, 502, 503, 504 and broken connections of requests that may be repeated (an idempotent
  method, an `Idempotency-Key` header, or `extensions={"idempotent": True}`). Other requests are repeated
  only when they cannot have been carried out: no connection was made, or 429 or 503 came with Retry-After.
  A body that is a stream is never sent twice.
- the call's remaining time: when it is up, waiting, pauses and a body half read end with DeadlineExceeded.
  That is not held against the host, unless it had as long as a slow call takes.

What `headers()` gives is added where the request does not have it. Redirects are not followed, cookies
are not kept, and proxies in the environment are not used. Needs the extra `http`.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from headgate.kit.controls.breaker import BreakerPolicy, CircuitStats
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Violation
from headgate.kit.controls.retry import RetryBudget, RetryPolicy
from headgate.kit.resilience.breaker import BreakerObserver, Breakers
from headgate.kit.resilience.registry import Registry
from headgate.kit.resilience.retry import Retry, RetryObserver

if TYPE_CHECKING:
    import httpx

    from headgate.kit.resilience.transport import Spans

_Made: TypeAlias = "tuple[httpx.AsyncClient, Breakers | None]"


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """The pool and its patience. Times in seconds. Raises InvalidArgument.

    `max_connections` bounds all open connections, `max_idle` those kept for reuse, each for `idle_time`.
    A request waits `pool_timeout` for a connection of the pool, `connect_timeout` for a new one to be made,
    `write_timeout` and `read_timeout` for each piece to be sent or received. `proxy` is a URL, "" for none.
    `retry_ratio` and `retry_reserve` are the retry budget of one host; `max_hosts` bounds what is remembered.
    """

    max_connections: int = 100
    max_idle: int = 20
    idle_time: float = 30.0
    pool_timeout: float = 5.0
    connect_timeout: float = 5.0
    write_timeout: float = 30.0
    read_timeout: float = 120.0
    http2: bool = False
    proxy: str = ""
    retry_ratio: float = 0.1
    retry_reserve: float = 10.0
    max_hosts: int = 256

    def __post_init__(self) -> None:
        positive = ("max_connections", "pool_timeout", "connect_timeout", "write_timeout", "read_timeout", "max_hosts")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        wrong += [name for name in ("max_idle", "idle_time") if getattr(self, name) < 0]
        if wrong:
            raise InvalidArgument(
                "an HTTP client cannot work like this: " + ", ".join(wrong),
                violations=[Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in wrong],
                hint="times and counts are positive; max_idle and idle_time may be 0",
            )


class HttpClients:
    """Makes the shared client of each event loop and closes it.

    `breaker` and `retry` are the policies per host, None for neither. `headers()` gives what to add to every
    request, `remaining()` the seconds left of the current call, None for no deadline. `tls` replaces the
    default verification of certificates. `spans(method, url)` begins the span of each call.
    """

    def __init__(
        self,
        policy: HttpPolicy | None = None,
        *,
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - immutable
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008
        headers: Callable[[], Mapping[str, str]] | None = None,
        remaining: Callable[[], float | None] | None = None,
        tls: ssl.SSLContext | None = None,
        breaker_observer: BreakerObserver | None = None,
        retry_observer: RetryObserver | None = None,
        spans: "Spans | None" = None,
    ) -> None:
        self._policy = policy or HttpPolicy()
        self._breaker, self._retry = breaker, retry
        self._headers, self._remaining = headers, remaining
        self._tls, self._spans = tls, spans
        self._breaker_observer, self._retry_observer = breaker_observer, retry_observer
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _Made] = WeakKeyDictionary()

    def client(self) -> "httpx.AsyncClient":
        """The client of the running event loop; do not close it. Raises FailedPrecondition without httpx."""
        loop = asyncio.get_running_loop()
        made = self._clients.get(loop)
        if made is None:
            made = self._clients[loop] = self._make()
        return made[0]

    def circuits(self) -> dict[str, CircuitStats]:
        """The circuits of the running event loop's client, by origin (`https://host:port`)."""
        made = self._clients.get(asyncio.get_running_loop())
        return {} if made is None or made[1] is None else made[1].stats()

    async def aclose(self) -> None:
        """Close the running event loop's client and its connections."""
        made = self._clients.pop(asyncio.get_running_loop(), None)
        if made is not None:
            await made[0].aclose()

    def _make(self) -> "_Made":
        try:
            import httpx

            from headgate.kit.resilience.transport import ResilientTransport, counts_against_host
        except ImportError as error:
            raise _missing("httpx", "http") from error
        policy = self._policy
        if policy.http2:
            try:
                import h2  # noqa: F401 - httpx looks for it only once a host speaks HTTP/2
            except ImportError as error:
                raise _missing("h2", "http2") from error
        # Here and not on the client, which ignores its own limits once it is given a transport.
        inner = httpx.AsyncHTTPTransport(
            verify=True if self._tls is None else self._tls,
            trust_env=False,
            http2=policy.http2,
            limits=httpx.Limits(
                max_connections=policy.max_connections,
                max_keepalive_connections=policy.max_idle,
                keepalive_expiry=policy.idle_time,
            ),
            proxy=policy.proxy or None,
        )
        breakers = None
        if self._breaker is not None:
            breakers = Breakers(
                self._breaker, limit=policy.max_hosts, counts=counts_against_host, observer=self._breaker_observer
            )
        transport = ResilientTransport(
            inner,
            breakers=breakers,
            retries=None if self._retry is None else Registry(self._make_retry, limit=policy.max_hosts),
            headers=self._headers,
            remaining=self._remaining,
            spans=self._spans,
        )
        timeout = httpx.Timeout(
            connect=policy.connect_timeout,
            read=policy.read_timeout,
            write=policy.write_timeout,
            pool=policy.pool_timeout,
        )
        client = httpx.AsyncClient(
            transport=transport,
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            # What a host sets for one caller must not be sent for another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        return client, breakers

    def _make_retry(self, origin: str) -> Retry:
        from headgate.kit.resilience.transport import RequestRetry

        return RequestRetry(
            self._retry,
            RetryBudget(self._policy.retry_ratio, self._policy.retry_reserve),
            target=origin,
            transient=RequestRetry.repeatable,
            remaining=self._remaining,
            observer=self._retry_observer,
        )


def _missing(package: str, extra: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the HTTP client needs {package}, which is not installed",
        code="extra_missing",
        hint=f'pip install "headgate[{extra}]"',
    )
