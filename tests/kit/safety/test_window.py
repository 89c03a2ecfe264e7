"""Cutting a running text into units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.window import Segmenter, sentences

texts = st.text(st.sampled_from("ab .!?\n。"), max_size=400)


def units(longest, chunks):
    """All units of a text that comes in these chunks."""
    segmenter = Segmenter(longest)
    return [unit for chunk in chunks for unit in segmenter.feed(chunk)] + segmenter.finish()


@given(texts, st.lists(st.integers(0, 400), max_size=10), st.integers(20, 60))
def test_units_depend_on_the_text_alone(text, cuts, longest):
    """Cut in any way, a text has the same units; they are all of it and none is too long."""
    ends = sorted(min(cut, len(text)) for cut in cuts)
    chunks = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    found = units(longest, chunks)
    assert found == units(longest, [text]) == units(longest, list(text))
    assert "".join(found) == text
    assert all(longest // 2 < len(unit) <= longest for unit in found[:-1])


def test_units_end_with_sentences_or_words():
    """A unit ends after a sentence, else after a word, else where it must."""
    assert units(20, ["One two three. Four five six."]) == ["One two three. ", "Four five six."]
    assert units(20, ["One two three four five six"]) == ["One two three four ", "five six"]
    assert units(20, ["x" * 30]) == ["x" * 20, "x" * 10]


@given(texts)
def test_sentences_are_all_of_the_text(text):
    """Joined, the sentences of a text are the text."""
    assert "".join(sentences(text)) == text


def test_sentences():
    """A sentence keeps the space after it; a point inside a word ends none."""
    assert sentences('He said "Go!" Version 3.11 is out.\nYes') == ['He said "Go!" ', "Version 3.11 is out.\n", "Yes"]


def test_a_unit_must_hold_a_sentence():
    """A window too short for a sentence is refused."""
    with pytest.raises(ValueError, match="20"):
        Segmenter(19)
