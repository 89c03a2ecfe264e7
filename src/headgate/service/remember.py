"""What calls returned, kept: answers of methods with `cache=`, outcomes by idempotency key.

    memo = answers_of(kit)
    outcomes = outcomes_of(kit, keys_kept=86_400, keys_max=100_000)
    host([Orders()], Conditions(memo=memo, outcomes=outcomes))

It stands on the kit's cache: one call for all who ask for the same at the same time, and with `cache_redis_url` for
all processes. While that store is down each process remembers by itself, and a key may be done once in each.

    Internal
    └── uncacheable_value     a method returned what its own type cannot be made of again
"""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from headgate.kit import policies
from headgate.kit.controls.faults import Internal
from headgate.kit.hardening import ResilienceSettings
from headgate.kit.kit import Kit, undated_context
from headgate.kit.resilience.cache import CachePolicy, FlowCache
from headgate.kit.resilience.keys import cache_key
from headgate.kit.resilience.shared import SharedStore
from headgate.service.types import dec_hook, enc_hook, schema_hook

Clock = Callable[[], float]

LONGEST_NAMESPACE: Final = 64


class Remembered:
    """A `Memo` in one of the kit's caches. `shared` is a store of its own, which it closes with the cache."""

    def __init__(self, cache: FlowCache, shared: SharedStore | None = None) -> None:
        self.cache = cache
        self._shared = shared
        self._codecs: dict[Any, _Codec] = {}

    async def run(self, key: tuple[str, ...], ttl: float, kind: Any, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` returned for this key within the last `ttl` seconds, or returns now. Errors are not kept."""
        codec = self._codecs.get(kind)
        if codec is None:
            codec = self._codecs[kind] = _Codec(kind)
        namespace = key[0].strip("/").replace("/", ".")[-LONGEST_NAMESPACE:]
        where = cache_key(namespace, key, tenant="", schema=codec.schema)
        return await self.cache.get_or_call(where, make, codec=codec, seconds=ttl)

    async def aclose(self) -> None:
        """Cancel calls under way."""
        await self.cache.aclose()
        if self._shared is not None:
            await self._shared.aclose()


class _Codec:
    """MessagePack of one type."""

    def __init__(self, kind: Any) -> None:
        schema = msgspec.json.schema(kind, schema_hook=schema_hook)
        self.schema = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()
        self._encode = msgspec.msgpack.Encoder(enc_hook=enc_hook).encode
        self._decode = msgspec.msgpack.Decoder(kind, dec_hook=dec_hook).decode

    def encode(self, value: Any) -> bytes:
        """Raises Internal (`uncacheable_value`)."""
        try:
            return self._encode(value)
        except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
            raise _uncacheable(error) from error

    def decode(self, data: bytes) -> Any:
        """Raises ValueError."""
        try:
            return self._decode(data)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error


def answers_of(kit: Kit, *, clock: Clock = time.monotonic) -> Remembered:
    """A memo for answers, as large and as shared as the kit's caches are."""
    settings = _settings_of(kit)
    return _remembered(kit, policies.cache_policy(settings), policies.shared_store(settings), clock)


def outcomes_of(kit: Kit, *, keys_kept: float, keys_max: int, clock: Clock = time.monotonic) -> Remembered:
    """A memo for outcomes, whatever the kit caches besides: nothing in it is too large, or given when it is old."""
    settings = _settings_of(kit)
    size = settings.cache_max_bytes
    policy = CachePolicy(seconds=keys_kept, entries=keys_max, size=size, largest=size)
    url = settings.cache_redis_url
    return _remembered(kit, policy, SharedStore(url.get_secret_value()) if url is not None else None, clock)


def _remembered(kit: Kit, policy: CachePolicy, shared: SharedStore | None, clock: Clock) -> Remembered:
    cache = FlowCache(policy, shared=shared, observer=kit.metrics.cache_event, clock=clock, context=undated_context)
    return Remembered(cache, shared)


def _settings_of(kit: Kit) -> ResilienceSettings:
    return kit.settings if isinstance(kit.settings, ResilienceSettings) else ResilienceSettings()


def _uncacheable(error: Exception) -> Internal:
    return Internal(
        "something went wrong here",
        code="uncacheable_value",
        hint="the request id finds the reason in the server's log",
        internal=f"{type(error).__name__}: {error}"[:300],
    )
