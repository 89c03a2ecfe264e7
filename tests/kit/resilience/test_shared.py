"""The shared store and the cache on it: a real Valkey, and processes of their own."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, ResourceExhausted
from headgate.kit.resilience.cache import CachePolicy, FlowCache
from headgate.kit.resilience.shared import SharedStore, StoreDown
from headgate.testing.server import freeze
from tests.kit.resilience.conftest import start_valkey, until
from tests.kit.resilience.test_cache import Upstream

WORKER = Path(__file__).with_name("worker.py")
A, B = "a" * 32, "b" * 32
SOON = BreakerPolicy(
    minimum_calls=1, failure_rate=0.001, slow_call=None, relapse_calls=1, open_time=0.05, longest_open_time=0.1
)


class Worker:
    """A process with a cache."""

    def __init__(self, **given) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps({"callers": 20, **given})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def line(self) -> str:
        return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    async def ready(self) -> None:
        assert await self.line() == "ready"

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    async def result(self) -> dict:
        while not (line := await self.line()).startswith("{"):
            assert line, "the worker ended without a result"
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def workers():
    """Start workers, which are ended after the test."""
    started = []

    def start(**given) -> Worker:
        started.append(Worker(**given))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
async def stores(valkey_address):
    """Make stores on the Valkey, which are closed after the test."""
    made = []

    def make(url=valkey_address, **fields) -> SharedStore:
        made.append(SharedStore(url, **{"timeout": 20, **fields}))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


@pytest.fixture
async def caches(stores):
    """Make caches, each on a store of its own, as if in processes of their own."""
    made = []

    def make(store=None, **fields) -> FlowCache:
        made.append(FlowCache(CachePolicy(**{"lease_seconds": 20, **fields}), shared=store or stores()))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


class TestLease:
    """The exchange with the store."""

    async def test_one_holds_the_lease(self, stores):
        """The first who looks holds the lease, the next waits for it, and finds what the first published."""
        store = stores()
        assert (await store.look("n:k", token=A, lease=20)).kind == "lease"
        waiting = await store.look("n:k", token=B, lease=20)
        assert (waiting.kind, waiting.data) == ("wait", A.encode())
        assert 0 < waiting.left <= 20
        assert await store.publish("n:k", A, b"answer", 60)
        found = await store.look("n:k", token=B, lease=20)
        assert (found.kind, found.data) == ("value", b"answer")
        assert 50 < found.left <= 60

    async def test_asking_twice_is_asking_once(self, stores):
        """Whoever asks again with the same token, because the answer was lost, still holds the lease."""
        store = stores()
        assert (await store.look("n:k", token=A, lease=20)).kind == "lease"
        assert (await store.look("n:k", token=A, lease=20)).kind == "lease"

    async def test_a_lost_lease_can_do_nothing(self, stores):
        """A holder whose lease ran out or was taken cannot publish, fail, renew or release it."""
        store = stores()
        await store.look("n:k", token=A, lease=0.001)
        await until(lambda: _is(store.look("n:k", token=B, lease=20), "lease"))
        assert not await store.publish("n:k", A, b"late", 60)
        assert not await store.fail("n:k", A, b"late", 60)
        assert not await store.renew("n:k", A, 60)
        assert not await store.release("n:k", A)
        assert await store.renew("n:k", B, 60)
        assert await store.publish("n:k", B, b"answer", 60)
        assert (await store.get("n:k")).data == b"answer"

    async def test_errors_reach_those_who_waited(self, stores):
        """An error is found by those who waited for that very lease; who comes later tries anew."""
        store = stores()
        await store.look("n:k", token=A, lease=20)
        await store.fail("n:k", A, b"told", 60)
        waited = await store.look("n:k", token=B, lease=20, waited_for=A)
        assert (waited.kind, waited.data) == ("error", b"told")
        assert (await store.look("n:k", token=B, lease=20, any_error=True)).kind == "error"
        assert (await store.look("n:k", token=B, lease=20)).kind == "lease"

    async def test_forgetting_takes_the_lease(self, stores):
        """After an entry is forgotten what was being made for it is not kept."""
        store = stores()
        await store.look("n:k", token=A, lease=20)
        await store.delete("n:k")
        assert not await store.publish("n:k", A, b"old", 60)
        assert await store.get("n:k") is None

    async def test_clearing_a_namespace(self, stores):
        """Clearing takes the keys of one namespace, in any number, and no other's."""
        store = stores()
        for number in range(1200):
            await store.put(f"n:{number}", b"x", 60)
        await store.put("other:1", b"x", 60)
        await store.clear("n:")
        assert await store.get("other:1")
        assert [number for number in range(1200) if await store.get(f"n:{number}")] == []

    async def test_prefixes_are_apart(self, stores):
        """Two stores with different prefixes on one server share nothing."""
        one, other = stores(prefix="one"), stores(prefix="other")
        await one.put("n:k", b"x", 60)
        assert await other.get("n:k") is None

    @pytest.mark.parametrize("url", ["http://127.0.0.1", "nonsense", "redis://127.0.0.1:port/0"])
    def test_impossible_urls_are_refused(self, url):
        """A URL no client understands is refused, and the refusal does not repeat it."""
        with pytest.raises(InvalidArgument) as refused:
            SharedStore(url)
        assert url not in str(refused.value)

    async def test_valkey_urls_are_understood(self, stores, valkey_address):
        """The scheme may be Valkey's own."""
        store = stores(valkey_address.replace("redis:", "valkey:"))
        await store.put("n:k", b"x", 60)
        assert await store.get("n:k")

    def test_a_missing_client_is_named(self, monkeypatch):
        """Without redis-py the refusal says which extra to install."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(FailedPrecondition) as refused:
            SharedStore("redis://127.0.0.1")
        assert "headgate[redis]" in refused.value.hint


def watch(store: SharedStore, name: str, results: list) -> None:
    """Note what each call of a method of `store` came to."""
    method = getattr(store, name)

    async def noting(*args, **kwargs):
        result = await method(*args, **kwargs)
        results.append(result)
        return result

    setattr(store, name, noting)


async def _is(looking, kind: str) -> bool:
    return (await looking).kind == kind


async def _gone(found) -> bool:
    """Whether nothing is kept."""
    return await found is None


async def _aged(getting, left: float) -> bool:
    return (await getting).left < left


class TestTogether:
    """Several caches on one store."""

    async def test_an_answer_is_shared(self, caches):
        """What one cache got another finds, without a call, and from then on in its own memory."""
        one, other, upstream = caches(), caches(), Upstream()
        assert await one.get_or_call("n:k", upstream) == await other.get_or_call("n:k", upstream)
        await other.get_or_call("n:k", upstream)
        assert upstream.calls == 1
        assert other.stats().events == {"miss": 1, "shared_hit": 1, "hit": 1}

    async def test_caches_wait_for_one_call(self, caches):
        """Callers of several caches at once make one call."""
        upstream = Upstream()
        upstream.go.clear()
        made = [caches() for _ in range(3)]
        tasks = [asyncio.create_task(each.get_or_call("n:k", upstream)) for each in made for _ in range(5)]
        await until(lambda: upstream.calls)
        upstream.go.set()
        assert [answer["number"] for answer in await asyncio.gather(*tasks)] == [1] * 15

    async def test_d10_an_error_is_shared_with_those_who_wait(self, caches, stores):
        """Callers of several caches at once of a failing upstream make one call and all get its error."""
        upstream = Upstream()
        upstream.go.clear()
        upstream.error = ResourceExhausted("quota", retry_after=7)
        store, looks = stores(), []
        watch(store, "look", looks)
        one, other = caches(told_seconds=60), caches(store, told_seconds=60)
        tasks = [asyncio.create_task(one.get_or_call("n:k", upstream)) for _ in range(5)]
        await until(lambda: upstream.calls)
        tasks += [asyncio.create_task(other.get_or_call("n:k", upstream)) for _ in range(5)]
        await until(lambda: looks)
        upstream.go.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {(type(each), each.retry_after) for each in errors} == {(ResourceExhausted, 7)}
        assert upstream.calls == 1
        upstream.error = None
        await other.get_or_call("n:k", upstream)
        assert upstream.calls == 2

    async def test_remembered_errors_are_for_everybody(self, caches):
        """With `error_seconds` an error of one cache is given by another that comes later."""
        one, other, upstream = caches(error_seconds=60), caches(error_seconds=60), Upstream()
        upstream.error = ResourceExhausted("quota")
        for each in (one, other):
            with pytest.raises(ResourceExhausted):
                await each.get_or_call("n:k", upstream)
        assert upstream.calls == 1

    async def test_callers_who_all_leave_give_the_lease_back(self, caches):
        """When all callers of the holder leave, another cache takes over without waiting for the lease's end."""
        one, other, upstream = caches(lease_seconds=1000), caches(lease_seconds=1000), Upstream()
        upstream.go.clear()
        task = asyncio.create_task(one.get_or_call("n:k", upstream))
        await until(lambda: upstream.calls)
        task.cancel()
        upstream.go.set()
        assert (await other.get_or_call("n:k", upstream))["number"] == 2

    async def test_a_caller_who_leaves_while_asking_gives_the_lease_back(self, caches, stores):
        """When the only caller leaves before the store's answer arrives, the lease it may hold is given back."""
        store, upstream, asked = stores(), Upstream(), asyncio.Event()
        look = store.look

        async def slow(*args, **kwargs):
            await look(*args, **kwargs)
            asked.set()
            await asyncio.Event().wait()

        store.look = slow
        task = asyncio.create_task(caches(store, lease_seconds=1000).get_or_call("n:k", upstream))
        await asked.wait()
        task.cancel()
        assert (await caches(lease_seconds=1000).get_or_call("n:k", upstream))["number"] == 1

    async def test_a_lease_is_renewed_while_the_call_runs(self, caches, stores):
        """A call that takes longer than the lease still holds it."""
        store, renewals = stores(), []
        watch(store, "renew", renewals)
        one, other, upstream = caches(store, lease_seconds=1.5), caches(lease_seconds=1.5), Upstream()
        upstream.go.clear()
        first = asyncio.create_task(one.get_or_call("n:k", upstream))
        await until(lambda: upstream.calls)
        second = asyncio.create_task(other.get_or_call("n:k", upstream))
        await until(lambda: renewals == [True] * 4)
        upstream.go.set()
        assert await first == await second
        assert upstream.calls == 1

    async def test_memory_is_asked_for_a_while_only(self, caches, stores):
        """An answer invalidated elsewhere lives on in memory for `memory_seconds`, no longer."""
        now = [0.0]
        one, other, upstream = FlowCache(shared=stores(), clock=lambda: now[0]), caches(), Upstream()
        await one.get_or_call("n:k", upstream)
        assert await other.invalidate("n:k")
        now[0] = 9.9
        assert (await one.get_or_call("n:k", upstream))["number"] == 1
        now[0] = 10
        assert (await one.get_or_call("n:k", upstream))["number"] == 2

    async def test_an_answer_invalidated_while_it_is_made_is_not_kept(self, caches):
        """An invalidation by another cache keeps a call under way from being published."""
        one, other, upstream = caches(), caches(), Upstream()
        upstream.go.clear()
        task = asyncio.create_task(one.get_or_call("n:k", upstream))
        await until(lambda: upstream.calls)
        await other.invalidate("n:k")
        upstream.go.set()
        await task
        assert (await other.get_or_call("n:k", upstream))["number"] == 2

    async def test_a_stale_answer_is_renewed_once(self, caches, stores):
        """A stale answer in the store is given at once and renewed in the background by one call."""
        fields = {"seconds": 0.2, "stale_seconds": 600, "memory_seconds": 600}
        one, other, upstream = caches(**fields), caches(**fields), Upstream()
        await one.get_or_call("n:k", upstream)
        store = stores()
        await until(lambda: _aged(store.get("n:k"), 600))
        upstream.go.clear()
        assert (await other.get_or_call("n:k", upstream))["number"] == 1
        await until(lambda: upstream.calls == 2)
        assert (await one.get_or_call("n:k", upstream))["number"] == 1
        upstream.go.set()
        await until(lambda: one.stats().flights == other.stats().flights == 0)
        assert upstream.calls <= 3
        assert (await other.get_or_call("n:k", upstream))["number"] >= 2

    async def test_a_renewal_that_hangs_holds_others_up_no_longer_than_it_helps(self, caches, stores):
        """A renewal in the background keeps its lease while the stale answer is given, and not for ever."""
        fields = {"seconds": 0.1, "stale_seconds": 2.0, "memory_seconds": 0.05, "lease_seconds": 0.3}
        one, other, upstream = caches(**fields), caches(**fields), Upstream()
        await one.get_or_call("n:k", upstream)
        store = stores()
        await until(lambda: _aged(store.get("n:k"), 2.0))
        upstream.go.clear()
        await one.get_or_call("n:k", upstream)
        await until(lambda: upstream.calls == 2)
        others = Upstream()
        await until(lambda: _gone(store.get("n:k")))
        assert (await asyncio.wait_for(other.get_or_call("n:k", others), 30))["number"] == 1
        assert upstream.calls == 2

    async def test_unreadable_answers_are_replaced(self, caches, stores):
        """Bytes in the store that are no answer are thrown away and the call is made."""
        await stores().put("n:k", b"\x80\x04K\x07.", 60)
        assert (await caches().get_or_call("n:k", Upstream()))["number"] == 1

    async def test_large_answers_are_not_published(self, caches):
        """An answer over the size of one entry is not in the store, and the lease is given back."""
        one, other, upstream = caches(largest=5), caches(), Upstream()
        await one.get_or_call("n:k", upstream)
        assert (await other.get_or_call("n:k", upstream))["number"] == 2

    async def test_clearing_reaches_the_store(self, caches):
        """Clearing a namespace clears it in the store."""
        one, other, upstream = caches(), caches(), Upstream()
        await one.get_or_call("n:k", upstream)
        assert await one.clear("n")
        assert (await other.get_or_call("n:k", upstream))["number"] == 2


