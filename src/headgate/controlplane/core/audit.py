"""The audit trail: read it, and note what was refused."""

from datetime import datetime

from headgate.controlplane.core.changes import Actor, Page
from headgate.controlplane.store.audit import AuditEntry
from headgate.controlplane.store.store import Store


class AuditLog:
    """The use cases on the audit trail."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def refused(self, actor: Actor, action: str, *, team: str = "", target: str = "", reason: str = "") -> None:
        """Note a refused act, best effort: never raises, and drops what comes too fast."""
        raise NotImplementedError

    async def list(
        self,
        *,
        team: str | None = None,
        actor: str = "",
        action: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Page[AuditEntry]:
        """Return entries, newest first. `team` None is every team."""
        raise NotImplementedError
