"""A small world to explore: what a user configured, and the views that follow from it.

Bodies are JSON, so that a client model can read what it was given. A resource with `bad` set is one the
client refuses. Names repeat across kinds on purpose: an error text may name another kind's resource.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from headgate.controlplane.translate.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPES,
    Ref,
    Resource,
    content_hash,
)
from headgate.controlplane.xds.view import View

NAMES = ("t/a", "t/b", "t/c")


def make(type_url: str, name: str, refs: Iterable[Ref] = (), covers: bytes = b"", **document: Any) -> Resource:
    """A resource whose body is this document."""
    body = json.dumps(document, sort_keys=True).encode()
    return Resource(type_url, name, content_hash(body, covers), body, frozenset(refs))


def read(resource: Resource) -> dict[str, Any]:
    """The document of a resource."""
    document: dict[str, Any] = json.loads(resource.body)
    return document


def view_of(*resources: Resource, revision: int = 1) -> View:
    """A view of these resources."""
    return View(revision, {t: {r.name: r for r in resources if r.type_url == t} for t in TYPES})


@dataclass(frozen=True)
class Part:
    """One thing the user configured; the fields its kind does not have stay at their defaults."""

    content: int = 0
    bad: bool = False
    eds: bool = False
    endpoints: int = 0
    endpoints_bad: bool = False
    clusters: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Edit:
    """Set (or with `part` None, remove) one thing."""

    kind: str
    name: str
    part: Part | None


@dataclass
class World:
    """Everything configured, by kind and name."""

    parts: dict[str, dict[str, Part]] = field(
        default_factory=lambda: {t: {} for t in (CLUSTER, LISTENER, ROUTE, SECRET)}
    )
    revision: int = 0

    def apply(self, edits: Iterable[Edit]) -> View:
        """Change the world in one revision; references to what is gone go with it."""
        for edit in edits:
            if edit.part is None:
                self.parts[edit.kind].pop(edit.name, None)
            else:
                self.parts[edit.kind][edit.name] = edit.part
        clusters, tables, secrets = (self.parts[t].keys() for t in (CLUSTER, ROUTE, SECRET))
        for parts in self.parts.values():
            for name, part in parts.items():
                parts[name] = replace(
                    part,
                    clusters=part.clusters & clusters,
                    tables=part.tables & tables,
                    secrets=part.secrets & secrets,
                )
        self.revision += 1
        return self.view()

    def furnish(self) -> View:
        """A gateway in use: two listeners, their routes, clusters of both kinds and a secret."""
        a, b, c = NAMES
        cluster_a, cluster_b = Part(eds=True), Part(secrets=frozenset({a}))
        return self.apply(
            [
                Edit(SECRET, a, Part()),
                Edit(CLUSTER, a, cluster_a),
                Edit(CLUSTER, b, cluster_b),
                Edit(ROUTE, a, Part(clusters=frozenset({a, b}))),
                Edit(ROUTE, c, Part(clusters=frozenset({b}))),
                Edit(LISTENER, a, Part(tables=frozenset({a}))),
                Edit(LISTENER, b, Part(tables=frozenset({c}), clusters=frozenset({a}))),
            ]
        )

    def replace_cluster(self, old: str, new: str, part: Part) -> View:
        """Move everything from one cluster to another, and remove the first."""
        users = [
            Edit(kind, name, replace(user, clusters=(user.clusters - {old}) | {new}))
            for kind, parts in self.parts.items()
            for name, user in parts.items()
            if old in user.clusters
        ]
        gone = [Edit(CLUSTER, old, None)] if old != new else []
        return self.apply([Edit(CLUSTER, new, part), *users, *gone])

    @property
    def bad(self) -> bool:
        """Whether something is unacceptable."""
        return any(part.bad or part.endpoints_bad for parts in self.parts.values() for part in parts.values())

    def heal(self) -> View:
        """Make everything acceptable."""
        healed = [
            Edit(kind, name, replace(part, bad=False, endpoints_bad=False))
            for kind, parts in self.parts.items()
            for name, part in parts.items()
        ]
        return self.apply(healed)

    def view(self) -> View:
        """The view of everything, made anew."""
        resources = []
        for name, part in self.parts[CLUSTER].items():
            refs = [(SECRET, secret) for secret in part.secrets]
            cluster = make(
                CLUSTER, name, refs, content=part.content, bad=part.bad, eds=part.eds, secrets=sorted(part.secrets)
            )
            resources.append(cluster)
            if part.eds:
                resources.append(
                    make(ENDPOINT, name, covers=cluster.body, endpoints=part.endpoints, bad=part.endpoints_bad)
                )
        for kind in (LISTENER, ROUTE, SECRET):
            resources += [_resource(kind, name, part) for name, part in self.parts[kind].items()]
        return view_of(*resources, revision=self.revision)


def _resource(kind: str, name: str, part: Part) -> Resource:
    refs = (
        [(CLUSTER, n) for n in part.clusters] + [(ROUTE, n) for n in part.tables] + [(SECRET, n) for n in part.secrets]
    )
    return make(
        kind,
        name,
        refs,
        content=part.content,
        bad=part.bad,
        clusters=sorted(part.clusters),
        tables=sorted(part.tables),
        secrets=sorted(part.secrets),
    )


_some = st.frozensets(st.sampled_from(NAMES), max_size=3)
_few = st.frozensets(st.sampled_from(NAMES), max_size=1)
_rarely = st.integers(0, 9).map(lambda number: number == 9)
_content = st.integers(0, 2)

names = st.sampled_from(NAMES)


def clusters(*, bad: bool = True) -> st.SearchStrategy[Part]:
    """Any cluster."""
    spoiled = _rarely if bad else st.just(False)
    return st.builds(
        Part, content=_content, bad=spoiled, eds=st.booleans(), endpoints=_content, endpoints_bad=spoiled, secrets=_few
    )


def edits() -> st.SearchStrategy[list[Edit]]:
    """What one revision may change."""
    parts = {
        CLUSTER: clusters(),
        ROUTE: st.builds(Part, content=_content, bad=_rarely, clusters=_some),
        LISTENER: st.builds(Part, content=_content, bad=_rarely, clusters=_few, tables=_some, secrets=_few),
        SECRET: st.builds(Part, content=_content, bad=_rarely),
    }
    set_one = st.one_of([st.builds(Edit, st.just(kind), names, part) for kind, part in parts.items()])
    remove = st.builds(Edit, st.sampled_from(list(parts)), names, st.none())
    return st.lists(st.one_of(set_one, set_one, remove), min_size=1, max_size=4)
