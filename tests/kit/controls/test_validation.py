"""Violations: where, what, and what to do about it."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from headgate.kit.controls.faults import Violation
from headgate.kit.controls.validation import allowed_values, describe, escape, nearest, pointer, violations_of


class Cat(BaseModel):
    """One member of a union."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """The other."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["dog"]
    tricks: list[str] = []


class Endpoint(BaseModel):
    """A strict object with a bound of every kind."""

    model_config = ConfigDict(extra="forbid", strict=True)
    host: Annotated[str, Field(min_length=1, max_length=10)]
    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["http", "grpc"] = "http"
    label: Annotated[str, Field(pattern="^[a-z]+$", description="Lower-case letters.")] = "x"


class Document(BaseModel):
    """The whole."""

    model_config = ConfigDict(extra="forbid")
    endpoints: list[Endpoint] = Field(default=[], max_length=2)
    by_name: dict[Annotated[str, Field(max_length=3)], Endpoint | None] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    number_or_list: int | list[int] = 0
    place: Path | None = None

    @model_validator(mode="after")
    def _not_both(self) -> "Document":
        if self.pet and self.by_name:
            raise ValueError("takes one of pet and by_name")
        return self


def refuse(document: Any, prefix: str = "") -> list[Violation]:
    """The violations of a document that must have some."""
    with pytest.raises(ValidationError) as caught:
        Document.model_validate(document)
    return violations_of(caught.value, prefix, model=Document)


GOOD = {"host": "h", "port": 1}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"endpoints": [{"host": "h"}]}, Violation("/endpoints/0/port", "is required")),
        (
            {"endpoints": [GOOD | {"prot": 2}]},
            Violation("/endpoints/0/prot", "unknown field 'prot'", "did you mean 'port'?"),
        ),
        ({"endpionts": []}, Violation("/endpionts", "unknown field 'endpionts'", "did you mean 'endpoints'?")),
        (
            {"zzz": 1},
            Violation("/zzz", "unknown field 'zzz'", "known here: endpoints, by_name, pet, number_or_list, place"),
        ),
        (
            {"endpoints": [GOOD, GOOD | {"port": 70000}]},
            Violation(
                "/endpoints/1/port", "must be less than or equal to 65535", "allowed: a whole number from 1 to 65535"
            ),
        ),
        (
            {"endpoints": [GOOD | {"port": "80"}]},
            Violation("/endpoints/0/port", "must be a whole number", "allowed: a whole number from 1 to 65535"),
        ),
        (
            {"endpoints": [GOOD | {"host": ""}]},
            Violation("/endpoints/0/host", "must have at least 1 character", "allowed: text of 1 to 10 characters"),
        ),
        (
            {"endpoints": [GOOD | {"protocol": "htpp"}]},
            Violation("/endpoints/0/protocol", "must be 'http' or 'grpc'", "did you mean 'http'?"),
        ),
        (
            {"endpoints": [GOOD | {"protocol": 7}]},
            Violation("/endpoints/0/protocol", "must be 'http' or 'grpc'", "allowed: one of http, grpc"),
        ),
        (
            {"endpoints": [GOOD | {"label": "X"}]},
            Violation("/endpoints/0/label", "must match pattern '^[a-z]+$'", "Lower-case letters."),
        ),
        (
            {"endpoints": [GOOD] * 3},
            Violation("/endpoints", "must have at most 2 items, not 3", "allowed: a list of at most 2 items"),
        ),
        ({"endpoints": {}}, Violation("/endpoints", "must be a list", "allowed: a list of at most 2 items")),
        ({"endpoints": [7]}, Violation("/endpoints/0", "must be an object")),
        (
            {"by_name": {"a/~": {"host": "h", "port": 0}}},
            Violation(
                "/by_name/a~1~0/port",
                "must be greater than or equal to 1",
                "allowed: a whole number from 1 to 65535",
            ),
        ),
        ({"by_name": {"long": None}}, Violation("/by_name/long", "its name must have at most 3 characters")),
        ({"pet": {"kind": "dog"}, "by_name": {"a": None}}, Violation("", "takes one of pet and by_name")),
        (
            {"pet": {"kind": "dog", "trick": 1}},
            Violation("/pet/trick", "unknown field 'trick'", "did you mean 'tricks'?"),
        ),
        (
            {"pet": {"kind": "cat", "lives": "x"}},
            Violation("/pet/lives", "must be a whole number", "allowed: a whole number"),
        ),
        ({"place": 7}, Violation("/place", "must be a path", "allowed: a path")),
    ],
)
def test_one_violation(document, expected):
    """Each kind of error becomes a pointer, a plain sentence and a hint."""
    assert refuse(document) == [expected]


