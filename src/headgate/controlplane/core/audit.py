"""The audit trail: read it, and note what was refused."""

import logging
import time
from datetime import UTC, datetime
from typing import Any

from headgate.controlplane.audit.pace import Pace
from headgate.controlplane.core.changes import Actor, Page
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.store.audit import AuditEntry, AuditFilter, add_audit, audit_page
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import Fault

_log = logging.getLogger("headgate.audit")
_LONGEST = 500


class AuditLog:
    """The use cases on the audit trail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pace = Pace(time.monotonic)

    async def refused(self, actor: Actor, action: str, *, team: str = "", target: str = "", reason: str = "") -> None:
        """Note a refused act, best effort: never raises, and drops what comes too fast (60 a minute are kept).

        `reason` is the fault's code. The next entry that is kept tells how many were dropped.
        """
        dropped = self._pace.admit()
        if dropped is None:
            return
        detail: dict[str, Any] = {"reason": _clean(reason)}
        if dropped:
            detail["dropped_before"] = dropped
        entry = AuditEntry(
            at=datetime.now(UTC),
            actor=_clean(actor.name),
            surface=actor.surface,
            action=action,
            outcome="refused",
            team=_clean(team),
            target=_clean(target),
            token_id=actor.token_id,
            request_id=_clean(actor.request_id),
            detail=detail,
        )
        try:
            await add_audit(self._store, entry)
        except Fault as fault:
            _log.warning("a refusal could not be written to the audit trail: %s", fault.code)

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
        """Return entries, newest first. `team` None is every team; `since` is included, `until` is not."""
        before = read_cursor(cursor, int)
        entries, total = await audit_page(
            self._store,
            AuditFilter(team, actor, action, since, until),
            limit=check_limit(limit) + 1,
            before=before[0] if before else None,
        )
        items = entries[:limit]
        return Page(items, total, make_cursor(items[-1].id) if len(entries) > limit else "")


def _clean(text: str) -> str:
    """Text of strangers, fit to be stored."""
    return text[:_LONGEST].encode("utf-8", "replace").decode().replace("\0", "")
