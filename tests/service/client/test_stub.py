"""Stubs: called like the service, and nothing more than its contract."""

import inspect

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.client import ClientPolicy
from tests.service.client.scripted import Shop
from tests.service.shop import NewOrder


@pytest.fixture
async def shop():
    """One scripted instance, and a client of it."""
    made = Shop(a=[])
    client = made.client()
    made.stub = client.stub
    yield made
    await client.aclose()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("7",), {}), (("7", True), {}), ((), {"key": "7"}), (("7",), {"verbose": True})],
)
async def test_arguments_are_bound_as_by_the_method(shop, args, kwargs):
    """By position, by name and by default: a stub takes what the method takes."""
    await shop.stub.get(*args, **kwargs)
    sent = shop.wires["a"].requests[-1]
    assert (sent.key, sent.verbose) == ("7", len(args) == 2 or "verbose" in kwargs)


async def test_a_record_may_be_named(shop):
    """The one record of a method is given by position or by name."""
    order = NewOrder("tea", 2)
    await shop.stub.place(order=order)
    await shop.stub.place(order)
    assert shop.wires["a"].requests == [order, order]


@pytest.mark.parametrize(
    ("args", "kwargs", "pointers"),
    [
        ((), {}, ["/key"]),
        ((7,), {}, ["/key"]),
        (("7", "yes"), {}, ["/verbose"]),
        ((7, "yes"), {}, ["/key", "/verbose"]),
        (("7", True, 3), {}, [""]),
        (("7",), {"key": "8"}, ["/key"]),
        (("7",), {"verbos": True}, ["/verbos"]),
        ((), {"verbos": True, "kye": "7"}, ["/key", "/verbos", "/kye"]),
        (("7", object()), {}, [""]),
    ],
)
async def test_wrong_arguments_are_told_here(shop, args, kwargs, pointers):
    """Everything wrong with the arguments is told by where it is, and nothing is sent."""
    with pytest.raises(InvalidArgument) as refused:
        await shop.stub.get(*args, **kwargs)
    assert refused.value.code == "invalid_call"
    assert [each.pointer for each in refused.value.violations] == pointers
    assert "get(self" in refused.value.hint
    assert not shop.wires["a"].sent


async def test_values_are_held_to_their_limits(shop):
    """Constraints of the types are kept before anything is sent."""
    with pytest.raises(InvalidArgument) as refused:
        await shop.stub.place(NewOrder("tea", 0))
    assert [each.pointer for each in refused.value.violations] == ["/quantity"]


async def test_a_typing_error_is_guessed(shop):
    """An unknown argument's fault says which one was probably meant."""
    with pytest.raises(InvalidArgument) as refused:
        await shop.stub.get("7", verbos=True)
    assert "verbose" in refused.value.violations[0].hint


async def test_checking_may_be_left_to_the_service():
    """With `validate` off, wrong values are sent as they are."""
    shop = Shop(a=[])
    client = shop.client(ClientPolicy(validate=False))
    await client.stub.place(NewOrder("tea", 0))
    await client.aclose()
    assert shop.wires["a"].requests[0].quantity == 0


async def test_a_message_of_a_stream_is_told_by_its_number():
    """What is wrong with a message of the caller's stream is told with its position."""

    async def take(_out, requests):
        return [len([each async for each in requests])]

    async def parts():
        yield NewOrder("tea")
        yield NewOrder("tea", -1)

    shop = Shop(a=[take])
    client = shop.client()
    with pytest.raises(InvalidArgument) as refused:
        await client.stub.upload(parts())
    await client.aclose()
    assert [each.pointer for each in refused.value.violations] == ["/1/quantity"]


async def test_a_stream_is_to_be_an_iterator(shop):
    """A list in place of an asynchronous iterator is refused, and the hint says what to give."""
    with pytest.raises(InvalidArgument, match="asynchronous iterator"):
        await shop.stub.upload([NewOrder("tea")])


@pytest.mark.parametrize(
    ("name", "said"),
    [("plac", "did you mean 'place'"), ("settled", "not part of its contract"), ("xyz", "known here: get")],
)
async def test_what_is_not_promised_cannot_be_called(shop, name, said):
    """A misspelt method, a subscription, anything else: there is no such attribute, and why is told."""
    with pytest.raises(AttributeError, match=said):
        getattr(shop.stub, name)


async def test_a_stub_looks_like_the_service(shop):
    """Signatures and docs are the methods', without what the server alone is given."""
    assert str(inspect.signature(shop.stub.place)).startswith("(order: tests.service.shop.NewOrder)")
    assert shop.stub.get.__doc__ == "One order."
    assert repr(shop.stub) == "<stub of orders 1.2.0>"
    assert not hasattr(shop.stub, "__len__")


async def test_a_stream_may_be_awaited_first(shop):
    """A stream that a service declares as a function returning one is called the same way."""
    events = await shop.stub.track("7")
    assert [each.id async for each in events] == ["a"]
