"""The first level of a cache: bounded, forgetting what is oldest."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.resilience.memory import OVERHEAD, MemoryStore


def test_entries_live_as_long_as_they_are_usable():
    """An entry is fresh, then stale, then gone."""
    memory = MemoryStore(entries=10, size=10_000)
    memory.put("k", b"v", now=0, fresh=10, stale=5)
    assert memory.get("k", 9).fresh_until == 10
    assert memory.get("k", 14.9).data == b"v"
    assert memory.get("k", 15) is None
    assert (len(memory), memory.size) == (0, 0)


def test_the_least_recently_used_gives_way():
    """When there are too many, the entry not used longest is forgotten, and that is told."""
    evicted = []
    memory = MemoryStore(entries=2, size=10_000, evicted=lambda: evicted.append(1))
    for key in ("a", "b"):
        memory.put(key, b"v", now=0, fresh=10)
    memory.get("a", 1)
    memory.put("c", b"v", now=1, fresh=10)
    assert [key for key in "abc" if memory.get(key, 2)] == ["a", "c"]
    assert len(evicted) == 1


def test_bytes_are_bounded():
    """Large entries push out as many others as their size needs, and one over the size is not kept."""
    memory = MemoryStore(entries=1000, size=10 * (OVERHEAD + 101))
    for number in range(10):
        assert memory.put(str(number), b"x" * 100, now=0, fresh=10)
    assert len(memory) == 10
    assert memory.put("L", b"x" * 1000, now=0, fresh=10)
    assert len(memory) < 10
    assert not memory.put("L", b"x" * 100_000, now=0, fresh=10)
    assert memory.get("L", 0) is None


def test_clearing_by_prefix():
    """Clearing takes the keys with the prefix, or all."""
    memory = MemoryStore(entries=10, size=10_000)
    for key in ("a:1", "a:2", "b:1"):
        memory.put(key, b"v", now=0, fresh=10)
    assert memory.clear("a:") == 2
    assert memory.clear() == 1
    assert memory.size == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 900), st.sampled_from(["put", "get", "delete"])),
        max_size=80,
    )
)
def test_the_bounds_hold_whatever_happens(steps):
    """Whatever is put, read and deleted, neither bound is exceeded and the size is that of the entries."""
    memory = MemoryStore(entries=4, size=2000)
    for now, (key, size, how) in enumerate(steps):
        if how == "put":
            memory.put(key, b"x" * size, now=now, fresh=5, stale=size % 3)
        elif how == "get":
            memory.get(key, now)
        else:
            memory.delete(key)
        assert len(memory) <= 4
        assert memory.size <= 2000
        assert memory.size == sum(entry.size for entry in memory._entries.values())
