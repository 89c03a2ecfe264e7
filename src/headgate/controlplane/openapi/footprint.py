"""Footprints: which requests a route takes, in a form in which two routes can be compared."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headgate.controlplane.openapi.paths import (
    Condition,
    Pattern,
    Segment,
    Specificity,
    UnroutableError,
    Variable,
    parse_path,
)

_REGEX_TOKEN: Final = re.compile(
    r"\[\^/\]\+|\.\+|\(\?:(?P<encoded>%[0-9A-F]{2})[^)]*\)|\\(?P<escaped>.)|(?P<plain>[^\\])"
)
_ANY: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Footprint:
    """The requests of a route. No `methods` are all of them.

    `pattern` is None for paths that no pattern describes; `path` is then their matcher, written down.
    `prefix` is the text that paths start with when slashes do not matter. `conditions` are header and
    query matchers in canonical JSON.
    """

    methods: frozenset[str] = _ANY
    pattern: Pattern | None = None
    path: str = ""
    prefix: str = ""
    conditions: frozenset[str] = _ANY

    @classmethod
    def planned(cls, method: str, pattern: Pattern, conditions: Iterable[Condition]) -> "Footprint":
        """The footprint of an operation."""
        written = frozenset(_canonical(condition.where, condition.match()) for condition in conditions)
        return cls(frozenset({method}) if method else _ANY, pattern, "", "", written)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Footprint":
        """The footprint of a stored route."""
        match = document["match"]
        methods = set(match.get("methods", ()))
        conditions = set()
        for header in match.get("headers", ()):
            if header["name"].lower() == ":method" and "exact" in header and not header.get("invert"):
                methods.add(header["exact"])
            else:
                conditions.add(_canonical("header", {**header, "name": header["name"].lower()}))
        conditions |= {_canonical("query", query) for query in match.get("query", ())}
        conditions |= {_canonical("grpc", {})} if match.get("grpc") else set()
        kind, text = next((kind, text) for kind, text in match["path"].items() if text is not None)
        pattern, prefix = _pattern(kind, text), text if kind == "prefix" else ""
        return cls(frozenset(methods), pattern, "" if pattern else f"{kind} {text}", prefix, frozenset(conditions))

    @property
    def shape(self) -> tuple[str, ...]:
        """Equal for footprints with the same paths and conditions, whatever the methods."""
        return (self.pattern.shape if self.pattern else self.path, *sorted(self.conditions))

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for footprints that take the same requests."""
        return (*sorted(self.methods), "", *self.shape)

    @property
    def specificity(self) -> tuple[Specificity, int, int, tuple[str, ...]]:
        """Smaller is tried first. What no pattern describes comes last."""
        exact = sum('"exact"' in condition for condition in self.conditions)
        path = self.pattern.specificity if self.pattern else ((5, self.path),)
        return path, -exact, -len(self.conditions), tuple(sorted(self.conditions))

    @property
    def takes_everything(self) -> bool:
        """Whether no request is left for routes behind it."""
        return self.prefix == "/" and not self.methods and not self.conditions

    def meets(self, other: "Footprint") -> bool:
        """Whether the two have a method in common."""
        return not self.methods or not other.methods or bool(self.methods & other.methods)

    def swallows(self, other: "Footprint") -> bool:
        """Whether this one, tried first, certainly takes every request of the other."""
        if self.methods and not (other.methods and other.methods <= self.methods):
            return False
        if not self.conditions <= other.conditions or self.pattern is None or other.pattern is None:
            return False
        if self.prefix:
            return other.pattern.text.partition("{")[0].startswith(self.prefix)
        return self.pattern.covers(other.pattern)


def _canonical(where: str, matcher: Mapping[str, Any]) -> str:
    given = {key: value for key, value in matcher.items() if value not in (None, False)}
    return f"{where} {json.dumps(given, sort_keys=True)}"


def _pattern(kind: str, text: str) -> Pattern | None:
    if kind == "template":
        try:
            return parse_path(text)
        except UnroutableError:
            return None
    if kind == "regex":
        return _from_regex(text)
    return Pattern(_literal_segments(text), prefix=kind != "exact")


def _literal_segments(text: str) -> tuple[Segment, ...]:
    return tuple((part,) if part else () for part in text.removeprefix("/").split("/"))


def _from_regex(text: str) -> Pattern | None:
    """The pattern whose expression `text` is; None for an expression somebody wrote."""
    segments: list[list[str | Variable]] = [[]]
    for token in _REGEX_TOKEN.finditer(text.removeprefix("/")):
        literal = token["encoded"] or token["escaped"] or token["plain"]
        here = segments[-1]
        if literal == "/":
            segments.append([])
        elif literal is None:
            here.append(Variable(f"v{token.start()}", greedy=token.group() == ".+"))
        elif here and isinstance(here[-1], str):
            here[-1] += literal
        else:
            here.append(literal)
    pattern = Pattern(tuple(tuple(segment) for segment in segments))
    return pattern if pattern.match() == {"regex": text} else None
