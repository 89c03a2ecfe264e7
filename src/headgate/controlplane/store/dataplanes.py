"""What is known of every data plane: who it is, what it acknowledged, and what it refused.

Written by the xDS hub, read by the status use cases. A refusal keeps the last good bytes, so that a
restarted control plane goes on serving them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class DataplaneRecord:
    """One Envoy. `id` is chosen by the hub and stable over reconnects; `state` is a JSON object.

    `scope` is `all`, `team` or `allowlist`; `revision_acked` is the newest team revision it runs whole.
    """

    id: str
    team: str
    node_id: str
    scope: str
    envoy_version: str
    replica: str
    connected: bool
    first_seen: datetime
    last_seen: datetime
    revision_acked: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One resource that a data plane refused: what it said, and the field that caused it (when known).

    `type` is a type URL, `resource` the Envoy name, `kind` and `name` the user's resource, `pointer`
    the place in it. `last_good` is what the data plane runs instead; None when it runs nothing.
    """

    dataplane_id: str
    type: str
    resource: str
    version: str
    message: str
    at: datetime
    pointer: str = ""
    kind: str = ""
    name: str = ""
    last_good: bytes | None = field(default=None, repr=False)
    last_good_version: str = ""


async def upsert_dataplane(store: "Store", record: DataplaneRecord) -> None:
    """Insert the record or replace the one with the same id; `first_seen` of an existing one stays."""
    raise NotImplementedError


async def upsert_dataplanes(store: "Store", records: Sequence[DataplaneRecord]) -> None:
    """Do the same for several, in one transaction."""
    raise NotImplementedError


async def record_refusals(store: "Store", refusals: Sequence[RefusalRecord]) -> None:
    """Insert refusals, or replace those of the same data plane, type and resource. The data planes must exist."""
    raise NotImplementedError


async def clear_refusals(
    store: "Store", dataplane_id: str, *, type: str | None = None, resources: Sequence[str] | None = None
) -> int:
    """Forget refusals of a data plane (of one type; of these resources) and return how many there were."""
    raise NotImplementedError


async def list_refusals(
    store: "Store", *, team: str | None = None, dataplane_id: str | None = None
) -> list[RefusalRecord]:
    """Return the refusals of a team or a data plane (or all), newest first."""
    raise NotImplementedError


async def list_dataplanes(store: "Store", team: str | None = None) -> list[DataplaneRecord]:
    """Return the data planes of a team, or of all teams, by id."""
    raise NotImplementedError


async def get_dataplane(store: "Store", dataplane_id: str) -> DataplaneRecord | None:
    """Return one data plane, or None."""
    raise NotImplementedError
