"""What is told of imports: the report of one, and the APIs that were imported."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from headgate.controlplane.core.changes import Outcome
from headgate.controlplane.core.gateway import Spot
from headgate.controlplane.core.publication import Kept, Placement
from headgate.controlplane.openapi.document import Document, Note
from headgate.controlplane.openapi.placement import Obstacle
from headgate.controlplane.openapi.plan import Account, Plan, ServerUse
from headgate.controlplane.store.api_definitions import ApiDefinition
from headgate.kit.controls.faults import AlreadyExists, Fault, InvalidArgument, Violation

_MOST_VIOLATIONS: Final = 100
_MOST_POINTERS: Final = 12


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or in a dry run would do. There is an account for every operation of the document."""

    name: str
    document: Document
    document_hash: str
    accounts: Sequence[Account]
    servers: Sequence[ServerUse]
    notes: Sequence[Note]
    spot: Spot
    outcome: Outcome

    @property
    def routed(self) -> int:
        """How many operations are routed."""
        return count_routed(self.accounts)


@dataclass(frozen=True, slots=True)
class ImportedApi:
    """An API that was imported. `summary` is of the last import: `title`, `version` and `openapi` of the document,
    the `totals` of its operations, and the account of each (`operations`).
    """  # noqa: D205

    name: str
    document_hash: str
    options: Mapping[str, str]
    placement: Placement | None
    summary: Mapping[str, Any]
    clusters: Sequence[str]
    routes: Sequence[str]
    revision: int
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def of(cls, record: ApiDefinition) -> "ImportedApi":
        """The API of a record."""
        return cls(
            record.name,
            record.document_hash,
            record.options.get("target", {}),
            Placement.of(record),
            record.options.get("summary", {}),
            _named(record, "cluster/"),
            _named(record, "route/"),
            record.revision,
            record.created_at,
            record.updated_at,
        )


def _named(record: ApiDefinition, kind: str) -> list[str]:
    return [key.removeprefix(kind) for key in record.last_applied if key.startswith(kind)]


def count_routed(accounts: Iterable[Account]) -> int:
    """How many of the operations are routed."""
    return sum(not account.code for account in accounts)


def totals(accounts: Sequence[Account]) -> dict[str, int]:
    """The numbers of operations: all, routed, and not routed."""
    routed = count_routed(accounts)
    return {"operations": len(accounts), "routed": routed, "not_routed": len(accounts) - routed}


def account_document(account: Account) -> dict[str, Any]:
    """An account as it is stored and shown."""
    document: dict[str, Any] = {
        "method": account.method,
        "path": account.path,
        "pointer": account.pointer,
        "operation_id": account.operation_id,
        "routed": not account.code,
    }
    if account.code:
        return document | {"code": account.code, "reason": account.reason, "hint": account.hint}
    return document | {
        "route": account.route,
        "gateway_path": account.gateway_path,
        "upstream_path": account.upstream_path,
        "conditions": [asdict(condition) for condition in account.conditions],
        "cluster": account.cluster,
    }


def with_obstacles(plan: Plan, found: Mapping[str, Obstacle]) -> list[Account]:
    """The accounts of a plan when some of its routes cannot be had."""
    accounts = list(plan.accounts)
    for route in plan.routes:
        obstacle = found.get(route.name)
        if obstacle:
            accounts[route.account] = accounts[route.account].refused(
                obstacle.code, f"{_OBSTACLES[obstacle.code]} {obstacle.holder.described}", _OBSTACLE_HINT
            )
    return accounts


_OBSTACLES: Final = {
    "taken": "its requests go to",
    "shadowed": "its requests would be taken by",
    "name_taken": "its name belongs to",
}
_OBSTACLE_HINT: Final = "Serve the API under a path (--path) or a domain (--domain) of its own."


def edits(kept: Iterable[Kept]) -> Iterator[Note]:
    """What is told of edits that an import left alone. The pointers go into the row's own document."""
    for row in kept:
        code = "edit_contested" if row.contested else "edit_kept"
        fields = ", ".join(row.pointers[:_MOST_POINTERS])
        more = " although the document wants something else now" if row.contested else ""
        yield Note(code, f"{row.kind} '{row.name}' keeps what was set by hand at {fields}{more}", "")


def nothing_routed(accounts: Sequence[Account]) -> Fault | None:
    """The fault for an import of which nothing would be left; None when something is, or was never there."""
    if not accounts or count_routed(accounts):
        return None
    codes = {account.code for account in accounts}
    violations = [Violation(a.pointer, a.reason, a.hint) for a in accounts[:_MOST_VIOLATIONS]]
    first = accounts[0]
    sentence = f"None of the {len(accounts)} operations can be routed"
    if codes <= _OBSTACLES.keys():
        return AlreadyExists(
            f"{sentence}: {first.reason}.", code="all_taken", hint=_OBSTACLE_HINT, violations=violations
        )
    if codes == {"no_upstream"}:
        return InvalidArgument(
            f"{sentence}: {first.reason}.", code="no_upstream", hint=first.hint, violations=violations
        )
    return InvalidArgument(
        f"{sentence}; the first: {first.reason}.", code="nothing_routable", hint=first.hint, violations=violations
    )
