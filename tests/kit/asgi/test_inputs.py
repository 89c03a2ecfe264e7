"""What is wrong with the input, in the same words whichever library found it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from werkzeug.exceptions import Forbidden

from headgate.kit.asgi.inputs import fault_of, is_json, model_of, msgspec_violation, not_json, plain
from headgate.kit.controls.faults import NotFound, Unavailable
from tests.kit.asgi.services import Item, Struct


def caught(function, *arguments, **more) -> Exception:
    """What it raises."""
    with pytest.raises(Exception) as error:
        function(*arguments, **more)
    return error.value


def raised_from(error: Exception, cause: Exception) -> Exception:
    """An exception with a cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (NotFound("x", code="gone"), "NOT_FOUND", "gone"),
        (ExceptionGroup("x", [ExceptionGroup("y", [NotFound("x")])]), "NOT_FOUND", "not_found"),
        (
            raised_from(
                RuntimeError("Caught handled exception, but response already started."), Unavailable("x", code="shut")
            ),
            "UNAVAILABLE",
            "shut",
        ),
        (HTTPException(404), "NOT_FOUND", "path_not_found"),
        (HTTPException(418, "teapot"), "INVALID_ARGUMENT", "invalid_argument"),
        (Forbidden(), "PERMISSION_DENIED", "permission_denied"),
        (caught(Item.model_validate, {}), "INVALID_ARGUMENT", "invalid_argument"),
        (caught(msgspec.json.decode, b"{}", type=Struct), "INVALID_ARGUMENT", "invalid_argument"),
        (caught(msgspec.json.decode, b"{", type=Struct), "INVALID_ARGUMENT", "invalid_argument"),
    ],
)
def test_what_an_exception_stands_for(error, kind, code):
    """A fault is itself, through groups and the wrappers of frameworks; invalid input and HTTP's own have theirs."""
    fault = fault_of(error)
    assert fault is not None
    assert (fault.kind, fault.code) == (kind, code)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ExceptionGroup("x", [NotFound("x"), KeyError("y")]),
        raised_from(RuntimeError("broken"), NotFound("x")),
        raised_from(KeyError("broken"), NotFound("x")),
        OSError(404, "x"),
        None,
    ],
)
def test_what_stands_for_none(error):
    """A defect stays one, also when a fault was its cause or came with it."""
    assert fault_of(error) is None


def test_the_model_is_found():
    """The model that refused the input is known, so that hints can be given; a bare type has none."""
    assert model_of(caught(Item.model_validate_json, b"{}")) is Item
    assert model_of(caught(Item, name=1)) is Item
    assert model_of(caught(TypeAdapter(int).validate_python, "x")) is None


def test_a_nested_model_is_not_taken_for_the_root():
    """The hints are those of the model that was asked, whatever is nested in it."""

    class Outer(BaseModel):
        item: Item

    fault = fault_of(caught(Outer.model_validate, {"item": {"name": "too long"}}))
    assert [(each.pointer, each.hint) for each in fault.violations] == [
        ("/item/name", "allowed: text of at most 5 characters")
    ]


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_a_body_that_is_not_json(body):
    """Whatever the body, what is said of it is one violation of the whole, and tells nothing of its text."""
    fault = not_json(body)
    (violation,) = fault.violations
    assert violation.pointer == ""
    assert violation.message.startswith("the body is ")
    assert (violation.message == "the body is required") == (not body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": }', "Expecting value at character 6"),
        (b"\xff", "it is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply, or has numbers too long"),
        (b"1" * 5_000, "it is nested too deeply, or has numbers too long"),
        (b"{}", "malformed"),
        (None, "malformed"),
    ],
    ids=["syntax", "encoding", "depth", "length", "fine", "unknown"],
)
def test_why_it_is_not_json(body, reason):
    """Where a body stops being JSON is told, and why it cannot be read at all."""
    assert not_json(body).message == f"the body is not JSON: {reason}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Expected `int`, got `str`", "must be a whole number"),
        ("Expected `str | null`, got `int`", "must be text"),
        ("Expected `array`, got `object`", "must be a list"),
        ("Expected `int` <= 10", "must be less than or equal to 10"),
        ("Expected `float | null` > 0.5", "must be greater than 0.5"),
        ("Expected `str` of length >= 1", "must have at least 1 character"),
        ("Expected `array` of length <= 2", "must have at most 2 items"),
        ("Expected `str` matching regex '^a$'", "must match pattern '^a$'"),
        ("Invalid enum value 'x'", "is not one of the values allowed"),
        ("Something new", "Something new"),
    ],
)
def test_the_words_of_msgspec(said, told):
    """Msgspec's messages are said in the words used for pydantic's; one that is new passes as it is."""
    assert plain(said) == told


@pytest.mark.parametrize(
    ("path", "pointer"),
    [("", ""), (".a", "/a"), (".a[0].b", "/a/0/b"), ("[3]", "/3"), (".a[...].b", "/a"), (".a/b", "/a~1b")],
)
def test_the_places_of_msgspec(path, pointer):
    """Msgspec's paths become JSON pointers, as far as they tell."""
    assert msgspec_violation("Expected `int`, got `str`", path).pointer == pointer


@given(st.dictionaries(st.sampled_from(["name", "price", "tags", "x"]), st.none() | st.integers() | st.text()))
def test_libraries_agree_on_the_first_trouble(document):
    """For any document, what msgspec finds first is among what pydantic finds, at the same place."""
    text = json.dumps(document).encode()
    assert pointers_of(msgspec.json.decode, text, type=Struct) <= pointers_of(Item.model_validate_json, text)


def pointers_of(decode, text, **more) -> set[str]:
    """Where there is trouble."""
    try:
        decode(text, **more)
    except (ValidationError, msgspec.ValidationError) as error:
        return {each.pointer for each in fault_of(error).violations}
    return set()


@pytest.mark.parametrize(
    ("kind", "json_too"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("application/jsonp", False),
        ("text/json", False),
        ("", False),
    ],
)
def test_types_that_are_json(kind, json_too):
    """A body is JSON when its type says so, or ends in `+json`."""
    assert is_json(kind) is json_too
