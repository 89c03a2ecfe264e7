"""The merge patch of RFC 7396."""

from typing import Any

import pytest
from pydantic import BaseModel

from headgate.controlplane.core.merge import merge_patch


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_cases_of_the_rfc(target: Any, patch: Any, merged: Any) -> None:
    """Every example of the RFC's appendix A gives what it says there."""
    assert merge_patch(target, patch) == merged


class Inner(BaseModel):
    """An object in the middle."""

    size: int = 0


class Outer(BaseModel):
    """What is patched: known fields, one of free keys, a list."""

    inner: Inner | None = None
    plain: Inner = Inner()
    free: dict[str, str] | None = None
    many: list[Inner] = []


@pytest.mark.parametrize(
    ("patch", "merged"),
    [
        ({"inner": None}, {"free": {"a": "b"}}),
        ({"iner": None}, {"inner": {"size": 1}, "free": {"a": "b"}, "iner": None}),
        ({"inner": {"size": None}}, {"inner": {}, "free": {"a": "b"}}),
        ({"inner": {"sice": None}}, {"inner": {"size": 1, "sice": None}, "free": {"a": "b"}}),
        ({"plain": {"sice": None}}, {"inner": {"size": 1}, "free": {"a": "b"}, "plain": {"sice": None}}),
        ({"free": {"a": None, "z": None}}, {"inner": {"size": 1}, "free": {}}),
        ({"many": [{"sice": None}]}, {"inner": {"size": 1}, "free": {"a": "b"}, "many": [{"sice": None}]}),
    ],
)
def test_null_on_an_unknown_field_is_left_to_be_refused(patch: Any, merged: Any) -> None:
    """Null removes what the model knows and any free key, and stays where the model has no such field."""
    assert merge_patch({"inner": {"size": 1}, "free": {"a": "b"}}, patch, Outer) == merged
