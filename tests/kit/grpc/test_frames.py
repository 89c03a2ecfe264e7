"""Messages in the bodies of HTTP."""

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import Cancelled, InvalidArgument, ResourceExhausted, Unimplemented
from headgate.kit.grpc.frames import (
    Body,
    Frames,
    compress,
    decoded_metadata,
    decompress,
    encoded_metadata,
    encoding_of,
    frame,
    takes_gzip,
)


def body_of(*parts, text=False, cut=False):
    """A body that arrives in these parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    last = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
    pending = iter([*messages, last])

    async def receive():
        return next(pending)

    return Body(receive, text=text)


async def all_of(frames):
    """All frames."""
    found = []
    while (each := await frames.next()) is not None:
        found.append(each)
    return found


def split(data, cuts):
    """`data` cut at these places."""
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


messages = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=5)
cuts = st.lists(st.integers(0, 200), max_size=8)


@given(messages, cuts)
async def test_frames_survive_any_cutting(sent, places):
    """However a body is cut into parts, the same messages come out."""
    data = b"".join(frame(flags, payload) for flags, payload in sent)
    assert await all_of(Frames(body_of(*split(data, places)), 0)) == sent


@given(st.lists(st.binary(max_size=20), max_size=5), cuts)
async def test_base64_with_padding_in_its_midst(parts, places):
    """A sender may flush base64 at any time, each time with padding; the bytes are the same."""
    text = b"".join(base64.b64encode(part) for part in parts)
    body = body_of(*split(text, places), text=True)
    assert await body.whole(0) == b"".join(parts)


@pytest.mark.parametrize("text", [b"AAA", b"A===", b"????", b"AA=A", b"AAA=="])
async def test_base64_that_is_none(text):
    """A body that is not base64 is refused."""
    with pytest.raises(InvalidArgument):
        await body_of(text, text=True).whole(0)


async def test_a_frame_too_large_is_refused_by_its_header():
    """A message that announces too much is refused before any of it is held."""
    with pytest.raises(ResourceExhausted):
        await Frames(body_of(b"\x00\x7f\xff\xff\xff"), 100).next()


@pytest.mark.parametrize("data", [b"\x00\x00", b"\x00\x00\x00\x00\x05abc"])
async def test_a_body_that_ends_within_a_message(data):
    """Half a message is not taken for a whole one."""
    with pytest.raises(InvalidArgument, match="ends within"):
        await all_of(Frames(body_of(data), 0))


async def test_a_caller_who_leaves():
    """A body that breaks off is not one that ended."""
    with pytest.raises(Cancelled):
        await all_of(Frames(body_of(b"\x00\x00", cut=True), 0))


async def test_a_whole_body_is_bounded():
    """A body of one message is refused beyond the limit."""
    with pytest.raises(ResourceExhausted):
        await body_of(b"a" * 60, b"b" * 60).whole(100)


@given(st.binary(max_size=2_000))
def test_compression_is_undone(data):
    """What was compressed comes out again, and is the same every time."""
    assert decompress(compress(data), len(data)) == data
    assert compress(data) == compress(data)


def test_a_bomb_does_not_go_off():
    """What would unpack to more than may be is refused after the limit, not after all of it."""
    with pytest.raises(ResourceExhausted):
        decompress(gzip.compress(bytes(50_000_000)), 1_000)


@pytest.mark.parametrize("data", [b"no gzip", compress(b"hello")[:-9]], ids=["foreign", "cut"])
def test_damaged_gzip(data):
    """Bytes that are not gzip, or end early, are refused."""
    with pytest.raises(InvalidArgument):
        decompress(data, 100)


def test_encodings():
    """Only gzip and identity are known; which are accepted is told by quality, too."""
    assert [encoding_of(value) for value in (None, b"", b"identity", b"gzip")] == [False, False, False, True]
    with pytest.raises(Unimplemented, match="br is not known"):
        encoding_of(b"br")
    assert takes_gzip(b"br, GZIP;q=0.5")
    assert not any(map(takes_gzip, (None, b"", b"br", b"gzip;q=0", b"gzip; q=0.0", b"xgzip")))


def test_metadata_over_http():
    """Bytes go as base64 without padding and come back; what HTTP cannot carry is left out."""
    headers = encoded_metadata(
        (("x-a", "1"), ("x-b-bin", b"\x00\xff"), ("x-c", "é"), ("x-d", "a\nb"), ("x-e-bin", "t"))
    )
    assert headers == [(b"x-a", b"1"), (b"x-b-bin", b"AP8"), (b"x-e-bin", b"dA")]
    back = decoded_metadata(
        [(b"x-a", b"1"), (b"x-b-bin", b"AP8, AP8="), (b"x-c-bin", b"???"), (b"host", b"x"), (b"\xff", b"1")],
        frozenset((b"host",)),
    )
    assert back == (("x-a", "1"), ("x-b-bin", b"\x00\xff"), ("x-b-bin", b"\x00\xff"))
