"""Which type becomes which message."""

import enum
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service import Service, Struct, rpc
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.model import OneOf, type_text
from headgate.service.proto.names import Numbers, name_of, snake
from tests.service.proto.shop import Item, Page, Shop


def message(path, **options):
    """The message at this path."""
    schema = schema_of(Shop.contract(), **options)
    return next(each for each in schema.every_message() if each.path == path)


def service_of(kind, answer=None):
    """A service that takes and gives these types."""

    class Made(Service, name="made", public=True):
        @rpc
        async def one(self, said: AsyncIterator[kind]) -> answer:
            raise NotImplementedError

    return Made.contract()


def test_each_type_has_its_place():
    """Every type becomes what the rule says."""
    types = {each.name: type_text(each.shape) for each in message("Everything").fields}
    assert types == {
        "whole": "int64",
        "real": "double",
        "yes": "bool",
        "text": "string",
        "raw": "bytes",
        "when": "google.protobuf.Timestamp",
        "day": "string",
        "clock": "string",
        "span": "google.protobuf.Duration",
        "id": "string",
        "price": "string",
        "color": "Color",
        "size": "Size",
        "level": "Level",
        "literal": "string",
        "way": "oneof",
        "items": "repeated Item",
        "matrix": "repeated Everything.MatrixItem",
        "holes": "repeated Everything.HolesItem",
        "ways": "repeated Everything.WaysItem",
        "unique": "repeated string",
        "many": "repeated double",
        "pair": "google.protobuf.Value",
        "mixed": "google.protobuf.Value",
        "by_name": "map<string, Item>",
        "by_id": "map<string, Everything.ByIdItem>",
        "by_number": "map<int64, Everything.ByNumberItem>",
        "by_color": "map<string, bool>",
        "anything": "google.protobuf.Value",
        "either": "google.protobuf.Value",
        "address": "Address",
        "note": "Note",
        "page": "PageOfItem",
        "local": "google.protobuf.Timestamp",
        "user_name": "string",
        "class": "int64",
        "maybe": "int64",
        "perhaps": "Everything.PerhapsValue",
        "default_color": "Color",
        "maybe_way": "oneof",
        "maybe_items": "Everything.MaybeItemsValue",
        "some": "Everything.SomeValue",
        "none_by_default": "Everything.NoneByDefaultValue",
        "huge": "int64",
        "card": "Card",
        "child": "Everything",
    }


def test_fields_are_optional_where_absent_and_zero_differ():
    """A scalar has presence when it has a default or may be None, and only then."""
    optional = {each.name for each in message("Everything").fields if each.is_optional}
    assert optional == {"user_name", "class", "maybe", "default_color", "huge"}


def test_names_follow_what_json_calls_a_field():
    """A field is called what it is called on other wires, in snake case, and JSON's name is kept."""
    names = {each.name: each.key for each in message("Everything").fields}
    assert names["user_name"] == "userName"
    assert names["class"] == "class"
    assert [snake(each) for each in ("HTTPCode", "a-b", "7up", "userID", "ok")] == [
        "http_code",
        "a_b",
        "n7up",
        "user_id",
        "ok",
    ]
    assert name_of(Page[Item]) == "PageOfItem"


def test_numbers_follow_the_order_unless_they_were_given():
    """Known fields keep their numbers, new ones get numbers that nobody ever had, whatever the order."""
    numbers = {"Item": Numbers({"quantity": 1}, {"old": 18_999})}
    found = {each.name: each.number for each in message("Item", numbers=numbers).fields}
    assert found == {"sku": 20_000, "quantity": 1}
    ways = next(each.shape for each in message("Everything").fields if each.name == "way")
    assert isinstance(ways, OneOf)
    assert [(each.name, each.number) for each in ways.members] == [("way_cash", 16), ("way_transfer", 17)]


def test_enums_count_from_one_or_are_what_they_are():
    """Members of text count from one, those of integers keep their values, and zero is always there."""
    enums = {each.name: dict(each.values) for each in schema_of(Shop.contract()).enums}
    assert enums == {
        "Color": {"COLOR_UNSPECIFIED": 0, "COLOR_RED": 1, "COLOR_GREEN": 2},
        "Size": {"SIZE_UNSPECIFIED": 0, "SIZE_SMALL": -1, "SIZE_LARGE": 7},
        "Level": {"LEVEL_LOW": 0, "LEVEL_HIGH": 1},
    }


