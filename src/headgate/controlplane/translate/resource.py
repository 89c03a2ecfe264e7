"""What translation yields: Envoy resources as bytes, and the immutable snapshot of a team.

A resource's Envoy name is `team/name`, so that the resources of several teams can meet in one Envoy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from headgate.controlplane.model.kinds import Kind
from headgate.controlplane.model.rows import RowKind

TYPE_PREFIX = "type.googleapis.com/"
CLUSTER = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
"""In the order additions travel (secrets are fetched by whoever needs them)."""

SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", ROUTE: "rds", SECRET: "sds"}
)

Ref = tuple[str, str]
"""(type URL, Envoy name) of another resource."""


def content_hash(*parts: bytes) -> str:
    """Version of a resource made of these bytes: 16 hexadecimal digits, the same on every replica."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Resource:
    """One Envoy resource, encoded once; its bytes are shared by all streams.

    `refs` are the resources it names: they must be with the client before it, and stay until it is gone.
    `source` is the user's resource it was made of, to lead a refusal back to.
    The version of an endpoint resource covers its cluster too: Envoy keeps a changed cluster warming until
    its endpoints come again, so they must look new whenever the cluster is.
    """

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)
    refs: frozenset[Ref] = frozenset()
    source: tuple[Kind, str] | None = None


ByName = Mapping[str, Resource]


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be translated, and why. Its last good translation, if there was one, is served on."""

    kind: RowKind
    name: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class TeamSnapshot:
    """All Envoy resources of a team at a revision. `resources` has an entry for every type in TYPES."""

    team: str
    revision: int
    resources: Mapping[str, ByName]
    problems: Sequence[Problem] = ()


def empty_snapshot(team: str) -> TeamSnapshot:
    """Return the snapshot of a team that has nothing."""
    return TeamSnapshot(team, 0, MappingProxyType({type_url: MappingProxyType({}) for type_url in TYPES}))
