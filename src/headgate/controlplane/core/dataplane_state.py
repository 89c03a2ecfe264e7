"""What is known of a dataplane, as plain data: who it is, what it runs, what it refused.

Pure. Written by the xDS hub, kept and shown by `headgate.controlplane.core.dataplanes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from headgate.controlplane.translate.resource import Resource


@dataclass(frozen=True, slots=True)
class Node:
    """Who connects. `scope` is `team`, `all` or `allowlist`; `listeners` goes with `allowlist`."""

    id: str
    team: str
    scope: str = "team"
    listeners: tuple[str, ...] = ()
    cluster: str = ""
    version: str = ""

    @property
    def key(self) -> str:
        """The dataplane's id in the store: node ids are unique within a team."""
        return f"{self.team}/{self.id}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A version that a client refused, and why. `last_good` is what it is served instead; None: what it has.

    `resource` is what was refused, when this process sent it.
    """

    version: str
    message: str
    last_good: Resource | None
    resource: Resource | None = None


@dataclass(frozen=True, slots=True)
class TypeReport:
    """One resource type on one dataplane. Versions are content hashes of all resources of the type.

    `waiting` names, per resource held back, the clusters that must be acknowledged before it.
    """

    wanted: str
    acknowledged: str
    in_sync: bool
    resources: int = 0
    waiting: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What a dataplane holds now. `types` is by short name (`cds`, `eds`, `lds`, `rds`, `sds`).

    `revision_acked` is None while something of `revision_wanted` is not acknowledged. `refused` is by
    (type URL, Envoy name).
    """

    mode: str
    revision_wanted: int
    revision_acked: int | None
    types: Mapping[str, TypeReport]
    refused: Mapping[tuple[str, str], Refused]
    nacks: int = 0


@dataclass(frozen=True, slots=True)
class RefusedResource:
    """A resource a dataplane refused: Envoy's words, and the field of the user's resource they are about."""

    type: str
    resource: str
    version: str
    message: str
    at: datetime
    kind: str = ""
    name: str = ""
    pointer: str = ""
    last_good_version: str = ""


@dataclass(frozen=True, slots=True)
class DataplaneStatus:
    """A dataplane as users see it. `revision_acked` is the newest revision of its team that it runs whole."""

    id: str
    team: str
    scope: str
    version: str
    mode: str
    replica: str
    connected: bool
    first_seen: datetime
    last_seen: datetime
    revision_wanted: int
    revision_acked: int
    types: Mapping[str, TypeReport]
    refused: Sequence[RefusedResource]

    @property
    def state(self) -> str:
        """`disconnected`, `refused`, `pending` or `in_sync`."""
        if not self.connected:
            return "disconnected"
        if self.refused:
            return "refused"
        return "in_sync" if self.revision_acked >= self.revision_wanted else "pending"
