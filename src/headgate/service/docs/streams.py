"""The forms streams take over HTTP, as schemas of what is sent.

    EVENTS.schema({"$ref": "#/components/schemas/Order"})

OpenAPI 3.1 has no word for a stream: the schema is that of one line or event, or of the bytes with what they hold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headgate.service import codecs

MESSAGES: Final = tuple(codec.media_type for codec in codecs.CODECS)
"""Media types of one message."""

_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}


@dataclass(frozen=True, slots=True)
class Form:
    """A media type, and the schema for messages of a schema."""

    media_type: str
    schema: Callable[[Mapping[str, Any]], dict[str, Any]]


def _events(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "string",
        "description": "Events `next` with a message, at last `end` or `error` with a problem.",
        "contentMediaType": "application/json",
        "contentSchema": message,
    }


def _lines(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": "One line of many; the last one is `end` or `error`.",
        "oneOf": [
            {"type": "object", "properties": {"next": message}, "required": ["next"]},
            {"type": "object", "properties": {"error": _PROBLEM}, "required": ["error"]},
            {"type": "object", "properties": {"end": {"const": True}}, "required": ["end"]},
        ],
    }


def _frames(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "string",
        "format": "binary",
        "description": (
            "Frames: a byte (0 next, 1 error, 2 end), the length of what follows in four bytes, the most "
            "significant first, and a message or problem in MessagePack."
        ),
        "contentMediaType": "application/msgpack",
        "contentSchema": message,
    }


EVENTS: Final = Form(codecs.EVENTS.media_type, _events)
LINES: Final = Form(codecs.LINES.media_type, _lines)
FRAMES: Final = Form(codecs.FRAMES.media_type, _frames)
STREAMS: Final = (EVENTS, LINES, FRAMES)
