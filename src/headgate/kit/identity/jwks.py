"""An issuer's keys, fetched from where it publishes them and kept as long as they serve.

    keys = Jwks("https://issuer.example/.well-known/jwks.json")
    JwtAuthenticator(keys, issuer="https://issuer.example", audience="shop")
    ...
    await keys.aclose()

Requests never wait for keys that are only old: a set past its time is used on while a newer one is fetched, and
while the issuer is down until `max_age`. A token with an unknown key id makes them wait for one fetch, shared by
all of them; another may start `interval` seconds after it at the earliest, whatever ids strangers think up.

    Unavailable
    └── issuer_unavailable   there are no keys: the first fetch failed, or the last good one is too long ago
    InvalidArgument
    └── invalid_jwks_url     not HTTPS (loopback may be HTTP), or with credentials in it
"""

import asyncio
import contextvars
import importlib.util
import json
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.identity.keys import KeySet

if TYPE_CHECKING:
    import httpx

_log = structlog.get_logger("headgate.identity")
_HEADERS: Final = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}
_OK: Final = 200


class Jwks:
    """The keys at `url`. Times in seconds; `clock` is monotonic.

    `ttl` is how long keys are used before newer ones are looked for, `max_age` how long they are used at all,
    `interval` the least time between two fetches, `timeout` the longest one may take, `max_bytes` the largest
    answer that is read. `client` gives the HTTP client to use, else one is made for each fetch.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 300.0,
        max_age: float = 86_400.0,
        interval: float = 10.0,
        timeout: float = 5.0,
        max_bytes: int = 256 * 1024,
        allow_http: bool = False,
        client: "Callable[[], httpx.AsyncClient] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check(url, allow_http)
        if client is None and importlib.util.find_spec("httpx") is None:
            raise FailedPrecondition(
                "an issuer's keys cannot be fetched without the package httpx",
                code="extra_missing",
                hint="pip install 'headgate[jwt]'",
            )
        self.url = url
        self._ttl, self._max_age, self._interval, self._timeout = ttl, max(ttl, max_age), interval, timeout
        self._max_bytes = max_bytes
        self._client = client
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._keys: KeySet | None = None
        self._fetched = self._attempted = float("-inf")
        self._flight: asyncio.Task[None] | None = None
        self._failing = False

    def current(self) -> KeySet | None:
        """The keys to be used now, None when there are none. Looks for newer ones, but does not wait for them."""
        if self._clock() - self._fetched >= self._ttl and self._keys is not None:
            self._start()
            return self._usable()
        return self._keys

    def may_refresh(self) -> bool:
        """Whether a fetch is under way, or may start."""
        return self._flying() is not None or self._clock() - self._attempted >= self._interval

    async def refresh(self) -> KeySet:
        """Fetch, unless that was tried less than `interval` ago, and return what there is. Raises Unavailable."""
        flight = self._start()
        if flight is not None:
            # Not awaited itself: whoever goes away must not end it for the others.
            await asyncio.wait({flight})
        keys = self._usable()
        if keys is None:
            raise Unavailable(
                "tokens cannot be verified now: the keys of their issuer are not to be had",
                code="issuer_unavailable",
                retry_after=max(1.0, self._attempted + self._interval - self._clock()),
            )
        return keys

    async def check(self) -> None:
        """For readiness: raise Unavailable unless there are keys."""
        if self.current() is None:
            await self.refresh()

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        flight = self._flying()
        if flight is not None:
            flight.cancel()
            await asyncio.wait({flight})

    def _usable(self) -> KeySet | None:
        return self._keys if self._clock() - self._fetched < self._max_age else None

    def _flying(self) -> asyncio.Task[None] | None:
        """The fetch under way in this loop. One of a loop that was closed never ends, and is none."""
        flight = self._flight
        if flight is None or flight.done() or flight.get_loop() is not asyncio.get_running_loop():
            return None
        return flight

    def _start(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one when it is time; else None."""
        flight = self._flying()
        if flight is None and self._clock() - self._attempted >= self._interval:
            self._attempted = self._clock()
            # An empty context: it is no part of the call it happens to begin in, nor of its deadline.
            flight = self._flight = asyncio.get_running_loop().create_task(
                self._fetch(), name="jwks", context=contextvars.Context()
            )
        return flight

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                keys = KeySet.parse(json.loads(await self._download()))
        except TimeoutError:
            self._failed(f"no answer within {self._timeout:g} s")
        except ValueError as error:
            self._failed("it is no JSON" if isinstance(error, json.JSONDecodeError) else str(error))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the last keys serve on
            self._failed(f"{type(error).__name__}: {error}")
        else:
            self._succeeded(keys)

    async def _download(self) -> bytes:
        body = bytearray()
        async with AsyncExitStack() as stack:
            client = self._client() if self._client else await stack.enter_async_context(await self._new_client())
            request = client.stream("GET", self.url, headers=_HEADERS, follow_redirects=False)
            response = await stack.enter_async_context(request)
            if response.status_code != _OK:
                raise ValueError(f"it was answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise ValueError("it was compressed, which was not asked for")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_bytes:
                    raise ValueError(f"it is longer than {self._max_bytes} bytes")
        return bytes(body)

    async def _new_client(self) -> "httpx.AsyncClient":
        import httpx

        if self._context is None:
            # Reading all authorities of the system takes longer than others should wait.
            self._context = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        return httpx.AsyncClient(verify=self._context, trust_env=False, timeout=self._timeout)

    def _succeeded(self, keys: KeySet) -> None:
        if self._failing or keys != self._keys:
            _log.info("issuer's keys fetched", url=self.url, keys=len(keys), again=self._failing)
        self._failing, self._fetched = False, self._clock()
        # The same object as long as nothing changed: results of earlier verifications remain good.
        if keys != self._keys:
            self._keys = keys

    def _failed(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            _log.warning(
                "issuer's keys not fetched",
                url=self.url,
                reason=reason[:200],
                serving="the last keys" if self._usable() else "nobody",
            )


def _check(url: str, allow_http: bool) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise _bad("it holds credentials")
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise _bad("it is no http or https URL")
    if parts.scheme == "http" and not (allow_http or _is_loopback(parts.hostname)):
        raise _bad("whoever is between could hand out keys of their own: it must be https")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bad(reason: str) -> InvalidArgument:
    return InvalidArgument(
        f"jwt_jwks_url: {reason}",
        code="invalid_jwks_url",
        hint="such as https://issuer.example/.well-known/jwks.json",
    )