def test_members_of_a_union_share_a_pointer():
    """The tags that tell the members of a union apart are no part of the pointer."""
    found = refuse({"number_or_list": ["x"]})
    assert {violation.pointer for violation in found} == {"/number_or_list", "/number_or_list/0"}


def test_without_the_class_there_are_pointers_and_no_names():
    """Without the class the pointer and the message are the same, and no field is suggested."""
    with pytest.raises(ValidationError) as caught:
        Endpoint.model_validate(GOOD | {"prot": 1})
    assert violations_of(caught.value) == [Violation("/prot", "unknown field 'prot'")]


def test_the_input_is_not_repeated():
    """A violation does not repeat what was sent: it may be a secret."""
    found = refuse({"endpoints": [{"host": "sesame" * 9, "port": "sesame"}]})
    assert found
    assert "sesame" not in str(found)


def test_the_prefix_goes_in_front():
    """The pointer starts with that of the enclosing document."""
    assert refuse({"endpoints": [{"host": "h"}]}, "/spec")[0].pointer == "/spec/endpoints/0/port"


def test_same_violation_once():
    """Two errors that say the same of the same place are one violation."""
    found = refuse({"number_or_list": None})
    assert len(found) == len(set(found))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def resolve(document: Any, path: str) -> tuple[bool, Any]:
    """Follow a pointer as RFC 6901 section 4 says; (whether there is such a place, what is there)."""
    here = document
    for token in path.split("/")[1:]:
        step = token.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
        else:
            return False, None
    return True, here


@given(st.dictionaries(st.sampled_from(["endpoints", "by_name", "pet", "number_or_list", "x/~"]), json_values))
def test_pointers_lead_into_the_document(document):
    """Every pointer leads to a place of the document, or to the member that is missing there."""
    try:
        Document.model_validate(document)
    except ValidationError as error:
        for violation in violations_of(error, model=Document):
            parent = violation.pointer if violation.message != "is required" else violation.pointer.rpartition("/")[0]
            assert resolve(document, parent)[0], violation
            json.dumps(violation.message)


@given(st.lists(st.text()))
def test_pointers_are_lossless(tokens):
    """Splitting a pointer gives back the names it was made of."""
    assert [part.replace("~1", "/").replace("~0", "~") for part in pointer(tokens).split("/")[1:]] == tokens
    assert all("/" not in escape(token) for token in tokens)


def test_nearest():
    """The nearest name is found across case and dashes; nothing is suggested for what is far off."""
    assert nearest("API-Port", ["api_port", "xds_port"]) == "api_port"
    assert nearest("entirely", ["api_port"]) == ""


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer"}, "a whole number"),
        ({"type": "integer", "exclusiveMinimum": 0}, "a whole number above 0"),
        ({"type": "number", "maximum": 1}, "a number at most 1"),
        ({"type": "array", "minItems": 1}, "a list of at least 1 items"),
        ({"type": "string", "maxLength": 5}, "text of at most 5 characters"),
        ({"type": "string", "pattern": "^a$"}, "text matching ^a$"),
        ({"const": "cat"}, "cat"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true or false"),
        ({"$ref": "#/x"}, ""),
    ],
)
def test_schemas_in_words(schema, words):
    """A schema is told in words a person can act on."""
    assert describe(schema) == words


def test_allowed_values_of_unknown_fields():
    """Asking for a field that is not there is answered with nothing."""
    assert allowed_values(Endpoint, "nope") == ""
