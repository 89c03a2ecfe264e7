"""JSON bodies: what is accepted is exactly what can be kept and read back."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.native.json_body import parse
from headgate.kit.controls.faults import InvalidArgument

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_json_can_say_is_read_as_it_was_written(value):
    """Every JSON value without NUL comes back equal."""
    assert parse(orjson.dumps(value)) == value


@given(st.binary(max_size=40))
def test_no_body_brings_the_reader_down(body):
    """Whatever the bytes, the outcome is a value or an InvalidArgument with code `malformed_json`."""
    codes = {"malformed_json"}
    try:
        parse(body)
    except InvalidArgument as fault:
        codes.add(fault.code)
    assert codes == {"malformed_json"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": 1, "a": 1}', "/a"),
        (b'{"x": [0, {"a/b": {}, "a/b": 2}]}', "/x/1/a~1b"),
        (b'[{"deep": {"~": 1, "~": 2}}]', "/0/deep/~0"),
    ],
)
def test_a_name_twice_in_an_object_is_refused(body, pointer):
    """Readers disagree about which of two equal names counts: neither does here."""
    with pytest.raises(InvalidArgument) as refused:
        parse(body)
    assert [violation.pointer for violation in refused.value.violations] == [pointer]


@pytest.mark.parametrize(
    ("body", "pointer"), [(b'{"a": ["x\\u0000"]}', "/a/0"), (b'{"a": {"\\u0000": 1}}', "/a"), (b'"\\u0000"', "")]
)
def test_nul_is_refused_where_it_stands(body, pointer):
    """The NUL character cannot be stored everywhere, in values and in names alike."""
    with pytest.raises(InvalidArgument) as refused:
        parse(body)
    assert [violation.pointer for violation in refused.value.violations] == [pointer]


def test_the_text_backslash_u0000_is_not_nul():
    """An escaped backslash in front of `u0000` is six harmless characters."""
    assert parse(rb'"\\u0000"') == "\\u0000"
