"""Single flight: one call for all who ask at once."""

import asyncio
import contextvars

import pytest

from headgate.kit.controls.faults import Aborted
from headgate.kit.resilience.flight import Flights
from tests.kit.resilience.conftest import until


class Upstream:
    """A call that ends when the test says so."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls = self.cancelled = 0
        self.go = asyncio.Event()
        self.error = error

    async def __call__(self, flight) -> str:
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return "answer"


def callers(flights, upstream, number, key="k"):
    """That many callers at once."""
    return [asyncio.create_task(flights.join(key, upstream)) for _ in range(number)]


async def test_callers_at_once_share_one_call():
    """50 callers at once make one call, and the next one after it another."""
    flights, upstream = Flights(), Upstream()
    tasks = callers(flights, upstream, 50)
    await until(lambda: upstream.calls)
    upstream.go.set()
    assert set(await asyncio.gather(*tasks)) == {"answer"}
    assert await flights.join("k", upstream) == "answer"
    assert upstream.calls == 2


async def test_keys_do_not_wait_for_each_other():
    """Callers of different keys make calls of their own."""
    flights, upstream = Flights(), Upstream()
    tasks = callers(flights, upstream, 2, "a") + callers(flights, upstream, 2, "b")
    await until(lambda: upstream.calls == 2)
    upstream.go.set()
    await asyncio.gather(*tasks)


async def test_d10_an_error_is_shared():
    """20 callers of a call that fails make one call, and each gets its error."""
    flights, upstream = Flights(), Upstream(RuntimeError("down"))
    tasks = callers(flights, upstream, 20)
    await until(lambda: upstream.calls)
    upstream.go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["down"] * 20
    assert upstream.calls == 1


async def test_d09_nothing_stays_behind():
    """A flight is forgotten when it ends, fails or is left, whatever the number of keys."""
    flights, upstream = Flights(), Upstream()
    upstream.go.set()
    for number in range(2000):
        await flights.join(str(number), upstream)
    failing = Upstream(RuntimeError("down"))
    failing.go.set()
    for number in range(100):
        with pytest.raises(RuntimeError):
            await flights.join(str(number), failing)
    for task in (left := callers(flights, Upstream(), 5)):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait(left)
    await until(lambda: len(flights) == 0)


async def test_a_leader_who_leaves_harms_nobody():
    """When the caller who began the call is cancelled, the others get its answer."""
    flights, upstream = Flights(), Upstream()
    leader, *others = callers(flights, upstream, 5)
    await until(lambda: upstream.calls)
    leader.cancel()
    await asyncio.wait([leader])
    upstream.go.set()
    assert await asyncio.gather(*others) == ["answer"] * 4
    assert leader.cancelled()
    assert (upstream.calls, upstream.cancelled) == (1, 0)


async def test_the_last_one_who_leaves_ends_the_call():
    """When everybody left the call is cancelled, and who comes at that moment begins a new one."""
    flights, upstream = Flights(), Upstream()
    tasks = callers(flights, upstream, 3)
    await until(lambda: upstream.calls)
    for task in tasks:
        task.cancel()
    late = asyncio.create_task(flights.join("k", upstream))
    await asyncio.wait(tasks)
    await until(lambda: upstream.calls == 2)
    upstream.go.set()
    assert await late == "answer"
    assert upstream.cancelled == 1


async def test_a_call_cancelled_from_inside_is_an_error():
    """When the call is cancelled by itself its callers, who are not, get an error to retry on."""
    flights, upstream = Flights(), Upstream(asyncio.CancelledError())
    tasks = callers(flights, upstream, 3)
    upstream.go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [Aborted] * 3


async def test_a_detached_call_is_not_joined():
    """After a detach those who wait get the old answer, and new callers a new call."""
    flights, upstream = Flights(), Upstream()
    seen = []

    async def ask(flight):
        answer = await upstream(flight)
        seen.append(flight.current)
        return answer

    first = callers(flights, ask, 2)
    await until(lambda: upstream.calls)
    flights.detach("k")
    second = callers(flights, ask, 2)
    await until(lambda: upstream.calls == 2)
    upstream.go.set()
    await asyncio.gather(*first, *second)
    assert seen == [False, True]
    assert len(flights) == 0


async def test_a_call_nobody_waits_for():
    """A call begun in the background runs to its end; callers who come meanwhile join it."""
    flights, upstream = Flights(), Upstream()
    assert flights.begin("k", upstream)
    assert not flights.begin("k", upstream)
    await until(lambda: upstream.calls)
    (caller,) = callers(flights, upstream, 1)
    upstream.go.set()
    await caller
    await until(lambda: not len(flights))
    assert (upstream.calls, upstream.cancelled) == (1, 0)


async def test_a_call_in_the_background_cannot_block_its_key():
    """When a call that nobody began to wait for hangs, the last caller who gave up on it ends it for those to come."""
    flights, upstream = Flights(), Upstream()
    flights.begin("k", upstream)
    await until(lambda: upstream.calls)
    waiting = callers(flights, upstream, 2)
    await asyncio.sleep(0)
    for caller in waiting:
        caller.cancel()
    await asyncio.wait(waiting)
    assert "k" not in flights
    upstream.go.set()
    (caller,) = callers(flights, upstream, 1)
    await caller
    assert (upstream.calls, upstream.cancelled) == (2, 1)


async def test_closing_cancels_what_is_under_way():
    """Closing ends every call and waits for it, also those detached."""
    flights, upstream = Flights(), Upstream()
    tasks = callers(flights, upstream, 2, "a") + callers(flights, upstream, 2, "b")
    await until(lambda: upstream.calls == 2)
    flights.detach("a")
    await flights.aclose()
    assert upstream.cancelled == 2
    await asyncio.wait(tasks)


async def test_the_context_can_be_chosen():
    """The call runs in the context that is given, so that the first caller's does not leak into it."""
    variable = contextvars.ContextVar("variable", default="none")
    clean = contextvars.copy_context()
    variable.set("the first caller's")

    async def ask(_flight):
        return variable.get()

    assert await Flights().join("k", ask) == "the first caller's"
    assert await Flights(context=clean.copy).join("k", ask) == "none"
