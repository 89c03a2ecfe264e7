"""Limits counted in Redis or Valkey, so that all replicas share one budget.

    store = RedisStore("redis://:secret@10.0.0.5:6379/0")
    (decision,) = await store.take("client:192.0.2.1", (Charge(quota),))

All charges of a call are one atomic script and one round trip, on the server's clock: replicas whose clocks differ
agree. A caller's key lives until its debt has drained. Needs Redis 5 or newer, or Valkey, and the extra `redis`.
Schemes: `redis`, `rediss`, `valkey`, `valkeys` (TLS with the `s`) and `unix`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from headgate.kit.controls.faults import Unavailable
from headgate.kit.controls.rate import Charge, Decisions, decide
from headgate.kit.controls.redaction import redact_text
from headgate.kit.redis_client import connect

_LONGEST_KEY: Final = 200

# A caller's value is "DEBT AT", both whole: the debt in 1/count microseconds at a time in microseconds. Debts are
# told as text because Redis would cut large numbers to 64 bits.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, taken = {}, 1
for i, key in ipairs(KEYS) do
  local count, unit, cost, force = ARGV[i * 4 - 3] + 0, ARGV[i * 4 - 2] + 0, ARGV[i * 4 - 1] + 0, ARGV[i * 4]
  local held, debt = redis.call('GET', key), 0
  if held then
    local owed, at = string.match(held, '^(%d+) (%d+)$')
    if owed then debt = math.max(0, owed - math.max(0, now - at) * count) end
  end
  debts[i] = debt
  if force == '0' and cost >= 0 and debt + math.max(cost, 1) * unit > count * unit then taken = 0 end
end
local answer = {taken}
for i, key in ipairs(KEYS) do
  local count, unit, cost = ARGV[i * 4 - 3] + 0, ARGV[i * 4 - 2] + 0, ARGV[i * 4 - 1] + 0
  local debt = debts[i]
  if taken == 1 and cost ~= 0 then
    debt = math.max(0, debt + cost * unit)
    if debt > 0 then
      local life = math.ceil(debt / count / 1000) + 1
      redis.call('SET', key, string.format('%.0f %.0f', debt, now), 'PX', string.format('%.0f', life))
    else
      redis.call('DEL', key)
    end
  end
  answer[i + 1] = string.format('%.0f', debt)
end
return answer
"""
_DIGEST: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    """Debts in Redis or Valkey. `timeout` bounds each call in seconds, waiting for a connection included.

    Raises InvalidArgument (`invalid_store_url`) for a URL that cannot be used and FailedPrecondition
    (`extra_missing`) without the client library; `take` raises Unavailable (`limit_store_down`).
    """

    def __init__(
        self, url: str, *, timeout: float = 0.25, prefix: str = "headgate:limit:", max_connections: int = 64
    ) -> None:
        self._client = connect(url, what="the limits' store", connections=max_connections)
        self._shown = _shown(self._client.connection_pool.connection_kwargs)
        self._timeout = timeout
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"RedisStore({self._shown})"

    async def take(self, key: str, charges: Sequence[Charge]) -> Decisions:
        """Charge a caller; see `headgate.kit.controls.rate.Store.take`."""
        caller = self._prefix + _tagged(key) + ":"
        keys = [caller + quota.id for quota, _, _ in charges]
        arguments: list[int] = []
        for quota, cost, force in charges:
            arguments += (quota.count, quota.unit, cost, int(force))
        taken, *debts = await self._run(len(keys), *keys, *arguments)
        return decide(charges, [int(debt) for debt in debts], bool(taken))

    async def ping(self) -> None:
        """Whether it answers. Raises Unavailable (`limit_store_down`)."""
        await self._within_time(self._client.ping())

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _run(self, *arguments: str | int) -> Any:
        from redis.exceptions import NoScriptError

        execute: Callable[..., Awaitable[Any]] = self._client.execute_command
        try:
            return await self._within_time(execute("EVALSHA", _DIGEST, *arguments))
        except NoScriptError:
            # Where scripts were flushed, or the server is new: this loads it as well.
            return await self._within_time(execute("EVAL", _SCRIPT, *arguments))

    async def _within_time(self, answer: Awaitable[Any]) -> Any:
        from redis.exceptions import NoScriptError, RedisError

        try:
            async with asyncio.timeout(self._timeout or None):
                return await answer
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            # A TimeoutError is an OSError.
            raise Unavailable(
                "the limits cannot be checked now",
                code="limit_store_down",
                internal=f"{self._shown}: {_reason(error, self._timeout)}",
            ) from error


def _shown(target: Mapping[str, Any]) -> str:
    """Where the store is, without credentials."""
    return str(target.get("path") or f"{target.get('host', 'localhost')}:{target.get('port', 6379)}")


def _reason(error: Exception, timeout: float) -> str:
    return redact_text(str(error)) or f"no answer within {timeout:g} s"


def _tagged(key: str) -> str:
    """`key` in braces: all quotas of a caller are in one slot of a cluster. Long or odd keys by their hash."""
    if len(key) > _LONGEST_KEY or not key or "{" in key or "}" in key:
        key = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return "{" + key + "}"
