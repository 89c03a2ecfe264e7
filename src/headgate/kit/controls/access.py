"""Who may: nobody without an identity, and where rules say so nobody without a scope.

    Access(
        {"GET /orders": "orders:read", "POST /orders/{id}": "orders:write", "/shop.v1.Orders/*": "orders:write"},
        public=["/docs/"],
    )

A rule is a path, with or without methods before it, and the scopes that are all needed. `{id}` is one segment,
`*` at the end one or more. The most specific path that has a rule for the method wins: words before
`{}` before `*`, from left to right. HEAD is GET unless it has a rule. A method that no rule names, at a path
that rules name with other methods only, needs the scopes of all of these. What no rule names needs an identity.

What opens is matched to the letter, what closes in every spelling: `public` covers no path with dot segments,
double slashes or encoded separators, while a rule also holds for `//orders`, `/orders/` and `/ORDERS`. Where
spellings lead to different rules, all of them hold.

    InvalidArgument
    ├── invalid_access_rules   a rule cannot be read, or says the same as another
    └── ambiguous_path         dot segments or encoded separators in a path, when there are rules
    Unauthenticated
    └── no_credentials         none were presented, or none that prove anything
    PermissionDenied
    └── missing_scope          the principal lacks a scope; says which
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.faults import Fault, InvalidArgument, PermissionDenied, Unauthenticated

GRPC_HEALTH: Final = frozenset(f"/grpc.health.v1.Health/{method}" for method in ("Check", "Watch", "List"))
"""What load balancers ask gRPC servers: it needs no identity."""

Scopes = tuple[str, ...]

_METHODS: Final = re.compile(r"[A-Z]+(\|[A-Z]+)*")
_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*(:[A-Za-z0-9_]+)?\}")
_REST: Final = re.compile(r"\*|\{[A-Za-z_][A-Za-z0-9_]*:path\}")
_ENCODED: Final = re.compile(r"%(?:2[ef]|5c)", re.IGNORECASE)


def is_ambiguous(path: str) -> bool:
    """Whether servers may disagree about what a decoded path leads to."""
    if "\\" in path or "\0" in path or ("%" in path and _ENCODED.search(path)):
        return True
    return "/." in path and any(part.partition(";")[0] in {".", ".."} for part in path.split("/"))


class Paths:
    """A set of paths; one that ends in `/` means all below it, but `/` alone only itself.

    One with methods or parameters, such as `GET /orders/{id}`, is read like a rule and asked for by `opens` only.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        listed, templates = _apart(paths)
        self._templates = tuple(map(_opening, templates))
        for path in listed:
            if not path.startswith("/"):
                raise InvalidArgument(
                    f"'{path[:200]}' is no path", code="invalid_access_rules", hint="paths start with '/'"
                )
        self._exact = frozenset(path for path in listed if path == "/" or not path.endswith("/"))
        self._below = tuple(path for path in listed if path.endswith("/") and path != "/")

    def opens(self, method: str, path: str) -> bool:
        """Whether the path is one of them for this method."""
        if path in self:
            return True
        return any(
            (not methods or method in methods) and pattern.fullmatch(path) for methods, pattern in self._templates
        ) and not is_ambiguous(path)

    def __contains__(self, path: str) -> bool:
        if path in self._exact:
            return True
        return path.startswith(self._below) and "//" not in path and not is_ambiguous(path)


