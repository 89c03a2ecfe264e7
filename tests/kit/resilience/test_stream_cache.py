"""The cache of streams: live for those who come together, again for those who come later."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import Aborted, InvalidArgument, Unavailable
from headgate.kit.resilience.codec import BYTES
from headgate.kit.resilience.shared import SharedStore
from headgate.kit.resilience.stream_cache import StreamCache, StreamPolicy, join, split
from tests.kit.resilience.conftest import start_valkey, until

KEY = "story:1"


class Story:
    """A producer that yields what the test feeds it."""

    def __init__(self, *chunks, error: BaseException | None = None) -> None:
        self.calls = self.closed = 0
        self.chunks = list(chunks)
        self.error = error
        self.gates: list[asyncio.Event] = []

    def gate(self, number: int) -> "Story":
        """Wait before each of the first chunks until `open` is called."""
        self.gates = [asyncio.Event() for _ in range(number)]
        return self

    def open(self, number: int | None = None) -> None:
        for gate in self.gates[:number]:
            gate.set()

    async def __call__(self) -> AsyncIterator:
        self.calls += 1
        try:
            for number, chunk in enumerate(self.chunks):
                if number < len(self.gates):
                    await self.gates[number].wait()
                yield chunk
            if self.error:
                raise self.error
        finally:
            self.closed += 1


def streams(clock=None, **fields) -> StreamCache:
    """A cache of streams."""
    return StreamCache(StreamPolicy(**fields), **({"clock": clock} if clock else {}))


async def hear(cache: StreamCache, story: Story, key: str = KEY, **fields) -> list:
    """Everything a caller gets."""
    return [chunk async for chunk in cache.stream_or_call(key, story, **fields)]


async def test_the_first_caller_reads_live():
    """The first caller gets each chunk when it is produced, not at the end."""
    cache, story = streams(), Story("a", "b").gate(2)
    chunks = cache.stream_or_call(KEY, story)
    story.open(1)
    assert await anext(chunks) == "a"
    story.open()
    assert [chunk async for chunk in chunks] == ["b"]


async def test_callers_meanwhile_read_along_from_the_beginning():
    """Who comes while the stream runs hears it from its beginning and then live, from one producer."""
    cache, story = streams(), Story("a", "b", "c").gate(3)
    first = asyncio.create_task(hear(cache, story))
    story.open(2)
    await until(lambda: story.calls)
    late = cache.stream_or_call(KEY, story)
    assert [await anext(late), await anext(late)] == ["a", "b"]
    many = [asyncio.create_task(hear(cache, story)) for _ in range(20)]
    story.open()
    assert [chunk async for chunk in late] == ["c"]
    assert await asyncio.gather(first, *many) == [["a", "b", "c"]] * 21
    assert story.calls == 1


async def test_later_callers_hear_the_same_pieces(clock):
    """A complete stream is heard again in the same pieces, for its time."""
    cache, story = streams(clock, seconds=10), Story("one ", "", "two", {"three": [3]})
    for _ in range(3):
        assert await hear(cache, story) == ["one ", "", "two", {"three": [3]}]
    assert story.calls == 1
    clock.pass_(10)
    await hear(cache, story)
    assert story.calls == 2


async def test_an_empty_stream_is_complete():
    """A stream without chunks is kept like any other."""
    cache, story = streams(), Story()
    assert await hear(cache, story) == await hear(cache, story) == []
    assert story.calls == 1


async def test_d12_nobody_shares_a_chunk():
    """Whoever changes a chunk, live or later, changes only their own."""
    cache, story = streams(), Story({"list": []}).gate(1)
    tasks = [asyncio.create_task(hear(cache, story)) for _ in range(2)]
    await until(lambda: story.calls)
    story.open()
    for chunks in [*await asyncio.gather(*tasks), await hear(cache, story)]:
        assert chunks == [{"list": []}]
        chunks[0]["list"].append("changed")
    assert await hear(cache, story) == [{"list": []}]
    assert story.chunks == [{"list": []}]


async def test_d10_an_error_goes_to_all_and_is_not_kept():
    """All who read along get the chunks before the error, then the error; the next caller tries anew."""
    cache, story = streams(), Story("a", error=Unavailable("cut")).gate(1)

    async def caller() -> list:
        got = []
        try:
            async for chunk in cache.stream_or_call(KEY, story):
                got.append(chunk)  # noqa: PERF401 - what came before the error counts
        except Unavailable:
            return got
        pytest.fail("no error")

    tasks = [asyncio.create_task(caller()) for _ in range(20)]
    await until(lambda: story.calls)
    story.open()
    assert await asyncio.gather(*tasks) == [["a"]] * 20
    assert story.calls == 1
    assert await caller() == ["a"]
    assert story.calls == 2


@pytest.mark.parametrize("leave", ["close", "cancel", "drop"])
async def test_the_producer_is_cancelled_when_the_last_reader_leaves(leave):
    """One reader's leaving harms nobody; when the last one left the producer ends, and nothing is kept."""
    cache, story = streams(), Story("a", "b").gate(2)
    story.open(1)
    ones = [cache.stream_or_call(KEY, story) for _ in range(2)]
    for one in ones:
        assert await anext(one) == "a"
    while ones:
        assert story.closed == 0
        one = ones.pop()
        if leave == "close":
            await one.aclose()
        elif leave == "cancel":
            task = asyncio.create_task(anext(one))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        del one
        gc.collect()
        await asyncio.sleep(0)
    await until(lambda: story.closed)
    await until(lambda: cache.stats().flights == 0)
    assert (cache.stats().entries, cache.stats().events["abandoned"]) == (0, 1)
    story.open()
    assert await hear(cache, story) == ["a", "b"]
    assert story.calls == 2