def test_methods_say_what_repeating_them_does():
    """A method bound to GET has no side effects, one that may be repeated is idempotent, others say nothing."""
    levels = {each.name: each.idempotency for each in schema_of(Shop.contract()).methods}
    assert (levels["Item"], levels["Echo"], levels["Buy"]) == ("NO_SIDE_EFFECTS", "IDEMPOTENT", "")


class Twice(Struct, rename={"one": "aB", "two": "a_b"}):
    one: int
    two: int


class Opaque(Struct):
    raw: msgspec.Raw


class Shout(enum.Enum):
    loud = "a"
    LOUD = "b"


class Shouting(Struct):
    how: Shout


def test_two_types_of_one_name_are_refused():
    """Two types that would be one message are refused, with what to do."""

    class Item(Struct):
        other: int

    class Holder(Struct):
        one: Item
        two: Page[Any]

    item = Item

    class Other(Struct):
        ours: item
        theirs: globals()["Item"]

    with pytest.raises(InvalidArgument) as raised:
        schema_of(service_of(Other))
    assert raised.value.code == "duplicate_message"
    assert "Item" in raised.value.message
    assert [each.name for each in schema_of(service_of(Holder)).messages] == ["Holder", "Item", "PageOfAny"]


@pytest.mark.parametrize(
    ("kind", "code"), [(Twice, "duplicate_message"), (Opaque, "no_proto_type"), (Shouting, "duplicate_message")]
)
def test_what_has_no_place_is_refused(kind, code):
    """Fields that would have one name, and types that have no place, are refused when the schema is made."""
    with pytest.raises(InvalidArgument) as raised:
        schema_of(service_of(kind))
    assert raised.value.code == code


STRANGE = msgspec.defstruct("Größe", [("x", int)])
STRANGE_ENUM = enum.Enum("Maß", {"M": "m"})


@pytest.mark.parametrize(
    ("name", "title", "kind", "said"),
    [
        ("shop.1orders", "Made", int, "shop.1orders: 'shop.1orders.Made'"),
        ("made", "Größe", int, "made: 'made.Größe'"),
        ("made", "Made", STRANGE, "Made: 'Größe'"),
        ("made", "Made", STRANGE_ENUM, "Made: 'Maß'"),
    ],
)
def test_names_are_names_in_protocol_buffers(name, title, kind, said):
    """A service or a type whose name a .proto cannot have is refused before one is written."""

    async def one(self, said: kind) -> None:
        raise NotImplementedError

    made = type(Service)(title, (Service,), {"one": rpc(one)}, name=name, public=True)
    with pytest.raises(InvalidArgument) as refused:
        schema_of(made.contract())
    assert (refused.value.code, refused.value.message) == ("no_proto_name", f"{said} is no name in protocol buffers")


def test_digits_may_follow_a_dash():
    """A dash becomes an underscore, and then a digit begins nothing."""

    class Made(Service, name="shop-1orders", public=True):
        @rpc
        async def one(self) -> None:
            raise NotImplementedError

    assert schema_of(Made.contract()).package == "shop_1orders"


def test_a_name_that_was_removed_is_not_given_again():
    """A field that has the name of a removed one is refused."""
    with pytest.raises(InvalidArgument) as raised:
        message("Item", numbers={"Item": Numbers({"quantity": 1}, {"sku": 2})})
    assert raised.value.code == "reserved_field"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (list[int] | None, "One.ValueValue"),
        (dict[float, int], "google.protobuf.Value"),
        (list[list[int] | None], "repeated OneRequest.ValueItem"),
        (int | None, "int64"),
        (list[int | str], "repeated google.protobuf.Value"),
        (tuple[int, int], "repeated int64"),
    ],
)
def test_what_is_no_record_is_a_field_called_value(kind, told):
    """A message of a stream that is no record is a message with the one field `value`."""
    schema = schema_of(service_of(kind))
    (field,) = schema.messages[0].fields
    assert schema.messages[0].name == "OneRequest"
    assert field.name == "value"
    assert type_text(field.shape) == told.replace("One.", "OneRequest.")
