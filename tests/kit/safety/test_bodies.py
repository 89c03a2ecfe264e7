"""The texts in the bodies of requests, by content type."""

import json

import pytest

from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.safety import Gate
from headgate.kit.safety.bodies import judged
from headgate.kit.safety.media import boundary_of, charset_of
from tests.kit.safety.conftest import Words

MULTIPART = b"multipart/form-data; boundary=Ab+c"


def block():
    """A gate that blocks one word."""
    return Gate([Words("badger")])


def redact():
    """A gate that takes one word out."""
    return Gate([Words("badger")], action="redact")


def multipart(*parts):
    """A body of parts, each its headers and its content."""
    made = [b"--Ab+c\r\n" + headers + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts]
    return b"".join([*made, b"--Ab+c--\r\n"])


NAMED = b'Content-Disposition: form-data; name="said"'
PICTURE = (
    b'Content-Disposition: form-data; name="p"; filename="p.png"\r\nContent-Type: image/png',
    b"\x89PNG\r\n\xff\xfe",
)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"a badger", b""),
        (b"\xff a badger", b"text/plain"),
        (b'\xff {"text": "a badger"', b"application/json"),
        ('"a badger"'.encode("utf-16"), b"application/json"),
        ("a badger".encode("utf-16-le"), b"text/plain; charset=UTF-16LE"),
        ("un blåreau badger".encode("latin-1"), b'text/plain; charset="iso-8859-1"'),
        (b'{"a": 1}\n{"a": "a b\\u0061dger"}\n', b"application/x-ndjson"),
        (b"x=1&y=a+b%61dger", b"application/x-www-form-urlencoded"),
        (multipart((NAMED, b"a badger"), PICTURE), MULTIPART),
        (multipart(PICTURE, (NAMED + b"\r\nContent-Type: text/plain", b"\xff a badger")), MULTIPART),
        (multipart(PICTURE, (NAMED + b"\r\ncontent-type: application/json", b'{"a": "b\\u0061dger"}')), MULTIPART),
        (multipart(PICTURE, (NAMED, b"a badger")).replace(b"\r\n", b"\n"), MULTIPART),
        (b"a badger before the first part\r\n" + multipart(PICTURE), MULTIPART),
        (b"a badger in no part", b"multipart/form-data"),
    ],
)
async def test_unwanted_text_is_found(content, kind):
    """Whatever a body is, and in whatever encoding, a text in it that is not allowed is found."""
    with pytest.raises(PermissionDenied):
        await judged(block(), content, kind)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe a badger", b"application/octet-stream"),
        (b"\x89PNG badger", b"image/png"),
        (multipart((NAMED, b"all well"), PICTURE), MULTIPART),
        (multipart((PICTURE[0], b"\xff badger")), MULTIPART),
        (b'{"a": 1}\r\n\r\n{"a": "x"}', b"application/jsonl"),
        (b"\xff fine", b"text/plain"),
        (b"--", MULTIPART),
    ],
)
async def test_what_is_harmless_stays_to_the_byte(content, kind):
    """What holds no text, or none that is to blame, passes as it came."""
    assert await judged(redact(), content, kind) == content


async def test_parts_are_redacted_in_place():
    """Of a form with files only the value to blame changes."""
    given = multipart((NAMED, b"fine"), (NAMED, b"All well. A badger. Bye."), PICTURE)
    wanted = multipart((NAMED, b"fine"), (NAMED, b"All well. [removed] Bye."), PICTURE)
    assert await judged(redact(), given, MULTIPART) == wanted


async def test_lines_are_redacted_in_place():
    """Of JSON lines only the one to blame changes, and a member that another hides does not stay in it."""
    given = b'{"n":  1}\n{"a": "badger", "a": "x", "b": 2}\n"well"'
    new = await judged(redact(), given, b"application/x-ndjson")
    first, second, third = new.split(b"\n")
    assert (first, json.loads(second), third) == (b'{"n":  1}', {"a": "x", "b": 2}, b'"well"')
    assert b"badger" not in new


async def test_a_redacted_text_keeps_its_encoding():
    """A text is written in the encoding that it came in."""
    new = await judged(redact(), "Så. A badger.".encode("utf-16-le"), b"text/plain; charset=utf-16-le")
    assert new.decode("utf-16-le") == "Så. [removed]"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (b"text/plain; charset=UTF-8", "utf-8"),
        (b'text/plain; format=flowed; Charset = "Latin-1"', "latin-1"),
        (b"text/plain", ""),
        (b"text/plain; charset=base64", ""),
        (b"text/plain; charset=punycode", ""),
        (b"text/plain; charset=unicode-escape", ""),
        (b"text/plain; charset=undefined", ""),
        (b"text/plain; charset=nonsense", ""),
    ],
)
def test_encodings_are_of_texts(given, found):
    """An encoding is believed when it is one of texts."""
    assert charset_of(given) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (b"multipart/form-data; boundary=aB", b"aB"),
        (b'multipart/mixed; BOUNDARY="a b"; x=1', b"a b"),
        (b"multipart/form-data", b""),
    ],
)
def test_boundaries_are_read(given, found):
    """The boundary is found quoted or not, and its case is kept."""
    assert boundary_of(given) == found
