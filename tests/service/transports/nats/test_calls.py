"""Calls of one subject: in which tasks and contexts they run, how many at a time, and how they end early."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from headgate.service.transports.nats.calls import Calls, Running

PATIENCE = 10.0
SEEN: ContextVar[str] = ContextVar("seen", default="")


def running(reply: bytes = b"inbox") -> Running:
    """A call that came now."""
    return Running(reply, b"", b"", time.monotonic())


def calls_of(serve: Callable[[Running], Awaitable[None]], most: int = 4, most_waiting: int = 100) -> Calls:
    """Calls which `serve` answers."""
    return Calls(serve, most, most_waiting)  # type: ignore[arg-type]


async def settled(calls: Calls) -> None:
    """Wait until none is left."""
    async with asyncio.timeout(PATIENCE):
        while calls.tasks or calls.waiting:
            await asyncio.wait(calls.tasks)


@pytest.mark.parametrize("waits", [False, True])
async def test_no_call_sees_what_another_set(waits):
    """Each call has a context of its own, and keeps it while it waits."""
    seen: list[tuple[str, str]] = []

    async def serve(call: Running) -> None:
        before = SEEN.get()
        SEEN.set(call.reply.decode())
        if waits:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        seen.append((before, SEEN.get()))

    calls = calls_of(serve)
    for number in range(10):
        calls.came(running(str(number).encode()))
    await settled(calls)
    assert sorted(seen) == [("", str(number)) for number in range(10)]


async def test_a_call_is_in_one_task_from_its_first_step_to_its_last():
    """What binds itself to the task at hand, such as timeouts and groups of tasks, finds the same one later."""
    found: list[bool] = []

    async def serve(_call: Running) -> None:
        first = asyncio.current_task()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        found.append(first is asyncio.current_task() and first is not None and not first.cancelling())

    calls = calls_of(serve, most=8)
    for _ in range(8):
        calls.came(running())
    await settled(calls)
    assert found == [True] * 8


async def test_calls_that_wait_share_no_task():
    """A call that waits keeps its task; those behind it are begun by another, in the order they came."""
    begun: list[bytes] = []
    gate = asyncio.Event()

    async def serve(call: Running) -> None:
        begun.append(call.reply)
        await gate.wait()

    calls = calls_of(serve, most=3)
    for number in range(5):
        assert calls.came(running(b"%d" % number))
    async with asyncio.timeout(PATIENCE):
        while len(begun) < 3:
            await asyncio.sleep(0)
    assert (len(calls.running), len(calls.waiting)) == (3, 2)
    assert len({call.task for call in calls.running}) == 3
    gate.set()
    await settled(calls)
    assert begun == [b"0", b"1", b"2", b"3", b"4"]
    assert not calls.running


async def test_too_many_are_refused():
    """No more are taken than may run and wait."""

    async def serve(_call: Running) -> None:
        await asyncio.sleep(0)

    calls = calls_of(serve, most=2, most_waiting=1)
    assert [calls.came(running()) for _ in range(4)] == [True, True, True, False]
    await settled(calls)
    assert calls.came(running())
    await settled(calls)


async def test_calls_that_never_wait_leave_the_loop_to_others():
    """However many came at once, others have the loop in between."""
    served = 0
    between: list[int] = []

    async def serve(_call: Running) -> None:
        nonlocal served
        served += 1

    calls = calls_of(serve)
    for _ in range(100):
        calls.came(running())
    while served < 100:
        await asyncio.sleep(0)
        between.append(served)
    await settled(calls)
    assert len(set(between)) >= 5


async def test_a_call_that_breaks_takes_no_other_along():
    """Whatever one raises or cancels, at once or later, the others are served."""
    served: list[bytes] = []

    async def serve(call: Running) -> None:
        task = asyncio.current_task()
        assert task is not None
        match call.reply:
            case b"raises":
                raise ValueError
            case b"raises later":
                await asyncio.sleep(0)
                raise ValueError
            case b"cancelled":
                raise asyncio.CancelledError
            case b"cancels itself":
                task.cancel()
        await asyncio.sleep(0)
        served.append(call.reply)

    calls = calls_of(serve)
    for reply in (b"raises", b"1", b"raises later", b"2", b"cancelled", b"3", b"cancels itself", b"4"):
        calls.came(running(reply))
    await settled(calls)
    assert served == [b"1", b"2", b"3", b"4"]


async def test_a_call_that_cancels_its_task_and_returns_takes_no_other_along():
    """Also one that never waited."""
    served: list[bytes] = []

    async def serve(call: Running) -> None:
        if call.reply == b"bad":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return
        served.append(call.reply)

    calls = calls_of(serve)
    for reply in (b"bad", b"1", b"bad", b"2"):
        calls.came(running(reply))
    await settled(calls)
    assert served == [b"1", b"2"]


async def test_time_that_is_up_cancels_the_call():
    """A call that waits beyond `until` is cancelled, and can tell that it is late."""
    late: list[bool] = []

    async def serve(call: Running) -> None:
        call.until = time.monotonic() + 0.001
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            late.append(call.late)

    calls = calls_of(serve)
    calls.came(running())
    await settled(calls)
    assert late == [True]


async def test_calls_are_cancelled_by_where_they_are_answered():
    """Those that run are cancelled, those not begun are dropped, others go on."""
    gate, ended = asyncio.Event(), []

    async def serve(call: Running) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append((call.reply, "cancelled", call.left))
            raise
        ended.append((call.reply, "done", call.left))

    calls = calls_of(serve, most=2)
    for reply in (b"a", b"b", b"a", b"b"):
        calls.came(running(reply))
    async with asyncio.timeout(PATIENCE):
        while len(calls.running) < 2:
            await asyncio.sleep(0)
    calls.cancel(b"a")
    gate.set()
    await settled(calls)
    assert sorted(ended) == [(b"a", "cancelled", True), (b"b", "done", False), (b"b", "done", False)]


async def test_a_task_that_is_cancelled_before_its_first_step_is_followed_by_another():
    """Calls that it would have begun are not forgotten."""
    served: list[bytes] = []

    async def serve(call: Running) -> None:
        served.append(call.reply)

    calls = calls_of(serve)
    calls.came(running(b"1"))
    for task in calls.tasks:
        task.cancel()
    await settled(calls)
    assert served == [b"1"]