async def test_a_stream_may_finish_alone():
    """With `finish_alone` a stream whose readers left runs to its end and is kept."""
    cache, story = streams(finish_alone=True), Story("a", "b").gate(2)
    story.open(1)
    async with aclosing(cache.stream_or_call(KEY, story)) as chunks:
        assert await anext(chunks) == "a"
    story.open()
    await until(lambda: cache.stats().entries)
    assert await hear(cache, story) == ["a", "b"]
    assert story.calls == 1


async def test_a_large_stream_that_nobody_reads_does_not_finish_alone():
    """A stream nobody reads, and which grew too large to be kept, is ended even with `finish_alone`."""
    cache, story = streams(finish_alone=True, largest=500), Story(*["x" * 100] * 100).gate(2)
    story.open(1)
    async with aclosing(cache.stream_or_call(KEY, story)) as chunks:
        await anext(chunks)
    story.open()
    await until(lambda: story.closed)
    await until(lambda: cache.stats().flights == 0)
    assert cache.stats().entries == 0


async def test_large_streams_are_handed_on_and_not_kept():
    """A stream over the size arrives whole, and is produced anew for those who come later."""
    cache, story = streams(largest=1000), Story(*[str(number) * 50 for number in range(100)])
    for _ in range(2):
        assert await hear(cache, story) == story.chunks
    assert story.calls == 2
    assert (cache.stats().entries, cache.stats().events["too_large"]) == (0, 2)


async def test_nobody_joins_a_stream_whose_beginning_is_gone():
    """Who comes when a stream has outgrown its record gets a stream of their own, from the beginning."""
    cache, story = streams(largest=1000), Story(*[str(number) * 50 for number in range(100)])
    first = cache.stream_or_call(KEY, story)
    got = [await anext(first) for _ in range(50)]
    assert await hear(cache, story) == story.chunks
    assert got + [chunk async for chunk in first] == story.chunks
    assert story.calls == 2


async def test_d09_memory_is_flat_whatever_the_number_of_keys():
    """Thousands of streams leave no more than the allowed entries, and nothing else behind."""
    cache, story = streams(entries=10), Story("a", "b")
    for number in range(2000):
        await hear(cache, story, f"story:{number}")
    await until(lambda: cache.stats().flights == 0)
    assert cache.stats().entries == 10
    assert len(cache._live) == 0


async def test_streams_under_way_are_bounded():
    """When too many streams run, further ones go straight to their callers and are not shared."""
    cache = streams(streams=2)
    held = [Story("a").gate(1) for _ in range(2)]
    tasks = [asyncio.create_task(hear(cache, each, f"story:{number}")) for number, each in enumerate(held)]
    await until(lambda: all(each.calls for each in held))
    story = Story("b")
    for _ in range(2):
        assert await hear(cache, story, "story:3") == ["b"]
    assert (story.calls, cache.stats().flights) == (2, 2)
    for each in held:
        each.open()
    assert await asyncio.gather(*tasks) == [["a"]] * 2


async def test_a_producer_cancelled_from_inside_is_an_error():
    """When the producer is cancelled by itself its readers get an error to retry on."""
    cache, story = streams(), Story("a", error=asyncio.CancelledError())
    with pytest.raises(Aborted):
        await hear(cache, story)


async def test_an_invalidated_stream_is_not_kept():
    """A stream invalidated while it runs ends for its readers and is not kept."""
    cache, story = streams(), Story("a", "b").gate(2)
    task = asyncio.create_task(hear(cache, story))
    await until(lambda: story.calls)
    await cache.invalidate(KEY)
    story.open()
    assert await task == ["a", "b"]
    assert cache.stats().entries == 0
    await hear(cache, story)
    await cache.clear("story")
    await hear(cache, story)
    await cache.clear()
    assert story.calls == 3
    assert cache.stats().entries == 0


