"""Server-sent events taken apart and put together."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.safety.sse import TEXT_AT, Splitter, read

STREAM = b': hello\n\nid: 1\ndata: {"chunk": "a"}\r\n\r\ndata: one\rdata: two\r\revent: end\ndata\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_make_no_difference(cuts):
    """However the bytes come, no event is lost, split or joined with another."""
    ends = sorted(cuts)
    splitter = Splitter()
    chunks = [STREAM[a:b] for a, b in zip([0, *ends], [*ends, len(STREAM)], strict=True)]
    events = [event for chunk in chunks for event in splitter.feed(chunk)] + splitter.finish()
    assert b"".join(events) == STREAM
    assert [read(event, TEXT_AT).text for event in events if event.strip()] == ["", "a", "one\ntwo", ""]


def test_an_end_may_be_missing():
    """What is left when the stream ends is an event too."""
    splitter = Splitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [b"data: a\n\n"]
    assert splitter.held == 7
    assert splitter.finish() == [b"data: b"]
    assert splitter.finish() == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('{"chunk": "hi"}', "hi"),
        ('{"text": "hi", "n": 1}', "hi"),
        ('{"choices": [{"delta": {"content": "hi"}}]}', "hi"),
        ('{"choices": []}', ""),
        ('{"chunk": 3}', ""),
        ("hi", "hi"),
        ("[DONE]", "[DONE]"),
        ("{broken", "{broken"),
        ('"hi"', "hi"),
        (' {"chunk": "h\\u0069"}', "hi"),
    ],
)
def test_the_text_of_an_event(data, text):
    """An event's running text is at a chosen pointer of its document, or all of its data."""
    assert read(f"data: {data}\n\n".encode(), TEXT_AT).text == text


def test_a_byte_order_mark_hides_nothing():
    """Clients drop a byte order mark at the beginning, so the data behind it is read."""
    assert read(b"\xef\xbb\xbfdata: hi\n\n", TEXT_AT).text == "hi"


def test_an_untouched_event_keeps_its_bytes():
    """An event whose text stays is passed on to the byte."""
    raw = b'id: 7\r\ndata: {"chunk":  "hi"}\r\n\r\n'
    event = read(raw, TEXT_AT)
    assert event.with_text("hi", event.document) == raw


def test_another_text_leaves_the_rest():
    """An event with another text keeps its id, its name and the rest of its document."""
    event = read(b'id: 7\nevent: part\ndata: {"chunk": "hi", "n": 1}\n\n', TEXT_AT)
    first, second, data = event.with_text("h\u00e9", event.document).decode().strip().split("\n")
    assert (first, second) == ("id: 7", "event: part")
    assert json.loads(data.removeprefix("data: ")) == {"chunk": "hé", "n": 1}
    assert read(b"data: one\n\n", TEXT_AT).with_text("a\nb", None) == b"data: a\ndata: b\n\n"


def test_comments_are_told_apart():
    """A heartbeat is no event; an event without data is."""
    assert read(b": beat\n\n", TEXT_AT).is_comment
    assert not read(b"event: end\n\n", TEXT_AT).is_comment


def test_a_string_is_replaced_as_one():
    """An event whose data is a JSON string stays one with another text."""
    event = read(b'data: "a \\"b\\""\n\n', TEXT_AT)
    assert event.text == 'a "b"'
    assert event.with_text("new", event.document) == b'data: "new"\n\n'
