"""Path keys: what a key of `paths` says about the requests it stands for.

A key is a template, as a client would send it once its variables are filled in. Some documents tell
operations on one path apart with a query (`/?Action=Stop`) or a fragment (`/#X-Amz-Target=Stop`), which
becomes a condition on the request.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

MAX_PATH: Final = 1024
"""Characters in the path of a route at most."""

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CHUNK: Final = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_ENCODED: Final = re.compile(r"%[0-9A-F]{2}")
_OFTEN_RAW: Final = frozenset({"%5B", "%5D", "%7C", "%5E"})
"""`[`, `]`, `|` and `^`: RFC 3986 wants them encoded, browsers and many libraries send them as they are."""
_PATH_SAFE: Final = "!$&'()*+,;=:@"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_QUERY_SAFE: Final = "!$'()*,;:@/?="
_REFUSED: Final = re.compile(r"%(2F|5C|00)")
_GREEDY: Final = re.compile(r"^[+*]|^[^:=]*[+*]$|=.*(\*\*|/)|:path$|:\.[*+]$")
_EXPANSION: Final = re.compile(r"^[+*#./;]+|[*+?]$|[=:].*$", re.DOTALL)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")


class UnroutableError(Exception):
    """Why something cannot be routed: a stable `code` and a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of a path that the client fills in; a greedy one may hold slashes."""

    name: str
    greedy: bool = False


Segment = tuple[str | Variable, ...]
"""What stands between two slashes: text and variables; none at all is the empty segment."""

Specificity = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path, segment by segment, percent-encoded as it travels. `prefix` matches what is below it too."""

    segments: tuple[Segment, ...]
    prefix: bool = False

    @property
    def text(self) -> str:
        """The path as a template: `/orders/{id}`, a greedy variable as `{rest=**}`."""
        return "/" + "/".join("".join(_shown(part) for part in segment) for segment in self.segments)

    @property
    def shape(self) -> str:
        """Equal for patterns that match the same paths: the template without the names."""
        shape = "/" + "/".join("".join(_nameless(part) for part in segment) for segment in self.segments)
        return shape + ("{/**}" if self.prefix else "")

    @property
    def specificity(self) -> Specificity:
        """Smaller is tried first: text before part text before a variable before everything below."""
        ranks = tuple(_rank(segment) for segment in self.segments)
        return (*(ranks[:-1] if self.prefix and self.segments[-1:] == ((),) else ranks), *([(4,)] * self.prefix))

    @property
    def greedy(self) -> bool:
        """Whether a variable of it may hold slashes."""
        return any(isinstance(part, Variable) and part.greedy for segment in self.segments for part in segment)

    def match(self) -> dict[str, str]:
        """The path match of a route: `exact`, `template`, or `regex` for what those two cannot say.

        That is a greedy variable inside the path, and text that clients write in more than one way
        (`%c3` for `%C3`, `[` for `%5B`).
        """
        parts = [part for segment in self.segments for part in segment]
        variables = [part for part in parts if isinstance(part, Variable)]
        greedy = sum(part.greedy for part in variables)
        greedy_at_the_end = self.segments[-1] == (Variable(variables[-1].name, greedy=True),) if variables else False
        if greedy > greedy_at_the_end or any(isinstance(part, str) and _written_variously(part) for part in parts):
            return {"regex": self._regex()}
        return {"template" if variables else "exact": self.text}

    def under(self, mount: str) -> "Pattern":
        """The same below a literal path. Raises UnroutableError (`path_too_long`)."""
        above: tuple[Segment, ...] = tuple((text,) for text in mount.split("/") if text)
        return _bounded(Pattern((*above, *self.segments), self.prefix))

    def covers(self, other: "Pattern") -> bool:
        """Whether every path of `other` is certainly one of mine."""
        if self.prefix:
            mine = self.segments[:-1] if self.segments[-1:] == ((),) else self.segments
            return len(other.segments) >= len(mine) and all(map(_segment_covers, mine, other.segments))
        if other.prefix:
            return False
        for index, segment in enumerate(self.segments):
            if index >= len(other.segments):
                return False
            if any(isinstance(part, Variable) and part.greedy for part in segment):
                return index == len(self.segments) - 1 and len(segment) == 1 and other.segments[index] != ()
            if not _segment_covers(segment, other.segments[index]):
                return False
        return len(self.segments) == len(other.segments)

    def _regex(self) -> str:
        return "/" + "/".join("".join(_expression(part) for part in segment) for segment in self.segments)


