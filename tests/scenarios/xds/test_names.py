"""Following by name: rows 7 to 16 and 50."""

import pytest

from headgate.testing.xds import FULL_STATE
from tests.scenarios.xds.rig import DELTA, KINDS
from tests.scenarios.xds.world import make

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
async def abcd(client, source, kind):
    """Four resources, of which a client follows B and D by name and has accepted them."""
    resources = [make(kind, name) for name in "abcd"]
    source.put(*resources)
    await client.request(kind, "red/b", "red/d")
    await client.accept(kind, [resources[1], resources[3]])
    return resources


async def test_07_names_are_followed_and_no_others(client, source, kind, abcd):
    """Who names two of four resources gets exactly these, and nothing when another one changes."""
    await client.silence()
    source.put(make(kind, "a", "2"))
    await client.silence()


async def test_08_an_update_of_a_named_resource(client, source, kind, abcd):
    """An update of a followed resource comes alone, or with all that are followed where state is always whole."""
    b2 = make(kind, "b", "2")
    source.put(b2)
    await client.accept(kind, [b2], full=[b2, abcd[3]])
    await client.silence()


async def test_09_an_absent_name_is_remembered(client, source, kind):
    """A name that does not exist is named as removed by delta only, and is delivered when it comes to be."""
    a, z = make(kind, "a"), make(kind, "z")
    source.put(a)
    await client.request(kind, a.name, z.name)
    await client.accept(kind, [a], removed=[z.name])
    await client.silence()
    source.put(z)
    await client.accept(kind, [z], full=[a, z])
    await client.silence()


async def test_10_only_an_absent_name(client, source, kind):
    """A lone absent name: delta says so at once, state of the world has nothing to say, or an empty whole."""
    z = make(kind, "z")
    await client.request(kind, z.name)
    if client.delta or kind in FULL_STATE:
        await client.accept(kind, [], removed=[z.name])
    await client.silence()
    source.put(z)
    await client.accept(kind, [z])
    await client.silence()


async def test_11_removed_and_made_again(client, source, kind):
    """A followed resource that is removed and made anew is removed, then delivered with its new version."""
    a, b, a2 = make(kind, "a"), make(kind, "b"), make(kind, "a", "2")
    source.put(a, b)
    await client.request(kind, a.name, b.name)
    first = await client.accept(kind, [a, b])
    source.drop(a)
    if client.delta or kind in FULL_STATE:
        await client.accept(kind, [], full=[b], removed=[a.name])
    else:
        await client.silence()
    source.put(a2)
    last = await client.accept(kind, [a2], full=[a2, b])
    assert last.nonce != first.nonce


async def test_12_a_name_added(client, source, kind):
    """A name added to those followed is answered although nothing changed in the server."""
    a, b = make(kind, "a"), make(kind, "b")
    source.put(a, b)
    await client.request(kind, a.name)
    await client.accept(kind, [a])
    await client.request(kind, b.name)
    await client.accept(kind, [b], full=[a, b])
    await client.silence()


async def test_13_a_name_given_up(client, source, kind, abcd):
    """Nothing is said of a name that is followed no more."""
    await client.unsubscribe(kind, "red/b")
    await client.barrier(kind)
    source.put(make(kind, "b", "2"))
    await client.silence()


async def test_14_a_name_given_up_and_followed_again(client, source, kind, abcd):
    """A name given up and followed again is delivered again, though its version is the same."""
    await client.unsubscribe(kind, "red/b")
    await client.request(kind, "red/b")
    await client.accept(kind, [abcd[1]], full=[abcd[1], abcd[3]])
    await client.silence()


@pytest.mark.parametrize("mode", DELTA)
async def test_15_a_held_name_followed_once_more(client, kind, abcd):
    """Delta: a name that is followed already is delivered again when it is subscribed again."""
    await client.request(kind, "red/b")
    await client.accept(kind, [abcd[1]])
    await client.silence()


@pytest.mark.parametrize("mode", DELTA)
async def test_16_giving_up_what_was_never_followed(client, source, kind, abcd):
    """Delta: giving up a name that was never followed is no error, and gets no answer."""
    await client.unsubscribe(kind, "red/never")
    await client.barrier(kind)
    await client.silence()
    b2 = make(kind, "b", "2")
    source.put(b2)
    await client.accept(kind, [b2])


async def test_50_a_name_given_twice(client, source, kind):
    """Names given twice in one request are a set: no response has a resource twice."""
    a, b = make(kind, "a"), make(kind, "b")
    source.put(a, b)
    names = [a.name, b.name, a.name]
    await client.send(kind, **({"subscribe": names} if client.delta else {"names": names}))
    answer = await client.expect(kind, [a, b])
    assert len(answer.names) == 2
    await client.silence()
