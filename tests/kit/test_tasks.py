"""Tasks end, also those that miss that they were cancelled."""

import asyncio
import sys

import pytest

from headgate.kit.tasks import end


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again():
    """What a library lets pass as an answer is asked for again."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(task, again=0.01)
    assert swallowed == 3
    assert task.cancelled()


async def test_what_is_over_or_never_was_needs_no_end():
    """Nothing, tasks that ended well and tasks that failed are the same; a failure is not told as never looked at."""

    async def fails() -> None:
        raise ValueError("its own")

    done = [asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fails())]
    await asyncio.wait(done)
    complained: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complained.append(context))
    await end(None, *done)
    await end()
    del done
    await asyncio.sleep(0)
    assert complained == []


async def test_who_waits_can_be_cancelled():
    """The cancellation of whoever waits for the end is not taken for that of the task."""
    released = asyncio.Event()

    async def takes_its_time() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await released.wait()

    task = asyncio.create_task(takes_its_time())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(task, again=60))
    await asyncio.sleep(0.01)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert not task.done()
    released.set()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio.wait_for keeps cancellations from Python 3.12 on")
async def test_why_wait_for_is_banned():
    """An answer and a cancellation in one turn of the loop: `wait_for` returns the answer, `timeout` ends."""

    async def for_ever(event: asyncio.Event, *, banned: bool) -> None:
        while True:
            if banned:
                await asyncio.wait_for(event.wait(), 60)
            else:
                async with asyncio.timeout(60):
                    await event.wait()
            event.clear()

    lives = []
    for banned in (True, False):
        event = asyncio.Event()
        task = asyncio.create_task(for_ever(event, banned=banned))
        await asyncio.sleep(0.01)
        event.set()
        await asyncio.sleep(0)
        task.cancel()
        lives.append(not (await asyncio.wait([task], timeout=0.1))[0])
        await end(task, again=0.01)
    assert lives == [True, False]
