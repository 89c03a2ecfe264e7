"""The key of a cached call."""

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.resilience.keys import cache_key, canonical_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Model(BaseModel):
    b: int
    a: set[str]


@given(JSON_VALUES, JSON_VALUES)
def test_keys_differ_when_arguments_do(one, other):
    """Two calls have the same key exactly when their arguments are the same JSON."""
    same = canonical_json(one) == canonical_json(other)
    assert (cache_key("n", one, tenant="t") == cache_key("n", other, tenant="t")) is same


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=6))
def test_the_order_of_keys_does_not_matter(arguments):
    """Arguments in another order are the same arguments."""
    backwards = dict(reversed(arguments.items()))
    assert cache_key("n", arguments, tenant="t") == cache_key("n", backwards, tenant="t")


def test_everything_the_answer_depends_on_is_in_the_key():
    """Another namespace, tenant, schema, version or argument makes another key."""
    base = {"namespace": "n", "arguments": {"a": 1}, "tenant": "t", "schema": "s", "version": "v"}
    keys = {cache_key(**base)}
    for name, value in [
        ("namespace", "m"),
        ("arguments", {"a": "1"}),
        ("tenant", "u"),
        ("schema", "x"),
        ("version", "w"),
    ]:
        keys.add(cache_key(**{**base, name: value}))
    assert len(keys) == 6


def test_parts_cannot_be_shifted():
    """What is in one part of the key cannot pass for another part."""
    assert cache_key("n", {}, tenant="a", version="b") != cache_key("n", {}, tenant="ab", version="")
    assert cache_key("n", {}, tenant='a","version":"b') != cache_key("n", {}, tenant="a", version="b")


def test_the_whole_hash_is_in_the_key():
    """A key is its namespace and 256 bits, whatever the arguments hold."""
    key = cache_key("flow.translate", {"text": "secret" * 1000}, tenant="t")
    namespace, _, digest = key.partition(":")
    assert (namespace, len(bytes.fromhex(digest))) == ("flow.translate", 32)


def test_values_beyond_json_have_a_form():
    """Models, dataclasses, sets, bytes, enums, dates and the like tell calls apart."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    values = [Model(b=1, a={"x"}), Point(1), {1, 2}, b"x", Colour.RED, moment, moment.date()]
    values += [Decimal("1.5"), UUID(int=1), timedelta(seconds=1), frozenset({"q"})]
    assert len({cache_key("n", {"v": value}, tenant="") for value in values}) == len(values)


def test_keys_are_the_same_in_every_process():
    """Another process, with another hash seed, makes the same key."""
    code = (
        "from headgate.kit.resilience.keys import cache_key;"
        "print(cache_key('n', {'s': {'b', 'a', 'c'}, 'd': {'y': 1, 'x': {1, 2}}}, tenant='t'))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), {1: 1, "a": 2}, lambda: 1, Point])
def test_what_cannot_be_told_apart_is_refused(value):
    """Arguments without a form in JSON are refused rather than confused."""
    with pytest.raises(InvalidArgument) as refused:
        cache_key("n", {"v": value}, tenant="")
    assert refused.value.code == "uncacheable_arguments"


def test_cycles_are_refused():
    """An argument that contains itself is refused."""
    cycle: list = []
    cycle.append(cycle)
    with pytest.raises(InvalidArgument):
        cache_key("n", cycle, tenant="")


@pytest.mark.parametrize("namespace", ["", "a:b", "a*", "a b", "x" * 65, "<locals>"])
def test_namespaces_are_plain_words(namespace):
    """A namespace that could match other keys is refused."""
    with pytest.raises(InvalidArgument):
        cache_key(namespace, {}, tenant="")
