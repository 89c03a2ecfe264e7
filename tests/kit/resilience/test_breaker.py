"""Breakers around coroutines: outcomes, cancellation, streams, and what the caller is told."""

import asyncio
import gc

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from headgate.kit.asgi.problems import install
from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import Aborted, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from headgate.kit.resilience.breaker import Breaker, Breakers, counts_against

POLICY = BreakerPolicy(minimum_calls=3, open_time=5, jitter=0, slow_call=30, probe_lease=10)


async def fine(value: int = 1) -> int:
    """A call that works."""
    return value


async def broken() -> int:
    """A call that fails."""
    raise OSError("no route to host")


class Observer:
    def __init__(self) -> None:
        self.told: list[tuple] = []

    def changed(self, target, before, after) -> None:
        self.told.append(("changed", target, before, after))

    def rejected(self, target) -> None:
        self.told.append(("rejected", target))

    def finished(self, target, outcome, seconds) -> None:
        self.told.append(("finished", target, outcome, seconds))


def breaker(clock, **fields) -> Breaker:
    """A breaker on the test's clock."""
    return Breaker("upstream", POLICY, clock=clock, jitter=lambda: 0.5, **fields)


async def open_it(one: Breaker) -> None:
    """Fail until the circuit is open."""
    for _ in range(3):
        with pytest.raises(OSError, match="no route"):
            await one.call(broken)
    assert one.state == "open"


async def test_results_and_errors_pass_through(clock):
    """A guarded call returns what the function returns and raises what it raises."""
    one = breaker(clock)
    assert await one.call(fine, 7) == 7
    assert await one.call(fine, value=8) == 8
    with pytest.raises(OSError, match="no route to host"):
        await one.call(broken)
    assert (one.stats().calls, one.stats().failures) == (3, 1)


async def test_an_open_circuit_refuses_without_calling(clock):
    """An open circuit raises Unavailable with the time to wait, names no host to the caller, and calls nothing."""
    one, called = breaker(clock), []
    await open_it(one)
    clock.pass_(2)
    with pytest.raises(Unavailable) as refused:
        await one.call(lambda: called.append(1))
    assert (refused.value.code, refused.value.retry_after, called) == ("circuit_open", 3, [])
    assert "upstream" not in refused.value.message + refused.value.hint
    assert "upstream" in refused.value.internal


async def test_it_recovers(clock):
    """After the open time one healthy call closes the circuit."""
    one = breaker(clock)
    await open_it(one)
    clock.pass_(5)
    assert await one.call(fine) == 1
    assert one.state == "closed"


async def test_one_probe_among_many_callers(clock):
    """Of many concurrent callers after the open time one gets through, the others are refused at once."""
    one, release, calls = breaker(clock), asyncio.Event(), []

    async def probe() -> int:
        calls.append(1)
        await release.wait()
        return 1

    await open_it(one)
    clock.pass_(5)
    tasks = [asyncio.create_task(one.call(probe)) for _ in range(20)]
    await asyncio.sleep(0)
    release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(calls) == 1
    assert results.count(1) == 1
    assert sum(isinstance(each, Unavailable) for each in results) == 19


async def test_d08_a_cancelled_probe_does_not_wedge(clock):
    """A cancelled probe gives its place back: the next caller probes and the circuit closes."""
    one = breaker(clock)
    await open_it(one)
    clock.pass_(5)
    probe = asyncio.create_task(one.call(asyncio.sleep, 3600))
    await asyncio.sleep(0)
    assert one.state == "half_open"
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await one.call(fine) == 1
    assert one.state == "closed"


async def test_d08_a_probe_that_is_never_finished_does_not_wedge(clock):
    """A probe whose coroutine is thrown away before it ends gives its place back."""
    one = breaker(clock)
    await open_it(one)
    clock.pass_(5)
    probe = one.call(asyncio.sleep, 0)
    probe.send(None)
    del probe
    gc.collect()
    assert await one.call(fine) == 1


async def test_cancelled_calls_are_not_failures(clock):
    """Callers who leave do not open the circuit."""
    one = breaker(clock)
    for _ in range(10):
        task = asyncio.create_task(one.call(asyncio.sleep, 3600))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert (one.state, one.stats().calls) == ("closed", 0)


async def test_a_hanging_target_opens_the_circuit(clock):
    """Calls that were given up after the time of a slow call open it, though each was only cancelled."""
    one = breaker(clock)
    tasks = [asyncio.create_task(one.call(asyncio.sleep, 3600)) for _ in range(3)]
    await asyncio.sleep(0)
    clock.pass_(30)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert one.state == "open"


