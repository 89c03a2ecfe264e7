"""How a route, a header and a query parameter are matched.

A matcher is an object with exactly one of its alternatives set: `{"prefix": "/orders"}`.
"""

import re
from typing import Annotated, Literal

import re2
from pydantic import AfterValidator, Field, model_validator

from headgate.controlplane.model.base import HeaderName, HeaderValue, Spec, Text

MAX_PATTERN = 1024
MAX_PROGRAM = 32_768
"""Largest RE2 program of a regular expression, in instructions; the data plane's limit is above it."""


def _regex(text: str) -> str:
    try:
        size = re2.compile(text).programsize
    except re2.error as error:
        raise ValueError(f"is not an RE2 regular expression: {_reason(error)}") from None
    if size > MAX_PROGRAM:
        raise ValueError(f"is too large an expression: {size} instructions, {MAX_PROGRAM} are allowed")
    return text


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must start with '/'")
    if re.search(r"[?#\s\x00-\x1f\x7f]", text):
        raise ValueError("must not hold '?', '#', white space or control characters")
    return text


_VARIABLE = re.compile(r"\{([^{}]*)\}")


def _template(text: str) -> str:
    _path(text)
    rest = _VARIABLE.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError("has a brace without its partner")
    names = _VARIABLE.findall(text)
    for position, name in enumerate(names):
        bare, _, glob = name.partition("=")
        if not bare:
            raise ValueError("has a variable without a name")
        if glob and glob not in {"*", "**"}:
            raise ValueError(f"variable '{bare}' may only be '{{{bare}}}', '{{{bare}=*}}' or '{{{bare}=**}}'")
        if glob == "**" and not (position == len(names) - 1 and text.endswith("}")):
            raise ValueError(f"variable '{bare}=**' must be the end of the path")
    bare_names = [name.partition("=")[0] for name in names]
    if len(set(bare_names)) != len(bare_names):
        raise ValueError("names a variable twice")
    return text


Regex = Annotated[Text, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_regex)]
Path = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_path)]
PathTemplate = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_template)]
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY"]


class OneOf(Spec):
    """Exactly one of the fields must be set."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "OneOf":
        given = [name for name in type(self).alternatives() if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).alternatives())}; {len(given)} are given")
        return self

    @classmethod
    def alternatives(cls) -> list[str]:
        """Names of the fields of which exactly one must be set: those whose default is null."""
        return [name for name, field in cls.model_fields.items() if field.default is None]

    @property
    def chosen(self) -> str:
        """The name of the alternative that is set."""
        return next(name for name in type(self).alternatives() if getattr(self, name) is not None)


class PathMatch(OneOf):
    """The path, without the query."""

    exact: Path | None = None
    """The whole path."""
    prefix: Path | None = None
    """The start of the path: `/a` matches `/ab`."""
    path_separated_prefix: Annotated[Path, Field(pattern=r"[^/]$")] | None = None
    """The path or one below it: `/a` matches `/a` and `/a/b`, not `/ab`. Must not end with '/'."""
    regex: Regex | None = None
    """An RE2 expression the whole path must match."""
    template: PathTemplate | None = None
    """`/orders/{id}`; a variable is one segment or part of one, of one or more of the characters RFC 3986
    allows in a path; `{rest=**}` takes all that is left, even nothing."""


class HeaderMatch(Spec):
    """A request header. Exactly one of the alternatives; `invert` turns the verdict round.

    An absent header matches no alternative but `present: false`; inverted, it counts as an empty one.
    """

    name: HeaderName
    exact: HeaderValue | None = None
    prefix: Annotated[HeaderValue, Field(min_length=1)] | None = None
    suffix: Annotated[HeaderValue, Field(min_length=1)] | None = None
    contains: Annotated[HeaderValue, Field(min_length=1)] | None = None
    regex: Regex | None = None
    present: bool | None = None
    invert: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> "HeaderMatch":
        given = [name for name in self.alternatives() if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(self.alternatives())}; {len(given)} are given")
        return self

    @classmethod
    def alternatives(cls) -> list[str]:
        """Names of the ways to match."""
        return ["exact", "prefix", "suffix", "contains", "regex", "present"]


class QueryMatch(Spec):
    """A query parameter. Exactly one of the alternatives."""

    name: Annotated[Text, Field(min_length=1, max_length=256)]
    exact: Annotated[Text, Field(max_length=1024)] | None = None
    prefix: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None
    regex: Regex | None = None
    present: bool | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "QueryMatch":
        given = [name for name in ("exact", "prefix", "regex", "present") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of exact, prefix, regex, present; {len(given)} are given")
        return self


class RouteMatch(Spec):
    """What a request must look like. All that is given must hold; the first route that matches wins."""

    path: PathMatch
    methods: list[Method] = Field(default=[], max_length=10)
    """Any of these; empty means every method."""
    headers: list[HeaderMatch] = Field(default=[], max_length=32)
    query: list[QueryMatch] = Field(default=[], max_length=32)
    grpc: bool = False
    """Only requests whose content-type is gRPC."""
    case_sensitive: bool = True
    """For exact, prefix and path_separated_prefix; write (?i) into a regex instead."""

    @model_validator(mode="after")
    def _consistent(self) -> "RouteMatch":
        if not self.case_sensitive and self.path.chosen in {"regex", "template"}:
            raise ValueError(f"case_sensitive false has no meaning with a {self.path.chosen} path")
        return self
