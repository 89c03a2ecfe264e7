"""Texts inside JSON documents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.safety import Gate
from headgate.kit.safety.documents import MalformedError, checked, parse, render, replaced, texts
from tests.kit.safety.conftest import Words

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~ ", max_size=4), inner, max_size=4),
    max_leaves=20,
)


def test_all_strings_are_found():
    """Every string value is found under its pointer, escaped as RFC 6901 says."""
    document = {"a": "one", "b": [1, {"c/d~": "two"}, ""], "e": None}
    assert texts(document) == {"/a": "one", "/b/1/c~1d~0": "two"}


def test_chosen_pointers_choose():
    """A pointer chooses what is there and below; a star stands for any member or index."""
    document = {"messages": [{"text": "one", "id": "x"}, {"text": {"de": "zwei"}}], "text": "no"}
    assert texts(document, ["/messages/*/text"]) == {"/messages/0/text": "one", "/messages/1/text/de": "zwei"}
    assert texts("alone", [""]) == {"": "alone"}


def test_names_that_are_prose_are_judged():
    """A member's name is a text when somebody may have written it, not when it is an identifier."""
    found = texts({"a badger runs": 1, "target_language": 2})
    assert list(found.values()) == ["a badger runs"]


@given(documents)
def test_replacing_nothing_changes_nothing(document):
    """A document in which every text is replaced by itself is the same document."""
    assert replaced(document, texts(document)) == document
    assert json.loads(render(document)) == document


@given(documents)
def test_what_is_found_can_be_replaced(document):
    """Each text that is found is replaced at its pointer."""
    again = replaced(document, dict.fromkeys(texts(document), "x"))
    assert set(texts(again).values()) <= {"x"}


async def test_what_a_later_member_hides_is_judged():
    """Of members with one name all are judged, as some parsers take the first and some the last."""
    gate = Gate([Words("badger")])
    with pytest.raises(PermissionDenied) as refused:
        await checked(gate, parse(b'{"a": {"text": "badger", "text": "fine"}}'), "input", ["/a/text"])
    assert refused.value.violations[0].pointer == "/a"
    assert render(parse(b'{"a": 1, "a": 2}')) == b'{"a":2}'


async def test_a_document_is_redacted_in_place():
    """Only the texts to blame are replaced, in a copy."""
    document = {"a": "fine", "b": ["a badger. Well."]}
    assert await checked(Gate([Words("badger")], action="redact"), document, "output") == {
        "a": "fine",
        "b": ["[removed] Well."],
    }
    assert document["b"] == ["a badger. Well."]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":}'])
def test_what_is_no_json_is_told(body):
    """Anything that is no JSON is told apart, however deep or broken."""
    with pytest.raises(MalformedError):
        parse(body)
