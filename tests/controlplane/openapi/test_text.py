"""From bytes to plain values: JSON and YAML, and what neither may say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.openapi.text import parse_text
from headgate.controlplane.openapi.yaml_text import MAX_VALUES
from headgate.kit.controls.faults import Fault, InvalidArgument

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig"]))
def test_json_is_read_in_every_encoding(value, encoding):
    """A JSON object is read as what was written, in every encoding RFC 4627 knew."""
    assert parse_text(json.dumps(value, ensure_ascii=False).encode(encoding)) == value


def test_yaml_has_no_surprises():
    """Words, dates and keys stay text; numbers, booleans and nulls are those of the core schema."""
    text = b"""
norway: no
switch: on
date: 2020-01-01
time: 12:30:45
200: ok
1.5: ok
true: key
text: "true"
bool: true
octal: 0o17
leading: 017
hex: 0x1F
float: 1e3
dot: .5
infinite: .inf
null: ~
none:
tagged: !!str 12
block: |
  two
  lines
"""
    assert parse_text(text) == {
        "norway": "no",
        "switch": "on",
        "date": "2020-01-01",
        "time": "12:30:45",
        "200": "ok",
        "1.5": "ok",
        "true": "key",
        "text": "true",
        "bool": True,
        "octal": 15,
        "leading": 17,
        "hex": 31,
        "float": 1000.0,
        "dot": 0.5,
        "infinite": ".inf",
        "null": None,
        "none": None,
        "tagged": "12",
        "block": "two\nlines\n",
    }


def test_anchors_and_merge_keys():
    """An alias is what it names; `<<` adds what is not there already."""
    text = b"base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nboth: {<<: [*base, {c: 4}]}\nlist: [*base]\n"
    base = {"a": 1, "b": 2}
    assert parse_text(text) == {"base": base, "more": {"b": 3, "a": 1}, "both": {**base, "c": 4}, "list": [base]}


@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        (b"", "empty_document", None),
        (b"  \n# a comment\n", "empty_document", None),
        (b"\xff\xfe\xff", "not_text", None),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key", "/b/c"),
        (b"a:\n  b/c: 1\n  b/c: 2\n", "duplicate_key", "/a/b~1c"),
        (b'{"a" 1}', "invalid_json", None),
        (b'{"a": "\\ud800"}', "invalid_json", None),
        (b"[" * 1_000_000, "invalid_json", None),
        (b"- " * 1_000_000, "invalid_yaml", None),
        (b"a: {" * 100_000, "invalid_yaml", None),
        (b"a: [1, 2\n", "invalid_yaml", None),
        (b"a: 1\n---\na: 2\n", "invalid_yaml", None),
        (b"a: &loop [*loop]\n", "invalid_yaml", "/a/0"),
        (b"a: *nothing\n", "invalid_yaml", "/a"),
        (b"? [a, list]\n: 1\n", "invalid_yaml", None),
        (b"a: !!binary aGVsbG8=\n", "invalid_yaml", "/a"),
        (b"a: !python/object:os.system x\n", "invalid_yaml", "/a"),
        (b"a: !!python/object/apply:os.system [x]\n", "invalid_yaml", "/a"),
        (b"a: !!int word\n", "invalid_yaml", "/a"),
        (b"- <<: 3\n", None, None),
        (b"a: {<<: 3}\n", "invalid_yaml", "/a/<<"),
        (b"\x00", "invalid_yaml", None),
    ],
)
def test_what_cannot_be_read_is_refused(text, code, pointer):
    """Each refusal has its code, and a pointer where there is a place to point at."""
    if code is None:
        code, pointer = "invalid_yaml", "/0/<<"
    with pytest.raises(InvalidArgument) as caught:
        parse_text(text)
    assert caught.value.code == code
    assert [violation.pointer for violation in caught.value.violations] == ([pointer] if pointer else [])


def test_faults_say_the_line():
    """The message of a syntax error names line and column."""
    with pytest.raises(InvalidArgument, match="line 3, column"):
        parse_text(b'{"a": 1,\n"b": 2,\n"c" 3}')
    with pytest.raises(InvalidArgument, match="line 3"):
        parse_text(b"a: 1\nb: [\n")


def test_alias_bombs_are_refused():
    """Aliases that expand to more values than a document may have are refused without expanding them."""
    levels = [b"l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [b"l%d: &l%d [%s]" % (n, n, b", ".join([b"*l%d" % (n - 1)] * 10)) for n in range(1, 12)]
    assert MAX_VALUES < 10**12
    with pytest.raises(InvalidArgument) as caught:
        parse_text(b"\n".join(levels))
    assert caught.value.code == "document_too_large"


@given(st.binary(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"# \n\tab1~<?%@`\\", max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_a_fault(raw):
    """Whatever the bytes, there is a value of JSON's types or a fault."""
    try:
        value = parse_text(raw)
    except Fault:
        return
    json.dumps(value, allow_nan=False).encode()
