"""Path templates: `/orders/{id}` as Envoy's uri_template where that can say it, else as a regular expression.

Both forms mean the same. A variable is one or more, `{rest=**}` any number, of the characters RFC 3986
allows in a path; only the latter takes slashes. Where several variables stand in one segment, the first
takes as much as it can.

Envoy's uri_template allows five variables, one per segment, names of 16 characters, 256 characters in
all, no empty segment, and only some literal characters; its variables are therefore renamed v0, v1, ...
Source: envoy.extensions.path.match.uri_template.v3, envoy.extensions.path.rewrite.uri_template.v3.
"""

import re
from typing import NamedTuple

from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.extensions.path.rewrite.uri_template.v3.uri_template_rewrite_pb2 import UriTemplateRewriteConfig

from headgate.controlplane.translate.wire import Shape, extension, wire_path

MATCHER = "envoy.path.match.uri_template.uri_template_matcher"
REWRITER = "envoy.path.rewrite.uri_template.uri_template_rewriter"

PATH_CHARACTERS = r"a-zA-Z0-9\-._~%!$&'()+,;:@=*"
"""The characters a variable takes, as the inside of an RE2 class."""

_ONE_SEGMENT = f"[{PATH_CHARACTERS}]+"
_ANY_SEGMENTS = f"[{PATH_CHARACTERS}/]*"

# '*' is missing: there it would be a wildcard.
_URI_TEMPLATE_LITERAL = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=/]*")
_MOST_VARIABLES = 5
_LONGEST = 256


class Variable(NamedTuple):
    """A variable of a template; a deep one takes slashes."""

    name: str
    deep: bool


Part = str | Variable


def parse(template: str) -> list[Part]:
    """Split a template, which the model has checked, into literals and variables."""
    parts: list[Part] = []
    for index, text in enumerate(re.split(r"\{([^{}]*)\}", wire_path(template))):
        if index % 2:
            name, _, glob = text.partition("=")
            parts.append(Variable(name, glob == "**"))
        elif text:
            parts.append(text)
    return parts


def match(template: str) -> Shape:
    """Return the fields of a RouteMatch that match the path against the template."""
    parts = parse(template)
    pattern = _uri_template(parts)
    if pattern is None:
        return {"safe_regex": {"regex": _regex(parts)}}
    return {"path_match_policy": extension(MATCHER, UriTemplateMatchConfig(path_template=pattern))}


def rewrite(template: str, replacement: str) -> Shape:
    """Return the fields of a RouteAction that put a new path in the place of one the template matches."""
    parts, wanted = parse(template), parse(replacement)
    pattern = _uri_template_rewrite(parts, wanted)
    if pattern is not None and _uri_template(parts) is not None:
        policy = extension(REWRITER, UriTemplateRewriteConfig(path_template_rewrite=pattern))
        return {"path_rewrite_policy": policy}
    return {"regex_rewrite": _regex_rewrite(parts, wanted)}


def _regex_rewrite(parts: list[Part], wanted: list[Part]) -> Shape:
    used = [part.name for part in parts if isinstance(part, Variable) and part.name in _names(wanted)]
    substitution = "".join(
        f"\\{used.index(part.name) + 1}" if isinstance(part, Variable) else part.replace("\\", "\\\\")
        for part in wanted
    )
    pattern = f"^{_regex(parts, frozenset(used))}$"
    return {"pattern": {"regex": pattern}, "substitution": substitution}


def _names(parts: list[Part]) -> set[str]:
    return {part.name for part in parts if isinstance(part, Variable)}


def _uri_template(parts: list[Part]) -> str | None:
    variables = [part for part in parts if isinstance(part, Variable)]
    spelled = [f"{{v{variables.index(p)}{'=**' if p.deep else ''}}}" if isinstance(p, Variable) else p for p in parts]
    pattern = "".join(spelled)
    if len(variables) > _MOST_VARIABLES or len(pattern) > _LONGEST or not _literals_fit(parts):
        return None
    return pattern if all(segment.count("{") <= 1 for segment in pattern.split("/")) else None


def _uri_template_rewrite(parts: list[Part], wanted: list[Part]) -> str | None:
    numbers = {name: index for index, name in enumerate(p.name for p in parts if isinstance(p, Variable))}
    pattern = "".join(f"{{v{numbers[p.name]}}}" if isinstance(p, Variable) else p for p in wanted)
    return pattern if len(pattern) <= _LONGEST and _literals_fit(wanted) else None


def _literals_fit(parts: list[Part]) -> bool:
    literals = [part for part in parts if isinstance(part, str)]
    return all(_URI_TEMPLATE_LITERAL.fullmatch(text) and "//" not in text for text in literals)


def _regex(parts: list[Part], captured: frozenset[str] = frozenset()) -> str:
    return "".join(_escaped(part) if isinstance(part, str) else _variable(part, captured) for part in parts)


def _variable(variable: Variable, captured: frozenset[str]) -> str:
    expression = _ANY_SEGMENTS if variable.deep else _ONE_SEGMENT
    return f"({expression})" if variable.name in captured else expression


def _escaped(text: str) -> str:
    return re.sub(r"([^A-Za-z0-9_/~-])", r"\\\1", text)


def escaped_path(path: str) -> str:
    """Return the RE2 expression that matches a literal path."""
    return _escaped(wire_path(path))
