"""Three-way merge: edits survive, everything else follows what is wanted."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.model.merge import merge

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["", "a", "b"]))
KEYS = st.sampled_from(["a", "b", "path", "c/d", "~"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(DOCUMENTS, DOCUMENTS)
def test_nobody_edited(base: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Where nobody edited, the result is what is wanted."""
    merged = merge(base, base, wanted)
    assert merged.document == wanted
    assert merged.kept == ()


@given(DOCUMENTS, DOCUMENTS)
def test_nothing_new_is_wanted(base: dict[str, Any], stored: dict[str, Any]) -> None:
    """Where nothing new is wanted, every edit stays, deletions included."""
    merged = merge(base, stored, base)
    assert merged.document == stored
    assert merged.contested == ()


@given(DOCUMENTS, DOCUMENTS)
def test_both_agree(base: dict[str, Any], agreed: dict[str, Any]) -> None:
    """Where the edit is what is wanted, there is nothing to keep."""
    merged = merge(base, agreed, agreed)
    assert merged.document == agreed
    assert merged.kept == ()


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_repeating_changes_nothing(base: dict[str, Any], stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Applying the same wish again to the merged document gives the merged document."""
    merged = merge(base, stored, wanted).document
    assert merge(wanted, merged, wanted).document == merged


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_edited_fields_survive(base: dict[str, Any], stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A field that holds no object keeps the value somebody gave it; one nobody touched follows the wish."""
    merged = merge(base, stored, wanted).document
    for key in {*base, *stored, *wanted}:
        sides = [side.get(key, ...) for side in (base, stored, wanted)]
        if repr(sides[1]) == repr(sides[0]):
            assert merged.get(key, ...) == sides[2]
        elif not any(isinstance(side, dict | list) for side in sides):
            assert merged.get(key, ...) == sides[1]


def test_rows_of_a_list_are_merged_one_by_one() -> None:
    """An endpoint's weight set by hand survives a change of the endpoint's address."""
    merged = merge(
        {"endpoints": [{"address": "a.example", "port": 443}]},
        {"endpoints": [{"address": "a.example", "port": 443, "weight": 5}]},
        {"endpoints": [{"address": "b.example", "port": 443}]},
    )
    assert merged.document == {"endpoints": [{"address": "b.example", "port": 443, "weight": 5}]}
    assert merged.kept == ("/endpoints/0/weight",)


def test_alternatives_are_not_mixed() -> None:
    """A path matcher edited by hand stays whole when the document wants another kind of matcher."""
    merged = merge(
        {"match": {"path": {"exact": "/a"}}},
        {"match": {"path": {"exact": "/b"}}},
        {"match": {"path": {"template": "/a/{id}"}}},
    )
    assert merged.document == {"match": {"path": {"exact": "/b"}}}
    assert merged.contested == ("/match/path",)
