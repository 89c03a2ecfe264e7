"""What one kind of dataplane is to have: the resources of its scope, immutable and shared by its streams.

Pure. A view is made of the team snapshots in its scope; streams that share a scope share the view, and
the differences between a view and the next are worked out once for all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from weakref import WeakKeyDictionary

from headgate.controlplane.translate.resource import TYPES, ByName, Ref, Resource, TeamSnapshot, content_hash

Changed = Mapping[str, frozenset[str]]
"""Per type, the names whose resource differs (added, changed or gone)."""


class View:
    """The resources of a scope. `revision` is that of the dataplane's own team."""

    def __init__(self, revision: int, resources: Mapping[str, ByName]) -> None:
        self.revision = revision
        self.resources = resources
        self._versions: dict[str, str] = {}
        self._changed_from: WeakKeyDictionary[View, Changed] = WeakKeyDictionary()

    def version(self, type_url: str) -> str:
        """Version of the whole type: a hash of what is in it."""
        if type_url not in self._versions:
            self._versions[type_url] = set_version(self.resources.get(type_url, {}).values())
        return self._versions[type_url]

    def changed_from(self, old: "View") -> Changed:
        """Names that differ between `old` and this view; worked out once for all streams that hold `old`."""
        if old not in self._changed_from:
            self._changed_from[old] = {
                type_url: _differences(old.resources[type_url], self.resources[type_url]) for type_url in TYPES
            }
        return self._changed_from[old]


def set_version(resources: Iterable[Resource]) -> str:
    """Version of a set of resources, whatever their order."""
    return content_hash(
        *(f"{name}={version}".encode() for name, version in sorted((r.name, r.version) for r in resources))
    )


def _differences(old: ByName, new: ByName) -> frozenset[str]:
    if old is new:
        return frozenset()
    changed = {
        name for name, resource in new.items() if (was := old.get(name)) is None or was.version != resource.version
    }
    changed.update(name for name in old if name not in new)
    return frozenset(changed)


def team_view(snapshot: TeamSnapshot) -> View:
    """Scope `team`: everything of one team."""
    return View(snapshot.revision, snapshot.resources)


def union_view(revision: int, snapshots: Sequence[TeamSnapshot]) -> View:
    """Scope `all`: everything of every team. Names carry their team, so they never collide."""
    merged: dict[str, ByName] = {}
    for type_url in TYPES:
        by_name: dict[str, Resource] = {}
        for snapshot in snapshots:
            by_name.update(snapshot.resources[type_url])
        merged[type_url] = MappingProxyType(by_name)
    return View(revision, MappingProxyType(merged))


def allowlist_view(snapshot: TeamSnapshot, listeners: Iterable[str]) -> View:
    """Scope `allowlist`: the listeners named (without the team), and all they lead to."""
    wanted: set[Ref] = set()
    stack: list[Ref] = [(TYPES[2], f"{snapshot.team}/{name}") for name in listeners]
    while stack:
        ref = stack.pop()
        resource = snapshot.resources[ref[0]].get(ref[1])
        if resource is None or ref in wanted:
            continue
        wanted.add(ref)
        stack.extend(resource.refs)
        if ref[0] == TYPES[0]:
            stack.append((TYPES[1], ref[1]))
    kept = {
        type_url: MappingProxyType(
            {name: resource for name, resource in snapshot.resources[type_url].items() if (type_url, name) in wanted}
        )
        for type_url in TYPES
    }
    return View(snapshot.revision, MappingProxyType(kept))
