"""The one way to change a team's configuration: a list of changes, applied whole or not at all.

Every surface (Native API, Platform API, import, expose, restore, the CLI through them) turns what
it was asked into `Change`s and hands them to `headgate.controlplane.core.resources.Resources.apply`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from headgate.controlplane.model.rows import Document, RowKind

T = TypeVar("T")

ChangeKind = RowKind
"""What can be changed: a whole cluster, route config (with its routes), listener or secret, or one route."""

Operation = Literal["create", "replace", "put", "patch", "delete"]
"""`create` fails when it is there; `replace`, `patch` and `delete` fail when it is not; `put` does either.
`patch` is a JSON merge patch (RFC 7396)."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, and through what. `name` is the token's name; `surface` such as `native`, `platform`, `up`."""

    name: str
    surface: str
    request_id: str = ""
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One wanted change. `name` of a route is `route_config/virtual_host/route`.

    `if_match` is an ETag the stored resource must have ("*": it must exist). `owner` marks who manages
    the row from now on; None keeps the owner. `before` of a route names the route it is put in front of,
    "" puts it last; None keeps its place (a new one goes last).
    """

    operation: Operation
    kind: ChangeKind
    name: str
    document: Document | None = None
    if_match: str | None = None
    owner: str | None = None
    before: str | None = None


DiffKind = Literal["created", "updated", "deleted", "unchanged"]


@dataclass(frozen=True, slots=True)
class Diff:
    """What became of one resource: its documents before and after (secrets redacted), and its new ETag."""

    kind: ChangeKind
    name: str
    what: DiffKind
    before: Document | None
    after: Document | None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an `apply` did, or would do. `revision` is the team's after it; unchanged when nothing changed."""

    team: str
    revision: int
    dry_run: bool
    diffs: Sequence[Diff]

    @property
    def changed(self) -> bool:
        """Whether anything is different."""
        return any(diff.what != "unchanged" for diff in self.diffs)


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as it is stored. `document` is the specification as written; secrets are redacted."""

    team: str
    kind: ChangeKind
    name: str
    document: Document
    etag: str
    revision: int
    owner: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the items, how many there are in all, and the cursor for more ("" at the end)."""

    items: Sequence[T]
    total: int
    next_cursor: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """One atomic change of a team: who, when, through which surface, why, and every row before and after."""

    team: str
    number: int
    at: datetime
    actor: str
    surface: str
    message: str
    request_id: str
    changes: Sequence[Mapping[str, Any]] = field(default=())