def _shown(part: str | Variable) -> str:
    if isinstance(part, str):
        return part
    return f"{{{part.name}=**}}" if part.greedy else f"{{{part.name}}}"


def _nameless(part: str | Variable) -> str:
    if isinstance(part, str):
        return part
    return "{**}" if part.greedy else "{}"


def _expression(part: str | Variable) -> str:
    if isinstance(part, Variable):
        return ".+" if part.greedy else "[^/]+"
    return "".join(_alternatives(chunk) for chunk in _CHUNK.findall(part))


def _alternatives(chunk: str) -> str:
    if len(chunk) == 1:
        return re.escape(chunk)
    raw = [re.escape(chr(int(chunk[1:], 16)))] if chunk in _OFTEN_RAW else []
    ways = list(dict.fromkeys([chunk, chunk.lower(), *raw]))
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _written_variously(literal: str) -> bool:
    return any(chunk in _OFTEN_RAW or chunk != chunk.lower() for chunk in _ENCODED.findall(literal))


def _rank(segment: Segment) -> tuple[Any, ...]:
    literal = "".join(part for part in segment if isinstance(part, str))
    variables = [part for part in segment if isinstance(part, Variable)]
    if not variables:
        return (0, literal)
    if any(part.greedy for part in variables):
        return (3, -len(literal))
    if len(segment) == 1:
        return (2,)
    return (1, -len(literal), -len(variables), "".join(_nameless(part) for part in segment))


def _segment_covers(mine: Segment, other: Segment) -> bool:
    if len(mine) == 1 and isinstance(mine[0], Variable):
        return mine[0].greedy or (other != () and not any(isinstance(p, Variable) and p.greedy for p in other))
    return tuple(map(_nameless, mine)) == tuple(map(_nameless, other))


@dataclass(frozen=True, slots=True)
class Condition:
    """Something a request must carry beside its path. `value` None: be there, with whatever value."""

    where: Literal["query", "header"]
    name: str
    value: str | None = None

    def match(self) -> dict[str, Any]:
        """The header or query match of a route."""
        return {"name": self.name, **({"present": True} if self.value is None else {"exact": self.value})}


def split_key(key: str) -> tuple[str, str, str]:
    """The path, the query and the fragment of a key; what stands in braces is never a separator."""
    if "?" not in key and "#" not in key:
        return key, "", ""
    cuts = {"?": len(key), "#": len(key)}
    for index, character in _outside_braces(key):
        if character == "#":
            cuts["#"] = index
            break
        if character == "?" and cuts["?"] == len(key):
            cuts["?"] = index
    end = min(cuts["?"], cuts["#"])
    return key[:end], key[cuts["?"] + 1 : cuts["#"]], key[cuts["#"] + 1 :]


def _outside_braces(text: str) -> Iterator[tuple[int, str]]:
    depth = 0
    for index, character in enumerate(text):
        depth = max(0, depth + (character == "{") - (character == "}"))
        if depth == 0:
            yield index, character


def parse_path(text: str) -> Pattern:
    """The pattern of a path with variables in braces, normalised as Envoy normalises requests.

    Raises UnroutableError with code `unbalanced_braces`, `escaped_slash`, `control_character` or `path_too_long`.
    """
    segments: list[list[str | Variable]] = [[]]
    names: set[str] = set()
    for part in _parts(text.removeprefix("/")):
        if isinstance(part, Variable):
            segments[-1].append(Variable(_unique(part.name, names), part.greedy))
            continue
        first, *others = part.split("/")
        if first:
            segments[-1].append(first)
        segments.extend([other] if other else [] for other in others)
    return _bounded(Pattern(_normalised([_greedy_alone(tuple(segment)) for segment in segments])))


def _bounded(pattern: Pattern) -> Pattern:
    if len(pattern.text) > MAX_PATH:
        raise UnroutableError("path_too_long", f"the path is longer than {MAX_PATH} characters")
    return pattern