def _apart(paths: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Plain paths, and those with methods or parameters."""
    listed = tuple(paths)
    templates = tuple(each for each in listed if "{" in each or (" " in each and not each.startswith("/")))
    return tuple(each for each in listed if each not in templates), templates


def _opening(template: str) -> tuple[frozenset[str], re.Pattern[str]]:
    """The methods, none for all, and the paths that a template opens, to the letter."""
    methods, _, segments = _read(template)
    words = (
        "[^/]+(?:/[^/]+)*" if _REST.fullmatch(each) else "[^/]+" if each.startswith("{") else re.escape(each)
        for each in segments
    )
    head = ("HEAD",) if "GET" in methods else ()
    return frozenset((*methods, *head)), re.compile("/" + "/".join(words))


class _Place:
    """The rules of one path: what each method needs, and `any` method."""

    __slots__ = ("any", "by_method")

    def __init__(self) -> None:
        self.by_method: dict[str, Scopes] = {}
        self.any: Scopes | None = None

    def find(self, method: str) -> Scopes | None:
        needs = self.by_method.get(method)
        if needs is None and method == "HEAD":
            needs = self.by_method.get("GET")
        return self.any if needs is None else needs

    @property
    def all(self) -> Scopes:
        return _union(self.by_method.values())


class _Node:
    """A segment of paths: the words that may follow, a parameter, the rest."""

    __slots__ = ("parameter", "place", "rest", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.place: _Place | None = None
        self.rest: _Place | None = None

    def put(self, segments: Sequence[str]) -> _Place:
        """The place of a template, made when it is not there."""
        node = self
        for segment in segments:
            if _REST.fullmatch(segment):
                node.rest = node.rest or _Place()
                return node.rest
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.words.setdefault(segment, _Node())
        node.place = node.place or _Place()
        return node.place

    def find(self, method: str, segments: Sequence[str], depth: int = 0) -> Scopes | None:
        """What the most specific rule for the method says. Visits no node twice, however long the path is."""
        if depth == len(segments):
            return None if self.place is None else self.place.find(method)
        segment = segments[depth]
        word = self.words.get(segment)
        found = None if word is None else word.find(method, segments, depth + 1)
        if found is None and self.parameter is not None and segment:
            found = self.parameter.find(method, segments, depth + 1)
        if found is None and self.rest is not None:
            found = self.rest.find(method)
        return found

    def place_of(self, segments: Sequence[str], depth: int = 0) -> _Place | None:
        """The most specific path that matches, whatever its methods."""
        if depth == len(segments):
            return self.place
        segment = segments[depth]
        word = self.words.get(segment)
        found = None if word is None else word.place_of(segments, depth + 1)
        if found is None and self.parameter is not None and segment:
            found = self.parameter.place_of(segments, depth + 1)
        return self.rest if found is None else found

    def needs(self, method: str, segments: Sequence[str]) -> Scopes:
        """What a call needs, () when nothing."""
        found = self.find(method, segments)
        if found is not None:
            return found
        place = self.place_of(segments)
        return () if place is None else place.all


class _Table(dict[str, Scopes]):
    """What each method needs at one exact path; `others` for all methods that are not in it."""

    def __init__(self, known: Mapping[str, Scopes], others: Scopes) -> None:
        super().__init__(known)
        self.others = others

    def __missing__(self, method: str) -> Scopes:
        return self.others


class Rules:
    """Which scopes calls need, compiled. Raises InvalidArgument (`invalid_access_rules`)."""

    def __init__(self, rules: Mapping[str, str | Iterable[str]]) -> None:
        self._tree, self._folded = _Node(), _Node()
        self._lower = True
        paths: dict[str, tuple[str, ...]] = {}
        methods = {"HEAD"}
        for rule, scopes in rules.items():
            named, path, segments = _read(rule)
            needs = tuple(dict.fromkeys((scopes,) if isinstance(scopes, str) else scopes))
            if not all(scope.strip() for scope in needs):
                raise _refused(rule, "has an empty scope")
            folded = tuple(each if each.startswith("{") else each.lower() for each in segments)
            try:
                _enter(self._tree.put(segments), named, needs)
                _enter(self._folded.put(folded), named, needs)
            except ValueError:
                raise _refused(rule, "says what another rule says already") from None
            self._lower = self._lower and folded == segments
            methods.update(named)
            if not any("{" in each or each == "*" for each in segments):
                paths[path] = segments
        self._exact = {
            spelling: _Table(
                {method: self._tree.needs(method, segments) for method in methods},
                self._tree.needs("", segments),
            )
            for path, segments in paths.items()
            for spelling in {path, path.rstrip("/") or "/", path.rstrip("/") + "/"}
        }

    def needs(self, method: str, path: str) -> Scopes:
        """Scopes that a call needs, all of them. Raises InvalidArgument (`ambiguous_path`)."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact[method]
        if is_ambiguous(path):
            raise InvalidArgument(
                "the path has dot segments or encoded separators",
                code="ambiguous_path",
                hint="resolve them before you call",
            )
        folded = path.lower()
        segments = path.split("/")[1:]
        found = self._tree.needs(method, segments)
        if "" not in segments:
            if folded == path and self._lower:
                return found
            other = self._folded.needs(method, folded.split("/")[1:])
            return found if found == other else _union((found, other))
        collapsed = [each for each in segments if each]
        return _union(
            tree.needs(method, each)
            for tree, each in (
                (self._tree, segments),
                (self._folded, folded.split("/")[1:]),
                (self._tree, collapsed),
                (self._folded, [each.lower() for each in collapsed]),
            )
        )


def _union(many: Iterable[Scopes]) -> Scopes:
    return tuple(dict.fromkeys(scope for needs in many for scope in needs))


def _enter(place: _Place, methods: Sequence[str], needs: Scopes) -> None:
    """Raises ValueError for what is there already."""
    if not methods:
        if place.any is not None:
            raise ValueError
        place.any = needs
    for method in methods:
        if method in place.by_method:
            raise ValueError
        place.by_method[method] = needs


def _read(rule: str) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Methods, path and segments of a rule's left side."""
    before, slash, after = rule.strip().partition("/")
    methods, path = before.strip(), slash + after
    if not slash or (methods and not _METHODS.fullmatch(methods)):
        raise _refused(rule, "is not a path, or methods and a path")
    segments = tuple(path.removesuffix("/").split("/")[1:])
    for position, segment in enumerate(segments):
        if not segment or segment in {".", ".."} or is_ambiguous(segment):
            raise _refused(rule, "has empty or dot segments, or encoded separators")
        if _REST.fullmatch(segment):
            if position != len(segments) - 1:
                raise _refused(rule, "goes on after what means all the rest")
        elif any(each in segment for each in "{}*") and not _PARAMETER.fullmatch(segment):
            raise _refused(rule, "has a parameter that is not a whole segment")
    return tuple(dict.fromkeys(methods.split("|"))) if methods else (), path, segments


def _refused(rule: str, reason: str) -> InvalidArgument:
    return InvalidArgument(
        f"the access rule '{rule[:200]}' {reason}",
        code="invalid_access_rules",
        hint="such as 'POST /orders/{id}', 'GET|PUT /orders', '/shop.v1.Orders/Create' or '/shop.v1.Orders/*'",
    )


def parse_rules(entries: Iterable[str]) -> dict[str, Scopes]:
    """Read entries such as `POST /orders/{id}=orders:write|orders:admin`; both scopes are then needed.

    Raises InvalidArgument (`invalid_access_rules`).
    """
    found: dict[str, Scopes] = {}
    for entry in entries:
        rule, equals, scopes = entry.rpartition("=")
        listed = tuple(scope for part in scopes.split("|") if (scope := part.strip()))
        if not equals or not listed or rule.strip() in found:
            raise _refused(entry, "must be 'PATH=SCOPE' or 'METHOD PATH=SCOPE|SCOPE', each path and method once")
        found[rule.strip()] = listed
    return found


class Access(Control):
    """Lets known principals in, as far as their scopes go.

    `unasked` are paths open whatever rules say (probes; gRPC's health service always), `public` those open
    without an identity unless a rule holds there. With `allow_anonymous` that is everything.
    """

    name: ClassVar[str] = "access"

    def __init__(
        self,
        rules: Mapping[str, str | Iterable[str]] | None = None,
        *,
        allow_anonymous: bool = False,
        unasked: Iterable[str] = (),
        public: Iterable[str] = (),
        hint: str = "",
    ) -> None:
        self._rules = Rules(rules) if rules else None
        self._anonymous = allow_anonymous
        self._unasked = GRPC_HEALTH | frozenset(unasked)
        self._public = Paths(public)
        self._hint = hint or "send valid credentials"

    def admit(self, call: Call) -> None:
        """Refuse strangers, and known callers without the scope that is needed."""
        path, principal = call.path, call.principal
        if path in self._unasked:
            return
        needs = self._rules.needs(call.method, path) if self._rules is not None else ()
        if principal.id:
            for scope in needs:
                if not principal.may(scope):
                    raise PermissionDenied(
                        f"this needs the scope '{scope}'", code="missing_scope", hint=f"use credentials with '{scope}'"
                    )
        elif needs or not (self._anonymous or self._public.opens(call.method, path)):
            # Wrong credentials count as none at public paths; where a rule asks for some, say what was wrong.
            wrong = call.kept("identity")
            raise wrong if isinstance(wrong, Fault) else self._stranger()

    def _stranger(self) -> Unauthenticated:
        return Unauthenticated("this needs credentials", code="no_credentials", hint=self._hint)
