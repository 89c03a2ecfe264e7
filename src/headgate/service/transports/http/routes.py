"""Which operation a method and a path lead to.

    routes = Routes(operations)
    operation, values = routes.find("GET", scope)       # values of the path's parameters, in the template's order

A word wins over a parameter in the same place, as far as the method goes: with `POST /orders/new` and
`GET /orders/{id}`, a GET of `/orders/new` is of the order `new`. Segments are told apart before they are decoded:
`/orders/a%2Fb` is the order `a/b`. A path that differs by a slash at its end is answered with where it is.

    InvalidArgument
    ├── route_conflict        at start: two operations that the same requests would lead to
    ├── invalid_binding       at start: a parameter that is not a whole segment
    └── malformed_url         a path that is not UTF-8
    NotFound
    ├── path_not_found
    └── unknown_method        below the path of a service that is served here
    Unimplemented
    └── method_not_allowed    with the methods that are possible
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, Unimplemented
from headgate.service.faults import unknown_method
from headgate.service.transports.http.intake import Values, malformed_url, segment_of
from headgate.service.transports.http.operation import Operation

Scope = Mapping[str, Any]
Verbs = dict[str, Operation]

_REST: Final = ":path}"


class ElsewhereError(Exception):
    """The path is right but for the slash at its end. `location` is where to go."""

    def __init__(self, location: bytes) -> None:
        super().__init__(location)
        self.location = location


class NotAllowedError(Exception):
    """The path leads somewhere, the method does not: `fault` says so, `allow` is the header."""

    def __init__(self, allow: str, fault: Fault) -> None:
        super().__init__(allow)
        self.allow = allow
        self.fault = fault


class _Node:
    """What may follow one beginning of a path."""

    __slots__ = ("here", "parameter", "rest", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.here: Verbs = {}
        self.rest: Verbs = {}


class Routes:
    """All operations of a wire. See the module. `services` are called by these names: `PACKAGE.SERVICE`."""

    def __init__(self, operations: Iterable[Operation], services: Iterable[str] = ()) -> None:
        self._services = frozenset(services)
        self.exact: dict[str, Verbs] = {}
        """Operations whose paths have no parameters."""
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def find(self, verb: str, scope: Scope) -> tuple[Operation, Values]:
        """The operation, and its path's values. Raises what the module says, ElsewhereError and NotAllowedError."""
        path, raw = _path_of(scope)
        segments = _segments(path, raw)
        allowed: set[str] = set()
        for verbs, values in _walk(self._root, segments, 1, ()):
            operation = verbs.get(verb)
            if operation is not None:
                return operation, values
            allowed.update(verbs)
        if allowed:
            raise _not_allowed(verb, path, allowed)
        other = segments[:-1] if segments[-1] == "" else [*segments, ""]
        if len(segments) > 1 and any(True for _ in _walk(self._root, other, 1, ())):
            raise ElsewhereError(_location(scope, slash=other[-1] == ""))
        raise self._nothing_at(path)

    def below(self, prefix: str) -> Operation | None:
        """An operation that a prefix would share paths with."""
        node, segments = self._root, [each for each in prefix.split("/") if each]
        for segment in segments:
            if segment not in node.words:
                break
            node = node.words[segment]
        else:
            return next(_all(node), None) if segments else None
        return next((verbs[verb] for verbs, _ in _walk(self._root, ["", *segments], 1, ()) for verb in verbs), None)

    def _nothing_at(self, path: str) -> NotFound:
        service, slash, _ = path[1:].partition("/")
        if slash and service in self._services:
            return unknown_method(path)
        return NotFound(f"there is nothing at {path}", code="path_not_found")

    def _add(self, operation: Operation) -> None:
        node, verbs = self._root, None
        for segment in operation.route.split("/")[1:]:
            if not segment.startswith("{"):
                if "{" in segment:
                    raise InvalidArgument(
                        f"{operation.title}: '{segment}' is partly a parameter",
                        code="invalid_binding",
                        hint="a parameter is a whole segment of the path",
                    )
                node = node.words.setdefault(segment, _Node())
            elif segment.endswith(_REST):
                verbs = node.rest
            else:
                node.parameter = node = node.parameter or _Node()
        verbs = node.here if verbs is None else verbs
        for other in verbs.values():
            if operation.verb in verbs or other.route != operation.route:
                raise _conflict(verbs.get(operation.verb, other), operation)
        verbs[operation.verb] = operation
        if operation.verb == "GET":
            verbs.setdefault("HEAD", operation)
        if "{" not in operation.route:
            self.exact[operation.route] = verbs


def _walk(node: _Node, segments: list[str], position: int, values: Values) -> Iterator[tuple[Verbs, Values]]:
    """The ends that a path leads to, the most exact one first."""
    if position == len(segments):
        if node.here:
            yield node.here, values
        return
    segment = segments[position]
    word = node.words.get(segment)
    if word is not None:
        yield from _walk(word, segments, position + 1, values)
    if node.parameter is not None and segment:
        yield from _walk(node.parameter, segments, position + 1, (*values, segment))
    if node.rest:
        yield node.rest, (*values, "/".join(segments[position:]))


def _all(node: _Node) -> Iterator[Operation]:
    yield from (*node.here.values(), *node.rest.values())
    for each in (*node.words.values(), *((node.parameter,) if node.parameter else ())):
        yield from _all(each)


def _path_of(scope: Scope) -> tuple[str, str | None]:
    """The path below the application's root, decoded, and as it was sent where that says more."""
    path: str = scope["path"]
    sent: bytes | None = scope.get("raw_path")
    raw = None
    if sent is not None and b"%" in sent:
        raw = sent.partition(b"?")[0].decode("latin-1")
        if unquote(raw) != path:  # something between the server and here has changed the path alone
            raw = None
    root: str = scope.get("root_path") or ""
    if root and path.startswith(f"{root}/"):
        path = path[len(root) :]
        raw = raw[len(root) :] if raw is not None and raw.startswith(root) else None
    return path, raw


def _segments(path: str, raw: str | None) -> list[str]:
    if raw is not None:
        return [segment_of(each) for each in raw.split("/")]
    if "\ufffd" in path:  # what servers put in the place of bytes that are no text
        raise malformed_url()
    return path.split("/")


def _location(scope: Scope, *, slash: bool) -> bytes:
    """The same path with or without the slash at its end, as it was sent, and its query."""
    from urllib.parse import quote

    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = path.partition(b"?")[0]
    path = path + b"/" if slash else path[:-1]
    query: bytes = scope.get("query_string", b"")
    # Two slashes would name another host.
    return b"/" + path.lstrip(b"/") + (b"?" + query if query else b"")


def _not_allowed(verb: str, path: str, allowed: set[str]) -> NotAllowedError:
    listed = sorted(allowed - {"HEAD"})
    allow = ", ".join(sorted({*allowed, "OPTIONS"}))
    fault = Unimplemented(
        f"{verb[:32]} is not possible at {path}", code="method_not_allowed", hint=f"possible: {', '.join(listed)}"
    )
    return NotAllowedError(allow, fault)


def _conflict(one: Operation, other: Operation) -> InvalidArgument:
    return InvalidArgument(
        f"{one.title} ({one.verb} {one.route}) and {other.title} ({other.verb} {other.route}) have the same paths",
        code="route_conflict",
        hint="change one of them" if one.verb == other.verb else "call the parameters of both the same",
    )