@pytest.mark.parametrize("fault", [InvalidArgument("x"), NotFound("x"), Aborted("x")])
async def test_the_callers_faults_do_not_count(clock, fault):
    """Faults the caller is to blame for never open the circuit."""
    one = breaker(clock)

    @one.wrap
    async def refuse() -> None:
        raise fault

    for _ in range(10):
        with pytest.raises(type(fault)):
            await refuse()
    assert one.state == "closed"


def test_what_counts():
    """Failures of the target count, unknown errors too, and what is no Exception does not."""
    assert all(counts_against(each) for each in (Unavailable("x"), DeadlineExceeded("x"), ValueError(), TimeoutError()))
    assert not any(counts_against(each) for each in (asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()))


async def test_what_counts_can_be_chosen(clock):
    """A function of one's own decides which errors count."""
    one = breaker(clock, counts=lambda _: False)
    for _ in range(10):
        with pytest.raises(OSError, match="no route"):
            await one.call(broken)
    assert one.state == "closed"


async def test_a_guard_counts_once(clock):
    """A guarded block counts as one call, also when it left early or was marked as failed."""
    one = breaker(clock)
    async with one.guard():
        pass
    async with one.guard() as guard:
        guard.fail(OSError("a 503"))
        guard.leave()
    with pytest.raises(OSError, match="down"):
        async with one.guard():
            raise OSError("down")
    assert one.state == "open"
    with pytest.raises(Unavailable):
        async with one.guard():
            pytest.fail("entered")


async def test_streams_are_judged_by_their_beginning_and_their_end(clock):
    """A stream's first chunk closes a half-open circuit, its length is not slowness, its failure counts."""
    one = breaker(clock)

    @one.wrap
    async def stream(end: BaseException | None):
        yield 1
        clock.pass_(100)
        yield 2
        if end:
            raise end

    await open_it(one)
    clock.pass_(5)
    chunks = stream(None)
    assert await anext(chunks) == 1
    assert one.state == "closed"
    assert [chunk async for chunk in chunks] == [2]
    assert (one.stats().calls, one.stats().slow) == (1, 0)
    with pytest.raises(OSError, match="cut"):
        assert [chunk async for chunk in stream(OSError("cut"))]
    assert one.stats().failures == 1


async def test_a_stream_left_early_is_neutral(clock):
    """A reader who leaves a stream before its end says nothing about the target."""
    one = breaker(clock)

    @one.wrap
    async def stream():
        yield 1
        yield 2

    chunks = stream()
    assert await anext(chunks) == 1
    await chunks.aclose()
    assert one.stats().calls == 0


async def test_the_observer_hears_everything(clock):
    """Outcomes with their seconds, refusals and changes of state reach the observer."""
    observer = Observer()
    one = breaker(clock, observer=observer)
    await one.call(fine)
    one.reset()
    await open_it(one)
    with pytest.raises(Unavailable):
        await one.call(fine)
    failure = ("finished", "upstream", "failure", 0.0)
    assert observer.told == [
        ("finished", "upstream", "success", 0.0),
        failure,
        failure,
        ("changed", "upstream", "closed", "open"),
        failure,
        ("rejected", "upstream"),
    ]


async def test_targets_do_not_share_a_circuit(clock):
    """One target's failures open that target's circuit only; a reset closes it."""
    breakers = Breakers(POLICY, clock=clock)
    await open_it(breakers["a"])
    assert await breakers["b"].call(fine) == 1
    assert breakers.open_targets() == ["a"]
    assert breakers.stats()["a"].state == "open"
    breakers.reset()
    assert await breakers["a"].call(fine) == 1


def test_targets_are_bounded():
    """However many targets there are, only the latest used are kept."""
    breakers = Breakers(limit=10)
    kept = breakers["kept"]
    for number in range(1000):
        assert breakers["kept"] is kept
        assert breakers[f"target-{number}"]
    assert len(breakers) == 10


async def test_d15_an_open_circuit_answers_503_with_retry_after():
    """Over HTTP an open circuit is a 503 problem with the time to wait in Retry-After."""
    one = Breaker("upstream", BreakerPolicy(minimum_calls=1, open_time=7, jitter=0))

    async def endpoint(request):
        return PlainTextResponse(str(await one.call(broken)))

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).status_code == 500
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (503, "circuit_open")
    assert 1 <= int(answer.headers["retry-after"]) <= 7
