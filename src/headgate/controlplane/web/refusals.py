"""Callers whom the controls turned away, noted in the audit trail.

    refusals = Refusals(audit, metrics.registry)
    await refusals.start()
    Kit(settings, more=[refusals], ...)
    await refusals.stop()               # writes what waits

A caller does not wait for that entry, and a flood of refusals costs neither memory nor the database's time: a few
wait, the rest are counted (`headgate_refusals_not_audited`) and dropped.
"""

import asyncio
from collections import deque
from typing import ClassVar, Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.changes import Actor
from headgate.controlplane.tenancy.principal import Principal
from headgate.kit.controls.call import Call, Control
from headgate.kit.tasks import end

MOST_WAITING: Final = 64

_ACTIONS: Final = {"UNAUTHENTICATED": "authenticate", "PERMISSION_DENIED": "authorise"}
_FLUSH_SECONDS: Final = 5.0
_LONGEST_PATH: Final = 200

_log = structlog.get_logger("headgate.audit")


class Refusals(Control):
    """Notes each call that a control refused for who its caller is, or is not."""

    name: ClassVar[str] = "refusals"

    def __init__(self, audit: AuditLog, registry: CollectorRegistry) -> None:
        self._audit = audit
        self._waiting: deque[tuple[Actor, str, str, str]] = deque()
        self._awake = asyncio.Event()
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._dropped = Counter(
            "headgate_refusals_not_audited",
            "Refused callers dropped from the audit trail: too many.",
            registry=registry,
        )

    def settle(self, call: Call) -> None:
        """Remember a refusal until it is written."""
        fault = call.fault
        action = _ACTIONS.get(fault.kind) if fault is not None and call.refused_by else None
        if fault is None or action is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._dropped.inc()
            return
        target = f"{call.method} {call.path[:_LONGEST_PATH]}"
        self._waiting.append((_actor(call), action, target, fault.code))
        self._awake.set()

    async def start(self) -> None:
        """Write entries from now on."""
        self._task = asyncio.create_task(self._write_for_ever(), name="refusals")

    async def stop(self) -> None:
        """Write those that wait, within a few seconds, and no more."""
        self._ended = True
        self._awake.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait({task}, timeout=_FLUSH_SECONDS)
            await end(task)

    async def _write_for_ever(self) -> None:
        while True:
            while self._waiting:
                actor, action, target, reason = self._waiting.popleft()
                try:
                    await self._audit.refused(actor, action, target=target, reason=reason)
                except Exception:  # noqa: BLE001 - one entry that cannot be written must not end the writing
                    _log.exception("a refusal could not be written to the audit trail")
            if self._ended:
                return
            await self._awake.wait()
            self._awake.clear()


def _actor(call: Call) -> Actor:
    known = call.principal.extra
    if isinstance(known, Principal):
        return Actor(name=known.name, surface="http", request_id=call.request_id, token_id=known.token_id)
    return Actor(name=call.client, surface="http", request_id=call.request_id)
