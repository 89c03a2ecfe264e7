"""The plan of an import: clusters and routes for a document, and what becomes of every operation in it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from headgate.controlplane.model.route_config import Route
from headgate.controlplane.openapi.document import Document, Note, Operation
from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.naming import cluster_names, route_names
from headgate.controlplane.openapi.paths import (
    Condition,
    UnroutableError,
    fragment_conditions,
    parse_path,
    query_conditions,
    split_key,
)
from headgate.controlplane.openapi.publish import cluster_document, host_rewrite, read_mount, read_upstream
from headgate.controlplane.openapi.servers import Origin, Server

ROUTE_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""Methods a route names outright."""

HEADER_METHODS: Final = frozenset(
    {"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE"}
    | {"MSEARCH", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE"}
    | {"UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"}
)
"""Further methods that Envoy's HTTP/1 parser knows; a route matches them as the pseudo-header `:method`."""

_HINTS: Final = {
    "no_upstream": "Give the address of the API as upstream (--upstream URL).",
    "escaped_slash": "Route it by hand on a listener that keeps escaped slashes.",
}

Progress = Callable[[str, int, int], None]
"""Called with a stage, how many of its steps are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Target:
    """How an API is to be published.

    `upstream` is a URL to use instead of the document's servers; `mount` a path the gateway serves the API
    under and takes off before the upstream. Both may be empty.
    """

    name: str
    upstream: str = ""
    mount: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of one operation. `code` is empty when it is routed; else it is stable and `reason` explains."""

    method: str
    path: str
    pointer: str
    operation_id: str
    route: str = ""
    gateway_path: str = ""
    upstream_path: str = ""
    conditions: tuple[Condition, ...] = ()
    cluster: str = ""
    code: str = ""
    reason: str = ""
    hint: str = ""

    def refused(self, code: str, reason: str, hint: str = "") -> "Account":
        """The account of the same operation when it is not routed after all."""
        return Account(self.method, self.path, self.pointer, self.operation_id, code=code, reason=reason, hint=hint)


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route to be, the requests it takes, and the index of its account."""

    name: str
    document: Mapping[str, Any]
    footprint: Footprint
    account: int


@dataclass(frozen=True, slots=True)
class ServerUse:
    """What became of one entry of `servers`: `used`, `alternative`, `replaced` (by `upstream`) or `unusable`."""

    pointer: str
    url: str
    status: str
    cluster: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Clusters by name, routes in the order they are to be tried, and the accounts of all operations."""

    target: Target
    clusters: Mapping[str, Mapping[str, Any]]
    routes: tuple[PlannedRoute, ...]
    accounts: tuple[Account, ...]
    servers: tuple[ServerUse, ...]
    notes: tuple[Note, ...]


def make_plan(
    document: Document,
    target: Target,
    *,
    previous_clusters: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Plan the import of a document.

    `previous_clusters` are those the last import made: an origin keeps its cluster's name. Raises
    InvalidArgument with code `invalid_upstream` or `invalid_path` for a target that cannot be.
    """
    upstream = read_upstream(target.upstream) if target.upstream.strip() else None
    drafting = _Drafting(read_mount(target.mount), upstream)
    total = len(document.operations)
    drafts: list[_Draft] = []
    for index, operation in enumerate(document.operations):
        drafts.append(drafting.draft(operation))
        if progress and index % 100 == 0:
            progress("planning", index, total)
    _refuse_repeats(drafts)
    clusters = _name_clusters(target.name, [way.origin for _, way in _routed(drafts)], previous_clusters or {})
    drafting.give_routes(drafts, target.name, clusters)
    if progress:
        progress("planning", total, total)
    routes = [
        PlannedRoute(draft.account.route, draft.route, draft.way.footprint, index)
        for index, draft in enumerate(drafts)
        if draft.way
    ]
    used = {route.document["forward"]["cluster"] for route in routes}
    return Plan(
        target,
        {name: cluster_document(origin) for origin, name in clusters.items() if name in used},
        tuple(sorted(routes, key=lambda route: route.footprint.specificity)),
        tuple(draft.account for draft in drafts),
        tuple(_server_uses(document, drafts, clusters, replaced=upstream is not None)),
        (*document.notes, *drafting.notes, *([] if upstream else _server_notes(document))),
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """Where the requests of an operation go. `ignored` are parts of its key that say nothing about requests."""

    origin: Origin
    server: Server | None
    footprint: Footprint
    ignored: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """An operation on its way to a route; without a way it has been refused."""

    account: Account
    way: _Way | None = None
    route: dict[str, Any] = field(default_factory=dict)

    def refuse(self, code: str, reason: str) -> None:
        self.account, self.way = self.account.refused(code, reason, _HINTS.get(code, "")), None


def _routed(drafts: Iterable[_Draft]) -> list[tuple[_Draft, _Way]]:
    return [(draft, draft.way) for draft in drafts if draft.way]


@dataclass(slots=True)
class _Drafting:
    mount: str
    upstream: Server | None
    notes: list[Note] = field(default_factory=list)

    def draft(self, operation: Operation) -> _Draft:
        draft = _Draft(Account(operation.method, operation.key, operation.pointer, operation.operation_id))
        try:
            self._find_way(draft, operation)
        except UnroutableError as error:
            draft.refuse(error.code, error.reason)
        return draft

    def _find_way(self, draft: _Draft, operation: Operation) -> None:
        if operation.problem:
            raise UnroutableError("malformed_operation", operation.problem)
        if operation.method not in ROUTE_METHODS | HEADER_METHODS:
            raise UnroutableError("method_not_routable", f"Envoy does not take the method '{operation.method[:40]}'")
        server = next((server for server in operation.servers if server.origin), operation.servers[0])
        origin = self.upstream.origin if self.upstream else server.origin
        if origin is None:
            raise UnroutableError("no_upstream", f"there is no telling where the API is: {server.problem}")
        path, query, fragment = split_key(operation.key)
        if not path.startswith("/"):
            text = "the path does not start with '/': one is put in front of it"
            self.notes.append(Note("path_without_slash", text, operation.pointer))
        own = parse_path(f"{server.base}/{path.removeprefix('/')}")
        pattern = own.under(self.mount)
        parts, ignored = fragment_conditions(fragment, operation.query_names, operation.header_names)
        conditions = tuple(dict.fromkeys([*query_conditions(query), *parts]))
        draft.account = replace(
            draft.account,
            gateway_path=pattern.text,
            upstream_path=(self.upstream.base if self.upstream else "") + own.text,
            conditions=conditions,
        )
        draft.way = _Way(origin, server, Footprint.planned(operation.method, pattern, conditions), tuple(ignored))

    def give_routes(self, drafts: Sequence[_Draft], api: str, clusters: Mapping[Origin, str]) -> None:
        """Write the route of every draft, or refuse a draft when no route can say what it needs."""
        routed = _routed(drafts)
        accounts = [draft.account for draft, _ in routed]
        names = route_names(api, [(account.method, account.path, account.operation_id) for account in accounts])
        for (draft, way), name in zip(routed, names, strict=True):
            document = self._route(name, draft.account, way, clusters[way.origin])
            try:
                Route.model_validate(document)
            except ValidationError as error:
                draft.refuse("not_expressible", f"no route can say this: {error.errors()[0]['msg']}")
                continue
            draft.route, draft.account = document, replace(draft.account, route=name, cluster=clusters[way.origin])
            if way.ignored:
                text = f"'#{', '.join(way.ignored)[:200]}' names no parameter and is never sent: it is ignored"
                self.notes.append(Note("fragment_ignored", text, draft.account.pointer))

    def _route(self, name: str, account: Account, way: _Way, cluster: str) -> dict[str, Any]:
        match: dict[str, Any] = {"path": way.footprint.pattern.match()} if way.footprint.pattern else {}
        headers = [condition.match() for condition in account.conditions if condition.where == "header"]
        if account.method in ROUTE_METHODS:
            match["methods"] = [account.method]
        else:
            headers.append({"name": ":method", "exact": account.method})
        query = [condition.match() for condition in account.conditions if condition.where == "query"]
        match |= ({"headers": headers} if headers else {}) | ({"query": query} if query else {})
        forward = {"cluster": cluster, **host_rewrite(way.origin)}
        base = self.upstream.base if self.upstream else ""
        if base != self.mount:
            forward["regex_rewrite"] = {"pattern": f"^{re.escape(self.mount)}/", "substitution": f"{base}/"}
        return {"name": name, "match": match, "forward": forward}


def _refuse_repeats(drafts: Sequence[_Draft]) -> None:
    """Refuse the operations whose requests another one takes already."""
    holders: dict[tuple[str, ...], Account] = {}
    # An operation told apart only by a fragment nobody sends comes after those that are what they say.
    for draft, way in sorted(_routed(drafts), key=lambda pair: bool(pair[1].ignored)):
        first = holders.setdefault(way.footprint.identity, draft.account)
        if first is not draft.account:
            draft.refuse("same_as_other", f"its requests are those of {first.method} {first.path} ({first.pointer})")


def _name_clusters(api: str, origins: Iterable[Origin], previous: Mapping[str, Mapping[str, Any]]) -> dict[Origin, str]:
    distinct = {origin: cluster_document(origin) for origin in origins}
    kept = {
        origin: name
        for origin, document in distinct.items()
        for name, applied in previous.items()
        if applied == document
    }
    fresh = [origin for origin in distinct if origin not in kept]
    return kept | dict(zip(fresh, cluster_names(api, len(fresh), kept.values()), strict=True))


def _all_servers(document: Document) -> Iterable[Server]:
    everywhere = (*document.servers, *(server for operation in document.operations for server in operation.servers))
    return {(server.pointer, server.url): server for server in everywhere}.values()


def _server_notes(document: Document) -> Iterable[Note]:
    return [Note(code, text, server.pointer) for server in _all_servers(document) for code, text in server.notes]


def _server_uses(
    document: Document, drafts: Sequence[_Draft], clusters: Mapping[Origin, str], *, replaced: bool
) -> Iterable[ServerUse]:
    in_use = {(way.server.pointer, way.server.url) for _, way in _routed(drafts) if way.server}
    for server in _all_servers(document):
        if replaced:
            yield ServerUse(server.pointer, server.url, "replaced", reason="the given upstream takes its place")
        elif server.origin is None:
            yield ServerUse(server.pointer, server.url, "unusable", reason=server.problem)
        elif (server.pointer, server.url) in in_use:
            yield ServerUse(server.pointer, server.url, "used", clusters[server.origin])
        else:
            reason = "an earlier server is used, or no operation that is routed names it"
            yield ServerUse(server.pointer, server.url, "alternative", reason=reason)
