"""Subjects, patterns and what matches what."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument
from headgate.service import Topic
from headgate.service.topic import LONGEST_SUBJECT, check_pattern, check_subject, matches

WORD = st.sampled_from(["a", "b", "orders", "$SRV"])
SUBJECT = st.lists(WORD, min_size=1, max_size=4).map(".".join)


@st.composite
def patterns(draw):
    """A pattern, and the regular expression that says the same."""
    words = draw(st.lists(st.one_of(WORD, st.just("*")), min_size=1, max_size=3))
    if draw(st.booleans()):
        words.append(">")
    said = {"*": "[^.]+", ">": r"[^.]+(\.[^.]+)*"}
    return ".".join(words), r"\.".join(said.get(word, re.escape(word)) for word in words)


@given(patterns(), SUBJECT)
def test_a_pattern_matches_as_its_words_say(pattern, subject):
    """`*` is one word, `>` one or more at the end, every other word itself."""
    text, expression = pattern
    assert matches(check_pattern(text), subject) == bool(re.fullmatch(expression, subject))


@given(SUBJECT)
def test_a_subject_matches_itself_and_everything(subject):
    """Every subject is a pattern that means it alone, and `>` means all."""
    assert matches(check_pattern(check_subject(subject)), subject)
    assert matches(">", subject)
    assert not matches(subject, subject + ".more")


@pytest.mark.parametrize("wrong", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "ä", "x" * (LONGEST_SUBJECT + 1)])
def test_what_is_no_subject_is_refused(wrong):
    """Events are published on words joined by dots, without wildcards."""
    with pytest.raises(InvalidArgument) as raised:
        Topic(wrong, int)
    assert raised.value.code == "invalid_subject"
    assert len(raised.value.message) < 200


@pytest.mark.parametrize("wrong", ["", "a.>.b", "a*", ">.a", "a.**", "*."])
def test_what_is_no_pattern_is_refused(wrong):
    """Wildcards are whole words, and `>` is the last."""
    with pytest.raises(InvalidArgument):
        check_pattern(wrong)
