"""A stream under way: its readers, its memory and its back-pressure."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import ResourceExhausted
from headgate.kit.resilience.live import CHUNK_OVERHEAD, Live
from tests.kit.resilience.conftest import until


async def read(reader, chunks: int = 10**9) -> list[bytes]:
    """Read so many chunks, or all."""
    read = []
    while len(read) < chunks and (chunk := await reader.next()) is not None:
        read.append(chunk)
    return read


def live(largest: int = 1000, stall: float = 60) -> Live:
    """A stream of a size."""
    return Live(largest=largest, stall=stall)


async def test_everybody_reads_everything():
    """Readers get every chunk from the first, whether they attached early or late."""
    stream = live()
    early = asyncio.create_task(read(stream.attach()))
    await stream.put(b"a")
    late = asyncio.create_task(read(stream.attach()))
    await stream.put(b"b")
    stream.end()
    assert await early == await late == await read(stream.attach()) == [b"a", b"b"]


async def test_errors_come_after_the_chunks_before_them():
    """Each reader gets what was produced before the error, then the error."""
    stream = live()
    await stream.put(b"a")
    stream.end(RuntimeError("cut"))
    for _ in range(2):
        reader = stream.attach()
        assert await reader.next() == b"a"
        with pytest.raises(RuntimeError, match="cut"):
            await reader.next()


async def test_recorded_streams_are_not_held_up():
    """While a stream is recorded its producer never waits, whoever reads."""
    stream = live(largest=100_000)
    stream.attach()
    async with asyncio.timeout(10):
        for _ in range(100):
            await stream.put(b"x" * 100)
    assert stream.recording


async def test_a_large_stream_waits_for_its_only_reader():
    """A stream that outgrew its record holds no more than that much unread, and all of it arrives."""
    stream = live(largest=1000, stall=0.01)
    reader = stream.attach()
    produced = []

    async def produce() -> None:
        for number in range(100):
            produced.append(number)
            await stream.put(bytes([number]) * 100)
        stream.end()

    task = asyncio.create_task(produce())
    await until(lambda: stream._room is not None)
    assert len(produced) <= 1000 // (100 + CHUNK_OVERHEAD) + 2
    assert [chunk[0] for chunk in await read(reader)] == list(range(100))
    await task
    assert (stream.chunks(), stream.cut) == ([], 0)


async def test_a_slow_reader_is_cut_off_when_others_wait():
    """A reader who keeps another waiting for longer than allowed is cut off; the other gets everything."""
    stream = live(largest=1000, stall=0.05)
    slow, fast = stream.attach(), stream.attach()
    reading = asyncio.create_task(read(fast))
    for number in range(50):
        await stream.put(bytes([number]) * 100)
    stream.end()
    assert [chunk[0] for chunk in await reading] == list(range(50))
    with pytest.raises(ResourceExhausted) as cut:
        await read(slow)
    assert (cut.value.code, stream.cut) == ("stream_too_slow", 1)


async def test_a_reader_who_leaves_makes_room():
    """When the reader that the producer waits for leaves, the producer goes on."""
    stream = live(largest=300)
    slow = stream.attach()
    producing = asyncio.create_task(_put_many(stream, 20))
    await until(lambda: not stream.recording)
    assert not producing.done()
    stream.detach(slow)
    await producing
    assert stream.chunks() == []


async def _put_many(stream: Live, number: int) -> None:
    for _ in range(number):
        await stream.put(b"x" * 100)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), max_size=30),
    readers=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 3)), min_size=1, max_size=4),
)
def test_whatever_the_paces_everybody_reads_the_same(sizes, readers):
    """Whatever the sizes of chunks, and whenever and however fast it is read, each reader gets all in order."""

    async def go() -> None:
        stream = live(largest=1000)
        chunks = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
        got: list[list[bytes]] = []

        async def consume(start: int, pace: int) -> None:
            for _ in range(start):
                await asyncio.sleep(0)
            if not stream.recording:
                return
            reader, mine = stream.attach(), []
            got.append(mine)
            while (chunk := await reader.next()) is not None:
                mine.append(chunk)
                for _ in range(pace):
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(consume(*each)) for each in readers]
        await asyncio.sleep(0)
        for chunk in chunks:
            await stream.put(chunk)
            if not stream.recording:
                assert stream._unread <= 1000
            await asyncio.sleep(0)
        stream.end()
        await asyncio.gather(*tasks)
        assert all(mine == chunks for mine in got)

    asyncio.run(go())