async def test_closing_ends_what_runs():
    """Closing cancels producers; their readers get an error."""
    cache, story = streams(), Story("a").gate(1)
    task = asyncio.create_task(hear(cache, story))
    await until(lambda: story.calls)
    await cache.aclose()
    assert story.closed == 1
    with pytest.raises(Aborted):
        await task


async def test_plain_iterators_will_do():
    """A producer need not be a generator: any asynchronous iterator is read."""

    class Numbers:
        def __init__(self) -> None:
            self.left = [1, 2]

        def __aiter__(self):
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert [chunk async for chunk in streams().stream_or_call(KEY, Numbers)] == [2, 1]


async def test_decorated_generators():
    """A decorated generator function is shared and heard again by its arguments; bytes stay bytes."""
    cache, calls = streams(), []

    @cache.cached("story", tenant=None, version="1")
    async def tell(topic: str, parts: int = 2) -> AsyncIterator[bytes]:
        calls.append(topic)
        for part in range(parts):
            yield f"{topic} {part}".encode()

    for _ in range(2):
        assert [chunk async for chunk in tell("cats")] == [b"cats 0", b"cats 1"]
    assert [chunk async for chunk in tell("cats", parts=1)] == [b"cats 0"]
    await tell.invalidate("cats")
    assert [chunk async for chunk in tell("cats")] == [b"cats 0", b"cats 1"]
    assert calls == ["cats"] * 3


@given(st.lists(st.binary(max_size=300)))
def test_pieces_stay_pieces(chunks):
    """Chunks that were joined are split into the same chunks."""
    assert list(split(join(chunks))) == chunks


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x05ab", b"\x00\x00\x00\x01a\x00"])
def test_cut_pieces_are_refused(data):
    """Bytes that are cut short are refused."""
    with pytest.raises(ValueError, match="short"):
        list(split(data))


@pytest.mark.parametrize("fields", [{"seconds": 0}, {"streams": 0}, {"largest": -1}])
def test_impossible_policies_are_refused(fields):
    """A policy that cannot work is refused with a pointer to the field."""
    with pytest.raises(InvalidArgument) as refused:
        StreamPolicy(**fields)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in fields]


class TestShared:
    """Streams in the store that processes share."""

    async def test_complete_streams_are_shared(self, valkey_address):
        """A complete stream is heard by another cache from the store, in the same pieces, without a call."""
        stores = [SharedStore(valkey_address, timeout=20) for _ in range(2)]
        one, other = (StreamCache(shared=store) for store in stores)
        story = Story(b"a", b"", b"bc")
        await hear(one, story, codec=BYTES)
        await until(lambda: one.stats().flights == 0)
        for _ in range(2):
            assert await hear(other, story, codec=BYTES) == [b"a", b"", b"bc"]
        assert story.calls == 1
        assert other.stats().events == {"miss": 1, "shared_hit": 1, "hit": 1}
        assert await other.invalidate(KEY)
        assert await hear(other, story, codec=BYTES) == [b"a", b"", b"bc"]
        assert story.calls == 2
        for store in stores:
            await store.aclose()

    async def test_incomplete_streams_are_not(self, valkey_address, valkey):
        """A stream that failed leaves nothing in the store."""
        store = SharedStore(valkey_address, timeout=20)
        cache = StreamCache(shared=store)
        with pytest.raises(Unavailable):
            await hear(cache, Story("a", error=Unavailable("cut")))
        await until(lambda: cache.stats().flights == 0)
        assert valkey.client().dbsize() == 0
        await store.aclose()

    async def test_unreadable_streams_are_produced(self, valkey_address):
        """Bytes in the store that are no stream are replaced by a fresh one."""
        store = SharedStore(valkey_address, timeout=20)
        await store.put(f"{KEY}:stream", b"\x00\x00\x00\x05ab", 60)
        cache = StreamCache(shared=store)
        assert await hear(cache, Story("a")) == ["a"]
        await until(lambda: cache.stats().flights == 0)
        assert list(split((await store.get(f"{KEY}:stream")).data)) == [b'"a"']
        await store.aclose()

    async def test_without_the_store_the_memory_goes_on(self):
        """A store that dies keeps nobody from streaming, here or again."""
        server = start_valkey()
        store = SharedStore(server.connection_url, timeout=10)
        cache, story = StreamCache(shared=store), Story("a", "b").gate(2)
        task = asyncio.create_task(hear(cache, story))
        await until(lambda: story.calls)
        server.terminate()
        story.open()
        assert await task == ["a", "b"]
        assert await hear(cache, story) == ["a", "b"]
        assert await hear(cache, story, "story:2") == ["a", "b"]
        assert not await cache.clear()
        await store.aclose()