def _parts(text: str) -> Iterator[str | Variable]:
    start = depth = 0
    for index, character in enumerate(text):
        if character == "{":
            if depth == 0:
                yield encode(text[start:index])
                start = index + 1
            depth += 1
        elif character == "}":
            if depth == 0:
                raise UnroutableError("unbalanced_braces", "the path has a '}' without its '{'")
            depth -= 1
            if depth == 0:
                yield from _variable(text[start:index])
                start = index + 1
    if depth:
        raise UnroutableError("unbalanced_braces", "the path has a '{' without its '}'")
    yield encode(text[start:])


def _variable(raw: str) -> Iterator[Variable]:
    # `{?page,size}` is a query that clients may add: it is no part of the path.
    if not raw.startswith(("?", "&")):
        yield Variable(_EXPANSION.sub("", _EXPANSION.sub("", raw.strip())), bool(_GREEDY.search(raw.strip())))


def _unique(raw: str, taken: set[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", raw).strip("_")[:64] or "var"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def _greedy_alone(segment: Segment) -> Segment:
    # Two greedy variables side by side, or one beside another variable, say no more than one.
    greedy = [part for part in segment if isinstance(part, Variable) and part.greedy]
    if len(greedy) == 1 and sum(isinstance(part, Variable) for part in segment) == 1:
        return segment
    return tuple(Variable(part.name) if isinstance(part, Variable) else part for part in segment)


def _normalised(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    kept: list[Segment] = []
    ended = False
    for segment in segments:
        ended = segment in ((), (".",), ("..",))
        if segment == ("..",):
            del kept[-1:]
        elif not ended:
            kept.append(segment)
    return (*kept, ()) if ended or not kept else tuple(kept)


def encode(literal: str) -> str:
    """Percent-encode what may not stand in a path, leave what is encoded already (RFC 3986).

    Raises UnroutableError for what no gateway lets through: an encoded slash or backslash, and NUL.
    """
    if _PLAIN.fullmatch(literal):
        return literal
    encoded = "".join(_encoded(chunk, _PATH_SAFE + "/") for chunk in _CHUNK.findall(literal))
    refused = _REFUSED.search(encoded)
    if refused and refused.group() == "%00":
        raise UnroutableError("control_character", "the path holds a NUL character")
    if refused:
        raise UnroutableError("escaped_slash", f"the path holds {refused.group()}, which gateways refuse in requests")
    return encoded


def _encoded(chunk: str, safe: str) -> str:
    if len(chunk) > 1:
        character = chr(int(chunk[1:], 16))
        return character if character in _UNRESERVED else chunk.upper()
    return chunk if chunk in _UNRESERVED or chunk in safe else quote(chunk, safe="")


def query_conditions(query: str) -> list[Condition]:
    """What a query in a path key asks of a request: `a=b` that value, `a` or `a={b}` that it is there."""
    return [_in_query(name, value) for name, value in _pairs(query)]


def fragment_conditions(
    fragment: str, query_names: Collection[str], header_names: Collection[str]
) -> tuple[list[Condition], list[str]]:
    """What a fragment in a path key asks of a request, and which of its parts name nothing in one.

    Clients never send a fragment; its parts name query parameters or headers. Which of the two the
    operation's parameters say; else `x-...=value` is a header and `name=value` a query parameter.
    """
    conditions: list[Condition] = []
    ignored: list[str] = []
    lower_headers = {name.lower() for name in header_names}
    for name, value in _pairs(fragment):
        is_header = name.lower() in lower_headers or (name.lower().startswith("x-") and value is not None)
        if name not in query_names and is_header and _HEADER_NAME.fullmatch(name):
            conditions.append(Condition("header", name.lower(), value))
        elif name in query_names or value is not None:
            conditions.append(_in_query(name, value))
        else:
            ignored.append(name)
    return conditions, ignored


def _pairs(text: str) -> Iterator[tuple[str, str | None]]:
    seen: set[str] = set()
    for piece in text.split("&"):
        name, _, value = piece.partition("=")
        if name and "{" not in name and name not in seen:
            seen.add(name)
            yield name, (value if value and "{" not in value else None)


def _in_query(name: str, value: str | None) -> Condition:
    return Condition("query", _query_text(name), None if value is None else _query_text(value))


def _query_text(text: str) -> str:
    return "".join(_encoded(chunk, _QUERY_SAFE) for chunk in _CHUNK.findall(text))
