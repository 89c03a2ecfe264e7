"""The second level of a cache: a Valkey or Redis that several processes share.

    shared = SharedStore("redis://127.0.0.1:6379/0")
    found = await shared.look(key, token=token, lease=5.0)
    if found.kind == "lease":                       # ours to make; the others wait
        await shared.publish(key, token, data, 300)

One process at a time holds the lease of a key (`SET NX PX`, renewed while its call runs). Its token fences
the key: an answer, an error or a release is taken only from whoever still holds the lease, checked and
done in one script, so that a holder that was paused past its lease cannot overwrite its successor. A holder
that dies loses the lease when its time is up, and the next process that looks takes over.

When the store does not answer, `StoreDown` is raised, at once after the first time: a breaker holds calls
back and tries again with one. That is logged once when it goes and once when it is back. The keys of one
entry share a hash tag. Needs the extra `redis`; redis-py also speaks to Valkey.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from headgate.kit.controls.breaker import BreakerPolicy, State
from headgate.kit.controls.faults import Unavailable
from headgate.kit.redis_client import connect
from headgate.kit.resilience.breaker import Breaker, Outcome

Kind = Literal["value", "error", "lease", "wait"]

_LOOK: Final = """
local value = redis.call('GET', KEYS[1])
if value then
  local left = redis.call('PTTL', KEYS[1])
  if left > tonumber(ARGV[5]) then return {'value', value, left} end
end
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[1] then return {'lease'} end
local told = redis.call('GET', KEYS[3])
if told and (ARGV[4] == '1' or (ARGV[3] ~= '' and string.sub(told, 1, #ARGV[3]) == ARGV[3])) then
  return {'error', string.sub(told, #ARGV[1] + 1), redis.call('PTTL', KEYS[3])}
end
if holder then return {'wait', holder, redis.call('PTTL', KEYS[2])} end
redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return {'lease'}
"""

_PUBLISH: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2], KEYS[3])
return 1
"""

_FAIL: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[3], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""

_RENEW: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
"""

_RELEASE: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2])
"""

_BATCH: Final = 500
_OUTAGE: Final = BreakerPolicy(
    minimum_calls=1,
    failure_rate=0.001,
    slow_call=None,
    relapse_calls=1,
    open_time=0.5,
    longest_open_time=15.0,
    probe_lease=10.0,
)

_log = structlog.get_logger("headgate.cache")


class StoreDown(Exception):  # noqa: N818 - never leaves the cache, which goes on without its second level
    """The shared store did not answer."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is under a key: a `value` or `error` with its seconds left, our `lease`, or another's to `wait` for."""

    kind: Kind
    data: bytes = b""
    left: float = 0.0


class SharedStore:
    """A store at a `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://` URL. Belongs to one event loop.

    `timeout` (seconds) bounds each exchange and each connecting, `connections` the pool. Every key begins
    with `prefix`. Raises FailedPrecondition without redis-py and InvalidArgument for an impossible URL.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "headgate:cache",
        timeout: float = 0.5,
        connections: int = 32,
        outage: BreakerPolicy = _OUTAGE,
    ) -> None:
        self._redis = connect(url, what="the shared cache", connections=connections, timeout=timeout, tries_again=1)
        self._prefix = prefix
        scripts = (_LOOK, _PUBLISH, _FAIL, _RENEW, _RELEASE)
        self._scripts = {text: self._redis.register_script(text) for text in scripts}
        self._breaker = Breaker("shared cache", outage, counts=self._counts, observer=self, jitter=random.random)
        self._reason = ""
        self.outages = 0

    async def look(
        self,
        key: str,
        *,
        token: str,
        lease: float,
        waited_for: str = "",
        any_error: bool = False,
        more_than: float = 0.0,
    ) -> Found:
        """Find a value with more than `more_than` seconds left, or an error, or take the lease for `lease` seconds.

        The error found is that of the lease `waited_for`; with `any_error` that of any. Raises StoreDown.
        """
        arguments = (token, _ms(lease), waited_for, int(any_error), _ms(more_than))
        kind, *rest = await self._script(_LOOK, key, *arguments)
        data, left = rest or (b"", 0)
        return Found(kind.decode(), data, left / 1000)

    async def get(self, key: str) -> Found | None:
        """The value under a key, without a lease. Raises StoreDown."""
        value, left = await self._run(self._pair, self._keys(key)[0])
        return None if value is None else Found("value", value, max(0, left) / 1000)

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Keep a value, whoever holds a lease. Raises StoreDown."""
        await self._run(self._redis.set, self._keys(key)[0], data, px=_ms(seconds))

    async def publish(self, key: str, token: str, data: bytes, seconds: float) -> bool:
        """Keep the answer and give the lease back; False when the lease is lost. Raises StoreDown."""
        return bool(await self._script(_PUBLISH, key, token, data, _ms(seconds)))

    async def fail(self, key: str, token: str, told: bytes, seconds: float) -> bool:
        """Tell those who wait of the error and give the lease back; False when it is lost. Raises StoreDown."""
        return bool(await self._script(_FAIL, key, token, told, _ms(seconds)))

    async def renew(self, key: str, token: str, seconds: float) -> bool:
        """Hold the lease for `seconds` from now; False when it is lost. Raises StoreDown."""
        return bool(await self._script(_RENEW, key, token, _ms(seconds)))

    async def release(self, key: str, token: str) -> bool:
        """Give the lease back without an answer; False when it was lost already. Raises StoreDown."""
        return bool(await self._script(_RELEASE, key, token))

    async def delete(self, key: str) -> None:
        """Forget the value, the error and the lease, so that no answer under way is kept. Raises StoreDown."""
        await self._run(self._redis.unlink, *self._keys(key))

    async def clear(self, prefix: str) -> None:
        """Forget every key that begins with `prefix`, leases included. Raises StoreDown."""
        await self._run(self._clear, f"{self._prefix}:{{{prefix}*")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _clear(self, pattern: str) -> None:
        keys = []
        async for key in self._redis.scan_iter(match=pattern, count=_BATCH):
            keys.append(key)
            if len(keys) == _BATCH:
                await self._redis.unlink(*keys)
                keys.clear()
        if keys:
            await self._redis.unlink(*keys)

    async def _pair(self, name: str) -> tuple[bytes | None, int]:
        async with self._redis.pipeline(transaction=True) as both:
            both.get(name)
            both.pttl(name)
            value, left = await both.execute()
        return value, left

    def _keys(self, key: str) -> tuple[str, str, str]:
        base = f"{self._prefix}:{{{key}}}"
        return base, f"{base}:lease", f"{base}:error"

    async def _script(self, text: str, key: str, *arguments: str | bytes | int) -> Any:
        return await self._run(self._scripts[text], keys=self._keys(key), args=arguments)

    async def _run(self, exchange: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            async with self._breaker.guard():
                return await exchange(*args, **kwargs)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreDown from error
        except Unavailable as refused:
            raise StoreDown from refused

    def _counts(self, error: BaseException) -> bool:
        self._reason = f"{type(error).__name__}: {error}"
        return isinstance(error, Exception)

    def changed(self, _target: str, before: State, after: State) -> None:
        """Log the beginning and the end of an outage, not each try in between."""
        if before == "closed":
            self.outages += 1
            _log.warning("the shared cache does not answer: going on with this process's memory", reason=self._reason)
        elif after == "closed":
            _log.info("the shared cache answers again")

    def rejected(self, _target: str) -> None:
        """Nothing to say: the outage was."""

    def finished(self, _target: str, _outcome: Outcome, _seconds: float) -> None:
        """Nothing to say."""


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
