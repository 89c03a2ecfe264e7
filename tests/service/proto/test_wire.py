"""Values as messages and back."""

import dataclasses
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument, OutOfRange
from headgate.service import Service, Struct, rpc
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.wire import Wire
from tests.service.proto.shop import (
    Address,
    Card,
    Cash,
    Color,
    Everything,
    Item,
    Level,
    Page,
    Pair,
    Person,
    Shop,
    Size,
    Transfer,
)

CONTRACT = Shop.contract()
WIRE = Wire([schema_of(CONTRACT)])
ECHO = WIRE.request(CONTRACT, CONTRACT.methods["Echo"])

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
wholes = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(2**53), 2**53)
reals = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
instants = st.datetimes(timezones=st.just(UTC))
locals_ = st.datetimes()
spans = st.timedeltas(timedelta(days=-1_000_000), timedelta(days=1_000_000))
items = st.builds(Item, texts, st.integers(1, 100))
ways = st.builds(Cash, wholes) | st.builds(Transfer, texts)
colors = st.sampled_from(Color)
plain_objects = st.recursive(
    st.none() | st.booleans() | small | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
notes = st.fixed_dictionaries({"text": texts}, optional={"by": texts})

things = st.builds(
    Everything,
    whole=wholes,
    real=reals,
    yes=st.booleans(),
    text=texts,
    raw=st.binary(max_size=8),
    when=instants,
    day=st.dates(),
    clock=st.times(),
    span=spans,
    id=st.uuids(),
    price=st.decimals(allow_nan=False, allow_infinity=False, places=3),
    color=colors,
    size=st.sampled_from(Size),
    level=st.sampled_from(Level),
    literal=st.sampled_from(("a-b", "c")),
    way=ways,
    items=st.lists(items, max_size=3),
    matrix=st.lists(st.lists(wholes, max_size=3), max_size=3),
    holes=st.lists(st.none() | wholes, max_size=3),
    ways=st.lists(ways, max_size=3),
    unique=st.sets(texts, max_size=3),
    many=st.lists(reals, max_size=3).map(tuple),
    pair=st.builds(Pair, small, texts),
    mixed=st.tuples(small, texts),
    by_name=st.dictionaries(texts, items, max_size=2),
    by_id=st.dictionaries(st.uuids(), st.lists(wholes, max_size=2), max_size=2),
    by_number=st.dictionaries(wholes, st.none() | texts, max_size=2),
    by_color=st.dictionaries(colors, st.booleans(), max_size=2),
    anything=plain_objects,
    either=small | texts,
    address=st.builds(Address, texts, st.none() | wholes),
    note=notes,
    page=st.builds(Page, st.lists(items, max_size=2), st.none() | texts),
    local=locals_,
    user_name=texts,
    class_=wholes,
    maybe=st.none() | wholes,
    perhaps=st.just(msgspec.UNSET) | st.none() | texts,
    default_color=colors,
    maybe_way=st.none() | ways,
    maybe_items=st.none() | st.lists(items, max_size=2),
    some=st.lists(wholes, max_size=2),
    none_by_default=st.none() | wholes,
    card=st.none() | st.builds(Card, texts),
)


def thing(**changed):
    """A thing with these fields."""
    whole = Everything(
        1,
        1.5,
        True,
        "t",
        b"r",
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        time(1, 2),
        timedelta(seconds=-1.5),
        uuid.UUID(int=1),
        Decimal("1.50"),
        Color.RED,
        Size.LARGE,
        Level.LOW,
        "a-b",
        Cash(3),
        [],
        [],
        [],
        [],
        set(),
        (),
        Pair(1),
        (1, "x"),
        {},
        {},
        {},
        {},
        None,
        "x",
        Address("s"),
        {"text": "n"},
        Page([]),
        datetime(2026, 1, 2),  # noqa: DTZ001 - what has no zone
    )
    return msgspec.structs.replace(whole, **changed)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(things, st.none() | things)
def test_every_value_comes_back_as_it_was(value, child):
    """What is encoded is decoded to the same value, whatever its types and however deep."""
    value = msgspec.structs.replace(value, child=child)
    assert ECHO.decode(ECHO.encode(value)) == value


def test_absent_fields_have_their_defaults_and_others_are_zero():
    """A field with a default that is not sent has it; one without is what proto3 makes of it, or is missing."""
    codec = WIRE.request(CONTRACT, CONTRACT.methods["Buy"])
    assert codec.decode(b"") == Item("", 1)
    assert codec.decode(codec.encode(Item("x", 5))) == Item("x", 5)
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(codec.encode(Item("x", 0)))
    assert [each.pointer for each in raised.value.violations] == ["/quantity"]


def test_everything_that_is_wrong_is_told_by_its_pointer():
    """All violations are told at once, by the names and pointers that JSON has."""
    wrong = thing(text="t", items=[Item("a", 0), Item("b"), Item("c", -1)], literal="z", class_=4)
    with pytest.raises(InvalidArgument) as raised:
        ECHO.decode(ECHO.encode(wrong))
    told = {each.pointer: each.message for each in raised.value.violations}
    assert set(told) == {"/items/0/quantity", "/items/2/quantity", "/literal"}
    with pytest.raises(InvalidArgument) as raised:
        ECHO.decode(b"")
    missing = {each.pointer for each in raised.value.violations if each.message == "is required"}
    assert {"/when", "/day", "/id", "/price", "/color", "/size", "/way", "/address", "/page"} <= missing
    assert "/level" not in missing  # its zero is a member


def test_bytes_that_are_no_message_are_refused():
    """Bytes that cannot be parsed are InvalidArgument and not a defect."""
    with pytest.raises(InvalidArgument) as raised:
        ECHO.decode(b"\xff\xff\xff")
    assert raised.value.code == "malformed_message"


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"whole": 2**63}, "/whole"),
        ({"by_number": {-(2**63) - 1: "x"}}, ""),
        ({"anything": {"deep": [2**53 + 1]}}, "/anything/deep/0"),
        ({"text": "\ud800"}, "/text"),
    ],
)
def test_what_messages_cannot_hold_is_a_fault(changed, pointer):
    """An integer beyond its type and text that is none are refused, with their place."""
    with pytest.raises(OutOfRange) as raised:
        ECHO.encode(thing(**changed))
    assert raised.value.code == "value_out_of_range"
    assert not pointer or [each.pointer for each in raised.value.violations] == [pointer]


