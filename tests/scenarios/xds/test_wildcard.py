"""Following everything: rows 1 to 6 and 17 to 19."""

import pytest

from headgate.testing.xds import WILDCARD
from tests.scenarios.xds.rig import DELTA, SOTW, WILDCARD_KINDS
from tests.scenarios.xds.world import make

pytestmark = pytest.mark.parametrize("kind", WILDCARD_KINDS)


@pytest.fixture
async def abc(client, source, kind):
    """Three resources that a client follows by the legacy wildcard, and has accepted."""
    resources = [make(kind, name) for name in "abc"]
    source.put(*resources)
    await client.request(kind)
    await client.accept(kind, resources)
    return resources


@pytest.mark.usefixtures("abc")
async def test_01_no_names_in_the_first_request_is_everything_once(client):
    """A first request without names is answered once, with exactly what there is."""
    await client.silence()


async def test_02_an_asterisk_is_everything_once(client, source, kind):
    """A request for `*` is answered as one without names is."""
    resources = [make(kind, name) for name in "abc"]
    source.put(*resources)
    await client.request(kind, WILDCARD)
    await client.accept(kind, resources)
    await client.silence()


async def test_03_an_update_is_sent_alone_or_with_everything(client, source, kind, abc):
    """An update is one response with a new nonce: everything as state of the world, the one resource as delta."""
    a2 = make(kind, "a", "2")
    source.put(a2)
    second = await client.expect(kind, [a2], full=[a2, *abc[1:]])
    await client.ack(second)
    source.put(abc[0])
    third = await client.accept(kind, [abc[0]], full=abc)
    assert second.nonce != third.nonce
    assert second.version != third.version
    await client.silence()


async def test_04_an_addition_is_sent_alone_or_with_everything(client, source, kind, abc):
    """An addition comes with everything as state of the world, and alone as delta."""
    d = make(kind, "d")
    source.put(d)
    await client.accept(kind, [d], full=[*abc, d])
    await client.silence()


async def test_05_removed_resource_is_reported(client, source, kind, abc):
    """What is removed is missing from the state of the world, and named by delta with no resources beside it."""
    a, b, c = abc
    source.drop(b)
    await client.accept(kind, [], full=[a, c], removed=[b.name])
    await client.silence()


async def test_06_all_removed_is_an_empty_state(client, source, kind, abc):
    """When everything is removed, the state of the world is empty and has a new version; delta names all."""
    source.drop(*abc)
    gone = await client.accept(kind, [], full=[], removed=[resource.name for resource in abc])
    assert client.delta or gone.version
    await client.silence()


@pytest.mark.parametrize("mode", SOTW)
async def test_17_an_empty_list_after_a_name_is_no_wildcard(client, source, kind):
    """State of the world: once a name was given, an empty list follows nothing."""
    a, b = make(kind, "a"), make(kind, "b")
    source.put(a, b)
    await client.request(kind, a.name)
    await client.accept(kind, [a])
    await client.unsubscribe(kind, a.name)
    await client.barrier(kind)
    source.put(make(kind, "a", "2"), make(kind, "b", "2"), make(kind, "c"))
    await client.silence()


async def test_18_a_name_outlives_the_wildcard(client, source, kind, abc):
    """A name given beside the legacy wildcard is followed on when `*` is dropped, and nothing after it is, too."""
    a, _, c = abc
    if client.delta:
        await client.request(kind, a.name)
        await client.accept(kind, [a])
    else:
        await client.request(kind, WILDCARD, a.name)
        await client.accept(kind, [], full=abc)
    await client.unsubscribe(kind, WILDCARD)
    await client.barrier(kind)
    a2 = make(kind, "a", "2")
    source.put(a2, make(kind, "b", "2"))
    await client.accept(kind, [a2], full=[a2])
    await client.unsubscribe(kind, a.name)
    await client.barrier(kind)
    source.put(make(kind, "a", "3"), make(kind, "b", "3"))
    source.drop(c)
    await client.silence()


@pytest.mark.parametrize("mode", DELTA)
async def test_19_a_name_dropped_under_a_wildcard_is_answered(client, source, kind, abc):
    """Delta: a name unsubscribed while `*` goes on is answered with the resource, or its removal."""
    a = abc[0]
    await client.request(kind, a.name, "red/z")
    await client.accept(kind, [a], removed=["red/z"])
    await client.unsubscribe(kind, a.name)
    await client.accept(kind, [a])
    await client.unsubscribe(kind, "red/z")
    await client.accept(kind, [], removed=["red/z"])
    await client.silence()
