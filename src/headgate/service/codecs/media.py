"""Media types as HTTP writes them: `Content-Type`, and `Accept` with its weights (RFC 9110, sections 8.3 and 12.5.1).

parse('application/json; charset="utf-8"')      # MediaType("application/json", {"charset": "utf-8"})
wanted = Wanted.read(b"application/msgpack, */*;q=0.1")
wanted.weight("application/json")               # (100, 0): thousandths, and how exactly it was named
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

LONGEST_REMEMBERED: Final = 512
"""Bytes of a header up to which what it means is remembered."""

LONGEST_READ: Final = 8_192
"""Bytes of an `Accept` that are read; the rest is not."""

_REMEMBERED: Final = 1_024
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WEIGHT: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


class MediaType(NamedTuple):
    """`essence` is `type/subtype`, in lower case as the names of the parameters are."""

    essence: str
    parameters: Mapping[str, str]


class Wanted(NamedTuple):
    """What a caller accepts: weights in thousandths by media range."""

    ranges: Mapping[str, int]

    @classmethod
    def read(cls, accept: bytes) -> "Wanted":
        """What an `Accept` says. One that names nothing that can be read accepts everything."""
        ranges: dict[str, int] = {}
        for element in _split(accept[:LONGEST_READ].decode("latin-1"), ","):
            media = parse(element)
            if media is None:
                continue
            weight = media.parameters.get("q", "1")
            if not _WEIGHT.fullmatch(weight) or media.parameters.get("charset", "utf-8").lower() != "utf-8":
                continue
            ranges[media.essence] = max(round(float(weight) * 1_000), ranges.get(media.essence, 0))
        return cls(ranges or {"*/*": 1_000})

    def weight(self, essence: str) -> tuple[int, int]:
        """The weight of a media type, 0 when it is not accepted; and 2, 1 or 0 as it, its type, or any was named."""
        for exactness, name in ((2, essence), (1, f"{essence.partition('/')[0]}/*"), (0, "*/*")):
            if name in self.ranges:
                return self.ranges[name], exactness
        return 0, 0


def parse(text: str) -> MediaType | None:
    """A media type with its parameters, None for what is none."""
    essence, *rest = _split(text, ";")
    kind, slash, subtype = essence.strip().partition("/")
    if not (slash and _TOKEN.fullmatch(kind) and _TOKEN.fullmatch(subtype)):
        return None
    parameters: dict[str, str] = {}
    for each in rest:
        name, equals, value = each.strip().partition("=")
        if equals and _TOKEN.fullmatch(name):
            parameters.setdefault(name.lower(), _unquoted(value))
    return MediaType(f"{kind}/{subtype}".lower(), parameters)


def remembered(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """What a function said of a header is kept, for the latest and not for long ones."""
    cached = lru_cache(maxsize=_REMEMBERED)(function)

    def find(header: bytes) -> T:
        return cached(header) if len(header) <= LONGEST_REMEMBERED else function(header)

    find.__doc__ = function.__doc__
    return find


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _QUOTED_PAIR.sub(r"\1", value[1:-1])
    return value


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a list, whose separators do not count within quotes."""
    if '"' not in text:
        yield from text.split(separator)
        return
    start, quoted, position = 0, False, 0
    while position < len(text):
        character = text[position]
        if character == '"':
            quoted = not quoted
        elif character == "\\" and quoted:
            position += 1
        elif character == separator and not quoted:
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]