def polls(valkey) -> int:
    """How many scripts the Valkey has run: what the processes wait with."""
    return valkey.client().info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


class TestProcesses:
    """Processes of their own on one Valkey."""

    async def test_two_processes_make_one_call(self, workers, valkey_address, valkey):
        """20 callers in each of two processes, at once, make one call and get the same answer."""
        both = [workers(url=valkey_address), workers(url=valkey_address)]
        valkey.client().set("open", 1)
        for each in both:
            await each.ready()
        for each in both:
            each.go()
        results = [await each.result() for each in both]
        assert [each["got"] for each in results] == [[{"number": 1}] * 20] * 2
        assert int(valkey.client().get("calls")) == 1

    async def test_d10_two_processes_share_an_error(self, workers, valkey_address, valkey):
        """20 callers in each of two processes, while upstream fails, make one call and get its fault."""
        first, second = (workers(url=valkey_address, fails=True) for _ in range(2))
        await first.ready()
        await second.ready()
        first.go()
        await until(lambda: valkey.client().get("calls"))
        second.go()
        before = polls(valkey)
        await until(lambda: polls(valkey) >= before + 4)
        valkey.client().set("open", 1)
        results = [await first.result(), await second.result()]
        assert [each["got"] for each in results] == [[["ResourceExhausted", "quota is used up"]] * 20] * 2
        assert int(valkey.client().get("calls")) == 1

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
    async def test_a_process_that_dies_is_replaced(self, workers, valkey_address, valkey, how):
        """When the process that makes the call dies or hangs, one that waits takes over."""
        first = workers(url=valkey_address, lease=1)
        await first.ready()
        first.go()
        assert await first.line() == "calling"
        second = workers(url=valkey_address, lease=1)
        await second.ready()
        second.go()
        freeze(first.process.pid) if how == signal.SIGSTOP else first.process.send_signal(how)
        valkey.client().set("open", 1)
        assert (await second.result())["got"] == [{"number": 2}] * 20
        assert int(valkey.client().get("calls")) == 2


