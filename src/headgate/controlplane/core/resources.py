"""Clusters, route configs, routes, listeners and secrets: read, change, look back, restore."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headgate.controlplane.core.changes import Actor, Change, ChangeKind, Outcome, Page, Revision, Stored
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.model.rows import RowChange, RowKind
from headgate.controlplane.store.api_definitions import DefinitionChange
from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class RowViolation:
    """Something wrong with a row; `pointer` is relative to the row's own document."""

    kind: RowKind
    name: str
    pointer: str
    message: str
    hint: str = ""


class Preflight(Protocol):
    """Asks Envoy before the change is committed."""

    async def check(self, team: str, changes: Sequence[RowChange]) -> Sequence[RowViolation]:
        """Return what Envoy would refuse; empty when it accepts. Secrets arrive sealed.

        It is called outside the transaction, and again inside it when another change came between: it
        must remember what was accepted.
        """
        ...


class Resources:
    """The use cases on a team's configuration. `on_change` is called with the team after a commit."""

    def __init__(
        self,
        store: Store,
        *,
        preflight: Preflight | None,
        secrets: SecretBox,
        on_change: Callable[[str], None] = lambda team: None,
    ) -> None:
        self._store = store
        self._preflight = preflight
        self._secrets = secrets
        self._on_change = on_change

    async def apply(
        self,
        actor: Actor,
        team: str,
        changes: Sequence[Change],
        *,
        definitions: Sequence[DefinitionChange] = (),
        dry_run: bool = False,
        message: str = "",
    ) -> Outcome:
        """Make all changes, in one new revision, or none.

        Pointers of violations go into the document of the change when there is one change, and start with
        the index of the change (`/0/...`) when there are several.
        """
        raise NotImplementedError

    async def get(self, team: str, kind: ChangeKind, name: str) -> Stored:
        """Return one resource. Raises NotFound."""
        raise NotImplementedError

    async def list(
        self,
        team: str,
        kind: ChangeKind,
        *,
        name_contains: str = "",
        owner: str | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Page[Stored]:
        """Return resources by name. `limit` is 1 to 500."""
        raise NotImplementedError

    async def revisions(self, team: str, *, limit: int = 50, cursor: str = "") -> Page[Revision]:
        """Return revisions, newest first, without their changes."""
        raise NotImplementedError

    async def revision(self, team: str, number: int) -> Revision:
        """Return one revision with its changes: {"kind", "name", "before", "after"} each. Raises NotFound."""
        raise NotImplementedError

    async def restore(self, actor: Actor, team: str, number: int, *, dry_run: bool = False) -> Outcome:
        """Make a new revision whose state equals that of revision `number`. Raises NotFound."""
        raise NotImplementedError
