"""Limits counted in a real Valkey: exact over processes, whatever becomes of the connection."""

import asyncio
import json
import subprocess
import sys
import time

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.controls.rate import Charge, Quota, Rate
from headgate.kit.limits.memory import MemoryStore
from headgate.kit.limits.redis import RedisStore
from headgate.testing.clock import FakeClock
from headgate.testing.valkey import Valkey
from tests.kit.limits.conftest import Open

DAY = Quota("requests", Rate.parse("100/day"))
TOKENS = Quota("tokens", Rate.parse("1000000000/day"))

CLIENT = """
import asyncio, json, sys
from headgate.kit.controls.rate import Charge, Quota, Rate
from headgate.kit.limits.redis import RedisStore

async def main():
    store, charges = RedisStore(sys.argv[1], timeout=20), (Charge(Quota("requests", Rate.parse(sys.argv[2]))),)
    async def some():
        return sum([(await store.take("client:192.0.2.1", charges))[0].allowed for _ in range(40)])
    await store.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(sum(await asyncio.gather(*(some() for _ in range(10))))))
    await store.aclose()

asyncio.run(main())
"""


def test_two_processes_admit_exactly_the_limit(valkey: Valkey) -> None:
    """Two processes that ask at once, each from many tasks, get the limit between them: not one more, not one less."""
    command = [sys.executable, "-c", CLIENT, valkey.url, "250/day"]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        outputs = []
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        outputs = [json.loads(client.communicate(timeout=60)[0]) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert sum(outputs) == 250


async def test_it_decides_as_memory_does(opened: Open) -> None:
    """The same charges lead to the same decisions in both stores, to the unit."""
    shared, memory = opened(), MemoryStore(clock=FakeClock())
    costs = [(1, 5), (30, 0), (60, 1), (10, 10), (-20, 0), (0, 7), (15, -100), (200, 1), (14, 999_999_999)]
    for number, (requests, tokens) in enumerate(costs):
        charges = (Charge(DAY, requests), Charge(TOKENS, tokens, force=number % 3 == 0))
        for ours, theirs in zip(memory.take("k", charges), await shared.take("k", charges), strict=True):
            assert (ours.allowed, ours.limit, ours.retry_after > 0) == (
                theirs.allowed,
                theirs.limit,
                theirs.retry_after > 0,
            )
            assert theirs.reset == pytest.approx(ours.reset, abs=60)
            assert abs(ours.remaining - theirs.remaining) <= ours.limit // 1_000


async def test_several_rules_are_one_round_trip(opened: Open, valkey: Valkey) -> None:
    """Two quotas are charged by one command, all or none."""
    store = opened()
    await store.take("k", (Charge(DAY),))
    before = await commands(store)
    decisions = await store.take("k", (Charge(DAY, 100), Charge(TOKENS, 5)))
    assert await commands(store) - before == 1
    assert [each.allowed for each in decisions] == [False, True]
    assert (await store.take("k", (Charge(TOKENS, 10**9),)))[0].allowed


async def commands(store: RedisStore) -> int:
    """How many scripts the server has run."""
    stats = await store._client.info("commandstats")
    return stats.get("cmdstat_evalsha", {}).get("calls", 0) + stats.get("cmdstat_eval", {}).get("calls", 0)


async def test_a_callers_key_ends_with_its_debt(opened: Open) -> None:
    """What the server keeps of a caller expires once its budget is whole, and is gone at once when given back."""
    store = opened()
    await store.take("k", (Charge(Quota("q", Rate.parse("10/second")), 3),))
    (key,) = await store._client.keys()
    assert 0 < await store._client.pttl(key) <= 301
    await store.take("l", (Charge(DAY, 3),))
    assert await store._client.pttl(f"headgate:limit:{{l}}:{DAY.id}") > 2_000_000
    await store.take("l", (Charge(DAY, -3),))
    assert not await store._client.exists(f"headgate:limit:{{l}}:{DAY.id}")


async def test_a_value_that_is_not_ours_is_no_debt(opened: Open) -> None:
    """A key somebody else wrote into is taken for an idle caller's."""
    store = opened()
    await store._client.set(f"headgate:limit:{{k}}:{DAY.id}", "hello")
    assert (await store.take("k", (Charge(DAY),)))[0].remaining == 99


async def test_scripts_that_were_flushed_are_loaded_again(opened: Open) -> None:
    """A server that has forgotten the script is given it again within the same call."""
    store = opened()
    assert (await store.take("k", (Charge(DAY),)))[0].remaining == 99
    await store._client.script_flush()
    assert (await store.take("k", (Charge(DAY),)))[0].remaining == 98


@pytest.mark.parametrize("key", ["", "{", "a}b{c", "x" * 5_000, "\udcff", "ключ"])
async def test_any_key_will_do(key: str, opened: Open) -> None:
    """Whatever a caller is named, its charges are kept under a key of bounded length."""
    store = opened()
    for left in (99, 98):
        assert (await store.take(key, (Charge(DAY),)))[0].remaining == left
    (held,) = await store._client.keys()
    assert len(held) < 300


async def test_a_server_that_hangs_is_waited_for_no_longer_than_said(opened: Open, valkey: Valkey) -> None:
    """Past the timeout the call fails, and answers that come late are not taken for those of later calls."""
    store = opened(timeout=0.2)
    assert (await store.take("k", (Charge(DAY),)))[0].remaining == 99
    valkey.pause()
    started = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        await store.take("k", (Charge(DAY, 7),))
    assert time.monotonic() - started < 15
    assert (failed.value.code, "no answer within 0.2 s" in failed.value.internal) == ("limit_store_down", True)
    valkey.resume()
    store._timeout = 20
    assert (await store.take("other", (Charge(DAY),)))[0].remaining == 99


async def test_a_cancelled_call_spoils_no_connection(opened: Open, valkey: Valkey) -> None:
    """A caller that goes away while the server answers leaves nothing behind for the next one to read."""
    store = opened(max_connections=1)
    await store.take("k", (Charge(DAY, 50),))
    for _ in range(20):
        task = asyncio.create_task(store.take("k", (Charge(DAY, 1),)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await store.take("other", (Charge(DAY, 0),)))[0].remaining == 100


async def test_a_password_is_never_shown(opened: Open, valkey: Valkey) -> None:
    """Neither what describes the store, nor a fault, nor its cause holds the password."""
    await opened()._client.config_set("requirepass", "sesame")
    for url in (valkey.url, valkey.url.replace("://", "://:opensesame@")):
        store = RedisStore(url, timeout=20)
        with pytest.raises(Unavailable) as failed:
            await store.take("k", (Charge(DAY),))
        seen = (repr(store), str(failed.value), failed.value.internal, repr(failed.value.__cause__))
        assert "sesame" not in repr(seen)
        await store.aclose()
    right = RedisStore(valkey.url.replace("://", "://default:sesame@").replace("redis", "valkey"), timeout=20)
    assert (await right.take("k", (Charge(DAY),)))[0].allowed
    await right.aclose()


@pytest.mark.parametrize("url", ["http://:sesame@h/0", "sesame", "redis://:sesame/x@h:1", "redis://h:p:sesame@h:x"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    """It is refused with an example, and without being repeated."""
    with pytest.raises(InvalidArgument) as refused:
        RedisStore(url)
    assert refused.value.code == "invalid_store_url"
    assert "valkeys://" in refused.value.hint
    assert "sesame" not in repr((refused.value.message, refused.value.hint, refused.value.__cause__))


def test_without_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is missing, the fault names the extra that brings it."""
    for name in ("redis", "redis.asyncio", "redis.asyncio.retry", "redis.backoff"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FailedPrecondition) as refused:
        RedisStore("redis://127.0.0.1:1/0")
    assert (refused.value.code, "headgate[redis]" in refused.value.hint) == ("extra_missing", True)