def test_times_beyond_those_of_python_are_wrong_input():
    """A timestamp or duration that Python cannot hold is a violation of its field."""
    message = ECHO._parse(ECHO.encode(thing()))
    message.when.seconds = 2**60
    message.span.seconds = -(2**60)
    with pytest.raises(InvalidArgument) as raised:
        ECHO.decode(message.SerializeToString())
    assert {each.pointer for each in raised.value.violations} == {"/when", "/span"}


def test_enum_numbers_nobody_gave_are_wrong_input():
    """A number that is no member's is a violation, in an enum of text as of integers."""
    message = ECHO._parse(ECHO.encode(thing()))
    message.color, message.level = 99, 99
    with pytest.raises(InvalidArgument) as raised:
        ECHO.decode(message.SerializeToString())
    assert {each.pointer for each in raised.value.violations} == {"/color", "/level"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_doubles_that_json_has_not_are_sent(value):
    """Infinity and not-a-number are doubles as others."""
    back = ECHO.decode(ECHO.encode(thing(real=value))).real
    assert repr(back) == repr(value)


def test_what_is_no_record_has_a_message_of_its_own():
    """A request or response that is a list, a number or None is the field `value` of a message."""
    for method, values in {"Nothing": [None, 0, 7], "Total": [[], [Item("a")]], "Count": [0, 5]}.items():
        codec = WIRE.response(CONTRACT, CONTRACT.methods[method])
        assert [codec.decode(codec.encode(value)) for value in values] == values
    spoken = WIRE.request(CONTRACT, CONTRACT.methods["Chat"])
    assert spoken.decode(spoken.encode("hi")) == "hi"


def test_without_parameters_or_result_nothing_is_sent():
    """A method without parameters takes whatever comes; one that returns nothing sends no bytes."""
    assert (
        WIRE.request(CONTRACT, CONTRACT.methods["Nothing"]).decode(b"\x08\x01") == CONTRACT.methods["Nothing"].request()
    )
    assert WIRE.response(CONTRACT, CONTRACT.methods["Buy"]).encode(None) == b""
    assert WIRE.response(CONTRACT, CONTRACT.methods["Buy"]).decode(b"") is None


def test_pydantic_models_are_messages_and_check_themselves():
    """A model's fields go by its aliases, and what it refuses is told as it tells it."""
    codec = WIRE.request(CONTRACT, CONTRACT.methods["Person"])
    person = Person(fullName="Ada", born=date(1815, 12, 10), nick=["A"])
    assert codec.decode(codec.encode(person)) == person
    with pytest.raises(InvalidArgument) as raised:
        codec.decode(b"")
    assert [each.pointer for each in raised.value.violations] == ["/fullName"]


def test_a_dataclass_of_a_subclass_is_sent_as_what_was_declared():
    """Only the declared fields of a value are sent."""

    @dataclasses.dataclass
    class Villa(Address):
        pool: bool = True

    assert ECHO.decode(ECHO.encode(thing(address=Villa("s")))).address == Address("s")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=4), st.integers(0, 3))
def test_no_bytes_are_more_than_wrong(changes, cut):
    """Whatever bytes come, a request is a value or an InvalidArgument, and nothing else."""
    data = bytearray(ECHO.encode(thing(child=thing(), items=[Item("a")], ways=[Cash(1)], anything={"a": [1]})))
    for position, byte in changes:
        data[position % len(data)] = byte
    try:
        found = ECHO.decode(bytes(data[: len(data) - cut]))
    except InvalidArgument as fault:
        found = fault
    assert isinstance(found, Everything) or found.violations or found.code == "malformed_message"


class Nullable(Struct):
    """All of it must be sent, and may be None."""

    text: str | None
    many: list[int] | None
    way: Cash | Transfer | None
    child: Item | None
    mixed: int | str | None


class Nulls(Service, name="nulls", public=True):
    """Sends what may be None."""

    @rpc
    async def echo(self, value: Nullable) -> Nullable:
        """The same."""
        return value


@pytest.mark.parametrize(
    "value",
    [
        Nullable(None, None, None, None, None),
        Nullable("", [], Cash(0), Item("a"), 0),
    ],
)
def test_what_must_be_there_may_be_none(value):
    """A field without a default that is None comes back as None, apart from zero."""
    contract = Nulls.contract()
    codec = Wire([schema_of(contract)]).request(contract, contract.methods["Echo"])
    assert codec.decode(codec.encode(value)) == value
