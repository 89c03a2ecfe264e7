"""API tokens: made, listed, revoked, and recognised."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headgate.controlplane.core.changes import Actor, Page
from headgate.controlplane.store.store import Store
from headgate.controlplane.tenancy.principal import Principal


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token without its secret. `team` None acts on every team."""

    id: str
    name: str
    team: str | None
    scopes: Sequence[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class Tokens:
    """The use cases on tokens."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self,
        actor: Actor,
        *,
        name: str,
        team: str | None,
        scopes: Sequence[str],
        expires_at: datetime | None,
        granted_by: Principal | None = None,
    ) -> tuple[TokenInfo, str]:
        """Return the new token and its plaintext, which cannot be had again.

        `granted_by` is whoever asks over the network: they cannot grant more than they hold.
        """
        raise NotImplementedError

    async def list(
        self, team: str | None = None, *, include_revoked: bool = True, limit: int = 50, cursor: str = ""
    ) -> Page[TokenInfo]:
        """Return the tokens of a team, or all, newest first."""
        raise NotImplementedError

    async def get(self, token_id: str) -> TokenInfo:
        """Return one token. Raises NotFound."""
        raise NotImplementedError

    async def revoke(self, actor: Actor, token_id: str) -> TokenInfo:
        """Make the token worthless from now on; revoking again changes nothing. Raises NotFound."""
        raise NotImplementedError

    async def authenticate(self, presented: str) -> Principal:
        """Return whose token this is. Raises Unauthenticated."""
        raise NotImplementedError

    async def first_start(self) -> str | None:
        """On an empty database make team `default` and an admin token, and return its plaintext; else None."""
        raise NotImplementedError
