"""Methods as their classes declare them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

from headgate.kit.controls.faults import InvalidArgument, NotFound
from headgate.service import Context, Meta, Service, Struct, rpc
from headgate.service.method import Kind, Method
from headgate.service.types import Empty
from tests.service.shop import NewOrder, Order, Orders

T = TypeVar("T")


class Page(Struct, Generic[T]):
    """Some of many."""

    items: list[T]


def method_of(function: Any, **options: Any) -> Method:
    """The method that a service with this one function has."""
    made = type("One", (Service,), {"one": rpc(**options)(function)}, public=True)
    (found,) = made.contract().methods.values()
    return found


def refused(function: Any, **options: Any) -> str:
    """Why this cannot be a method."""
    with pytest.raises(InvalidArgument) as raised:
        method_of(function, **options)
    assert raised.value.code == "invalid_method"
    assert "One.one" in raised.value.message
    return raised.value.message


@pytest.mark.parametrize(
    ("rpc_name", "kind"),
    [
        ("Get", Kind.UNARY),
        ("Track", Kind.SERVER_STREAM),
        ("Upload", Kind.CLIENT_STREAM),
        ("Chat", Kind.BIDI),
    ],
)
def test_the_annotations_say_what_kind_of_exchange_it_is(rpc_name, kind):
    """A stream on either side, or on both, is an AsyncIterator there."""
    assert Orders.contract().methods[rpc_name].kind is kind


def test_one_record_is_the_request_itself():
    """A method whose only parameter is a record is sent that record."""
    assert Orders.contract().methods["Place"].request is NewOrder


@pytest.mark.parametrize(
    "record",
    [
        dataclass(type("Data", (), {"__annotations__": {"sku": str}})),
        TypedDict("Typed", {"sku": str}),
        type("Model", (BaseModel,), {"__annotations__": {"sku": str}}),
        Page[Order],
        Annotated[NewOrder, Meta(description="what is wanted")],
    ],
)
def test_every_kind_of_record_is_a_request(record):
    """Structs, dataclasses, TypedDicts, pydantic models and generic ones are records."""

    async def one(self: Any, order: record) -> None: ...

    assert method_of(one).arguments is None


def test_several_parameters_are_the_fields_of_an_object():
    """Other parameters are sent as an object which refuses fields that are none of them."""
    request = Orders.contract().methods["Get"].request
    assert msgspec.json.decode(b'{"key":"7"}', type=request) == request(key="7", verbose=False)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"key":"7","x":1}', type=request)


def test_constraints_of_parameters_hold_on_the_wire():
    """Annotated metadata of a parameter is part of the request."""

    async def one(self: Any, count: Annotated[int, Meta(ge=1)]) -> None: ...

    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"count":0}', type=method_of(one).request)


def test_defaults_of_parameters_are_defaults_on_the_wire():
    """What has a default may be left out, and a mutable one is not shared."""

    async def one(self: Any, tags: list[str] = []) -> None: ...  # noqa: B006 - the point

    request = method_of(one).request
    first, second = (msgspec.json.decode(b"{}", type=request) for _ in range(2))
    assert first.tags == []
    assert first.tags is not second.tags


def test_without_parameters_an_empty_object_is_sent():
    """A method without parameters is sent an object without fields."""

    async def one(self: Any) -> None: ...

    assert method_of(one).request is Empty


def test_a_context_is_no_part_of_the_request():
    """The parameter of type Context is given the call, wherever it stands."""

    async def one(self: Any, context: Context, key: str) -> None: ...

    method = method_of(one)
    assert (method.context, method.arguments) == ("context", ("key",))


def test_a_record_in_the_path_is_not_the_whole_request():
    """Only a name that is the whole of a placeholder is taken from the path."""

    async def one(self: Any, key: NewOrder) -> None: ...

    async def other(self: Any, key: NewOrder, identity: str) -> None: ...

    assert method_of(one, post="/orders").arguments is None
    assert method_of(other, post="/orders/{identity}").binding.body == "key"


async def _untyped(self: Any, key) -> None: ...  # type: ignore[no-untyped-def]


async def _no_result(self: Any, key: str): ...  # type: ignore[no-untyped-def]


async def _star(self: Any, *keys: str) -> None: ...


async def _two(self: Any, keys: AsyncIterator[str], more: int) -> None: ...


def _plain(self: Any) -> int: ...  # type: ignore[empty-body]


async def _yields(self: Any) -> int:  # type: ignore[misc]
    yield 1


async def _unsendable(self: Any, thing: int) -> pytest.Item: ...


async def _fine(self: Any, key: str) -> int: ...  # type: ignore[empty-body]


async def _stream(self: Any, key: str) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (_untyped, {}, "'key' has no type"),
        (_no_result, {}, "-> None"),
        (_star, {}, "no contract can tell"),
        (_two, {}, "the only parameter"),
        (_plain, {}, "async def"),
        (_yields, {}, "AsyncIterator"),
        (_unsendable, {}, "Item cannot be sent"),
        (_fine, {"name": "a b"}, "no name of a method"),
        (_fine, {"timeout": 0}, "timeout is 0"),
        (_fine, {"cache": -1}, "cache is -1"),
        (_fine, {"status": 404}, "status is 404"),
        (_fine, {"cache": 5, "idempotent": "key"}, "cannot be cached"),
        (_stream, {"cache": 5}, "no stream"),
        (_stream, {"idempotent": "key"}, "no stream"),
        (_fine, {"get": "orders"}, "is no path"),
        (_fine, {"get": "/orders/{key"}, "is no path"),
        (_fine, {"get": "/orders/{name}"}, "parameter 'name'"),
        (_fine, {"get": "/{key}/{key}"}, "twice"),
        (_fine, {"get": "/{key:path}/more"}, "last parameter"),
        (_fine, {"get": "/a", "post": "/a"}, "two bindings"),
        (_fine, {"raises": [ValueError]}, "no fault"),
        (_fine, {"raises": [NotFound, type("Gone", (NotFound,), {})]}, "two faults"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(function, options, says):
    """A declaration that cannot be is refused by name of class and method, with the reason."""
    if says == "two bindings":
        with pytest.raises(InvalidArgument, match=says):
            rpc(**options)(function)
    else:
        assert says in refused(function, **options)


def test_unknown_forward_references_are_refused():
    """A type that cannot be found is named."""

    async def one(self: Any, key: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert "Nowhere" in refused(one)


def test_public_and_guarded_at_once_is_refused():
    """A method is either public or has a guard."""
    from headgate.service import AUTHENTICATED

    with pytest.raises(InvalidArgument, match="both public and guarded"):
        rpc(public=True, guard=AUTHENTICATED)(_fine)


@pytest.mark.parametrize(
    ("options", "safe"),
    [({}, False), ({"idempotent": True}, True), ({"idempotent": "key"}, True), ({"get": "/x/{key}"}, True)],
)
def test_only_what_is_idempotent_is_safe_to_retry(options, safe):
    """A method may be called again when it says so, or is bound to GET."""
    assert method_of(_fine, **options).is_safe_to_retry is safe
