"""What a content type says of a body: which texts are in it, and in which encoding.

Source: RFC 9110, section 8.3 (media types); RFC 2046 (multipart).
"""

import re
from typing import Final

LINES: Final = frozenset(
    (
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/jsonlines",
        b"application/x-jsonlines",
    )
)
"""Types of bodies with a JSON document on each line."""

_JSON: Final = (b"application/json", b"application/problem+json")
_CHARSET: Final = re.compile(rb"charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_BOUNDARY: Final = re.compile(rb"boundary\s*=\s*(?:\"([^\"]+)\"|([^\s;,\"]+))", re.IGNORECASE)
_NOT_OF_TEXTS: Final = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "unicode-escape"))


def kind_of(content_type: bytes) -> bytes:
    """The type without its parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower()


def is_json(kind: bytes) -> bool:
    """Whether a body of this type is a JSON document."""
    return kind in _JSON or kind.endswith(b"+json")


def is_text(kind: bytes) -> bool:
    """Whether a body of this type is to be read by people, as it is."""
    return kind.startswith(b"text/") or kind == b"application/xml" or kind.endswith(b"+xml")


def charset_of(content_type: bytes) -> str:
    """The encoding that a type names and Python knows; "" when there is none."""
    found = _CHARSET.search(content_type)
    name = found[1].decode("ascii").lower() if found else ""
    if not name or name.replace("-", "_") in _NOT_OF_TEXTS:
        return ""
    try:
        # Codecs that are not for texts, and those that are not there, are refused alike.
        "a".encode(name)
    except (LookupError, UnicodeError):
        return ""
    return name


def boundary_of(content_type: bytes) -> bytes:
    """What stands between the parts of a multipart body; b"" when that is not told."""
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]) if found else b""
