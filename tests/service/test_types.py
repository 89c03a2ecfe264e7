"""Types of requests and responses, and what is wrong with those that came."""

import json
from dataclasses import dataclass
from typing import Annotated, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from headgate.service import Meta, Struct
from headgate.service.types import MOST_VIOLATIONS, convert, dec_hook, enc_hook, is_record, plain, violations


class Model(BaseModel):
    """A model of pydantic."""

    age: int = Field(ge=0)
    name: str


class Line(Struct, forbid_unknown_fields=True):
    """A struct that knows its fields."""

    sku: Annotated[str, Meta(min_length=1)]
    count: int = 1


class Person(Struct, rename="camel"):
    """Much in one."""

    first_name: str
    lines: list[Line] = []
    model: Model | None = None
    pair: tuple[int, str] = (1, "a")
    by_name: dict[str, Line] = {}


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int = 0


class Named(TypedDict):
    """A typed dictionary."""

    name: str


def pointers(kind, value):
    """Where something is wrong."""
    return [each.pointer for each in violations(kind, value)]


def test_everything_that_is_wrong_is_told():
    """All violations are found, each where it is, not only the first."""
    wrong = {
        "lines": [{"sku": "a"}, {"sku": "", "count": "x"}, {"skuu": "a"}],
        "model": {"age": -1},
        "byName": {"a/b": {"sku": 1}},
    }
    assert pointers(Person, wrong) == [
        "/firstName",
        "/lines/1/sku",
        "/lines/1/count",
        "/lines/2/sku",
        "/lines/2/skuu",
        "/model/age",
        "/model/name",
        "/byName/a~1b/sku",
    ]


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (Point, {"x": "a", "y": "b"}, ["/x", "/y"]),
        (Point, {}, ["/x"]),
        (Named, {"name": 1}, ["/name"]),
        (Named, {}, ["/name"]),
        (tuple[int, str], ["a", "b"], ["/0"]),
        (tuple[int, ...], [1, "b"], ["/1"]),
        (list[Point], [{"x": 1}, {"x": "a"}, 7], ["/1/x", "/2"]),
        (int | str, [], [""]),
        (Annotated[int, Meta(ge=3)], 2, [""]),
    ],
)
def test_every_kind_of_type_is_looked_into(kind, value, where):
    """Records, tuples and lists of any kind are explained part by part."""
    assert pointers(kind, value) == where


def test_what_is_right_has_no_violations():
    """Nothing is told of a document that can be read."""
    assert violations(Person, {"firstName": "Ada", "lines": [{"sku": "tea"}]}) == []


def test_a_misspelt_field_is_told_the_right_one():
    """Unknown fields get the nearest known one as a hint."""
    (found,) = violations(Line, {"sku": "a", "cuont": 1})
    assert "count" in found.hint


def test_the_list_of_violations_is_bounded():
    """A document with any number of mistakes is answered with a few."""
    assert len(violations(list[int], ["x"] * 10_000)) == MOST_VIOLATIONS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["firstName", "lines", "sku", "model", "age", "pair"]), inner, max_size=3)
    ),
)


@given(JSON, st.sampled_from([Person, Line, Point, Named, list[Line], tuple[int, str]]))
def test_what_is_refused_has_a_reason(value, kind):
    """A document has violations exactly when it cannot be read."""
    try:
        convert(value, kind)
    except msgspec.ValidationError:
        assert violations(kind, value)
    else:
        assert violations(kind, value) == []


def test_models_of_pydantic_travel_inside_anything():
    """Models of pydantic are encoded and decoded wherever they stand."""
    value = [Person("Ada", model=Model(age=3, name="x"))]
    sent = msgspec.json.encode(value, enc_hook=enc_hook)
    assert msgspec.json.decode(sent, type=list[Person], dec_hook=dec_hook) == value
    assert json.loads(json.dumps(plain(value))) == json.loads(sent)


def test_what_cannot_be_sent_is_refused():
    """Values of a type nobody knows are no answer."""
    with pytest.raises(NotImplementedError, match="object"):
        msgspec.json.encode(object(), enc_hook=enc_hook)
    with pytest.raises(NotImplementedError):
        dec_hook(object, {})


@pytest.mark.parametrize(
    ("kind", "answer"), [(Line, True), (Model, True), (Point, True), (Named, True), (int, False), (dict, False)]
)
def test_records_have_named_fields(kind, answer):
    """Structs, dataclasses, typed dictionaries and models are records, annotated or not."""
    assert is_record(kind) is answer
    assert is_record(Annotated[kind, Meta(title="x")]) is answer
