"""What msgspec types comes back as it went, however it was written."""

import datetime as dt
import decimal
import string
import uuid
from enum import Enum, IntEnum
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.faults import InvalidArgument, ResourceExhausted
from headgate.service.codecs import CODECS, END, ERROR, JSON, MSGPACK, NEXT, STREAMS, codec_of, refused, stream_of
from headgate.service.codecs.media import Wanted, parse
from headgate.service.transports.http.intake import QueryIntake


class Colour(Enum):
    """Text behind names."""

    RED = "red"
    BLUE = "a blue & b"


class Size(IntEnum):
    """Numbers behind names."""

    SMALL = 1
    LARGE = 2


class Leaf(msgspec.Struct, frozen=True):
    """A record in a record."""

    text: str
    number: int | None = None


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
WHOLE = st.integers(-(2**63), 2**63 - 1)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: WHOLE,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    uuid.UUID: st.uuids(),
    dt.datetime: st.datetimes(timezones=st.just(dt.UTC)),
    dt.date: st.dates(),
    decimal.Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=3),
    Colour: st.sampled_from(Colour),
    Size: st.sampled_from(Size),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    bytes: st.binary(max_size=20),
}
LEAVES = st.builds(Leaf, TEXT, st.none() | WHOLE)


@st.composite
def typed(draw: st.DrawFn, *, deep: bool = True) -> tuple[Any, Any]:
    """A type, and a value of it."""
    kind = draw(st.sampled_from(list(SCALARS)))
    values = SCALARS[kind]
    shape = draw(
        st.sampled_from(("one", "list", "optional", "dict", "record") if deep else ("one", "list", "optional"))
    )
    if shape == "list":
        return list[kind], draw(st.lists(values, max_size=3))
    if shape == "optional":
        return kind | None, draw(values | st.none())
    if shape == "dict":
        return dict[str, kind], draw(st.dictionaries(TEXT, values, max_size=3))
    if shape == "record":
        return tuple[Leaf, kind], (draw(LEAVES), draw(values))
    return kind, draw(values)


@settings(max_examples=200, deadline=None)
@given(typed(), st.sampled_from(CODECS))
def test_messages(pair, codec):
    """A message comes back as it went, in JSON and in MessagePack."""
    kind, value = pair
    assert codec.decoder(kind)(codec.encode(value)) == value


@settings(max_examples=100, deadline=None)
@given(st.lists(typed(deep=False), min_size=1, max_size=4))
def test_queries(pairs):
    """What a query can tell comes back as it went: text for one value, a key again and again for a list."""
    fields, sent, wanted = [], [], {}
    for name, (kind, value) in zip(string.ascii_lowercase, pairs, strict=False):
        default = msgspec.field(default_factory=list) if isinstance(value, list) else None
        fields.append((name, kind, default))
        wanted[name] = value
        plain = msgspec.to_builtins(value)
        for each in plain if isinstance(plain, list) else [plain]:
            told = [] if each is None else [str(each).lower() if isinstance(each, bool) else each]
            sent += [(name, text) for text in told]
    kind = msgspec.defstruct("Request", fields, kw_only=True)
    request = QueryIntake(kind, ()).of_query(urlencode(sent).encode(), ())
    assert msgspec.structs.asdict(request) == wanted


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(STREAMS),
    st.lists(st.tuples(st.sampled_from([NEXT, ERROR]), LEAVES), max_size=5),
    st.integers(1, 40),
)
def test_streams(stream, messages, cut):
    """Frames come back as they went, however their bytes are cut."""
    sent = [(kind, stream.codec.encode(message)) for kind, message in messages]
    body = b"".join(stream.frame(kind, payload) for kind, payload in sent) + stream.frame(END, b"")
    reader, found = stream.reader(1_000), []
    for start in range(0, len(body), cut):
        found += reader.feed(body[start : start + cut])
    found += reader.finish()
    assert [(kind, payload) for kind, payload in found if kind != END] == sent
    assert found[-1][0] == END


@pytest.mark.parametrize("stream", STREAMS, ids=lambda each: each.media_type)
def test_longest_message(stream):
    """A message over the limit is refused while it comes."""
    reader = stream.reader(100)
    with pytest.raises(ResourceExhausted, match="100 bytes"):
        reader.feed(stream.frame(NEXT, stream.codec.encode("x" * 200))[:150])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data):
    """Whatever a header or a body holds, it is read or refused, and nothing breaks."""
    Wanted.read(data).weight("application/json")
    codec_of(data)
    for stream in STREAMS:
        reader = stream.reader(50)
        try:
            reader.feed(data)
            reader.finish()
        except (InvalidArgument, ResourceExhausted):
            pass


def test_media_types():
    """Media types are read with their parameters, quoted or not; what is none is None."""
    assert parse('Text/HTML; a="b;c,\\"d"; Q=1') == ("text/html", {"a": 'b;c,"d', "q": "1"})
    assert parse("json") is None
    assert parse("a b/c") is None
    assert codec_of(b"application/problem+msgpack") is MSGPACK
    assert codec_of(b"application/json; charset=utf-16") is None
    assert stream_of(b"application/x-ndjson; charset=utf-8") is STREAMS[1]
    assert stream_of(b"application/json") is None


@pytest.mark.parametrize(
    ("accept", "weight"),
    [
        (b"*/*;q=0.3", (300, 0)),
        (b"application/*", (1_000, 1)),
        (b"application/json;q=0, */*", (0, 2)),
        (b"a/b", (0, 0)),
    ],
)
def test_weights(accept, weight):
    """The most exact range says how welcome a type is."""
    assert Wanted.read(accept).weight("application/json") == weight


def test_all_that_is_wrong():
    """A body that is wrong is refused with all that is, each with its place."""
    body = b'[{"text": 1}, {"number": "x", "text": 2}]'
    try:
        JSON.decoder(list[Leaf])(body)
    except msgspec.ValidationError as error:
        fault = refused(JSON, list[Leaf], body, error)
    assert {each.pointer for each in fault.violations} == {"/0/text", "/1/number", "/1/text"}
