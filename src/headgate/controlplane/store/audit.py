"""The audit trail: who did what, when, through which surface, and whether they were let."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

AuditOutcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `action` such as `apply`, `restore`, `token.create`, `authenticate`; `target` what it was done to.

    `team` is "" when it concerns no team; `revision` 0 when it made none; `detail` never holds secrets.
    """

    at: datetime
    actor: str
    surface: str
    action: str
    outcome: AuditOutcome = "done"
    team: str = ""
    target: str = ""
    revision: int = 0
    token_id: str = ""
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