class TestOutage:
    """A Valkey that goes away and comes back."""

    async def test_the_memory_goes_on_alone_and_the_store_comes_back(self, stores, caches, logged):
        """Without the store every call works, each cache for itself; when it is back it is used again."""
        server = start_valkey()
        port = server.port
        try:
            store = stores(server.connection_url, outage=SOON, timeout=10)
            one, upstream = caches(store), Upstream()
            await one.get_or_call("n:1", upstream)
            server.terminate()
            for number in range(20):
                await one.get_or_call("n:2", upstream)
                await one.get_or_call(f"n:{number + 3}", upstream)
            assert upstream.calls == 22
            assert not await one.invalidate("n:1")
            assert not await one.clear("n")
            with pytest.raises(StoreDown):
                await store.get("n:1")
            server = start_valkey(port)

            async def shared() -> bool:
                await one.get_or_call("n:back", upstream, seconds=600)
                await one.invalidate("n:back")
                return store._breaker.state == "closed"

            await until(shared)
            await one.get_or_call("n:new", upstream)
            assert server.client().exists("headgate:cache:{n:new}")
        finally:
            server.terminate()
        assert one.stats().outages == 1
        events = [line["event"] for line in logged() if line["logger"] == "headgate.cache"]
        assert events == [
            "the shared cache does not answer: going on with this process's memory",
            "the shared cache answers again",
        ]

    async def test_a_store_killed_during_a_call(self, stores, caches):
        """When the store dies while a call is made and waited for, every caller still gets an answer."""
        server = start_valkey()
        try:
            one, other = (caches(stores(server.connection_url, outage=SOON, timeout=10)) for _ in range(2))
            upstream = Upstream()
            upstream.go.clear()
            tasks = [asyncio.create_task(each.get_or_call("n:k", upstream)) for each in (one, other) for _ in range(5)]
            await until(lambda: upstream.calls)
            server.terminate()
            await until(lambda: upstream.calls == 2)
            upstream.go.set()
            answers = await asyncio.gather(*tasks)
        finally:
            server.terminate()
        assert {answer["number"] for answer in answers} == {1, 2}

    async def test_a_store_that_was_never_there(self, caches):
        """A store that does not answer from the beginning does not keep anybody from working."""
        upstream = Upstream()
        one = caches(SharedStore("redis://127.0.0.1:1/0"))
        assert [(await one.get_or_call("n:k", upstream))["number"] for _ in range(3)] == [1, 1, 1]

    async def test_a_store_that_hangs(self, stores, caches, valkey):
        """A store that accepts and never answers costs its time-out once, not for every call."""
        server = start_valkey()
        try:
            outage = BreakerPolicy(minimum_calls=1, open_time=60)
            one = caches(stores(server.connection_url, timeout=0.2, outage=outage))
            freeze(server._process.pid)
            upstream = Upstream()
            async with asyncio.timeout(20):
                for number in range(200):
                    await one.get_or_call(f"n:{number}", upstream)
        finally:
            server.terminate()
        assert one.stats().outages == 1
