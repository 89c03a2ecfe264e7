"""Teams: the tenants."""

from dataclasses import dataclass
from datetime import datetime

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class Team:
    """A tenant and its newest revision."""

    name: str
    revision: int
    created_at: datetime


class Teams:
    """The use cases on teams."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, actor: Actor, name: str) -> Team:
        """Make a team. Raises InvalidArgument, AlreadyExists."""
        raise NotImplementedError

    async def list(self) -> list[Team]:
        """Return all teams by name."""
        raise NotImplementedError

    async def get(self, name: str) -> Team:
        """Return one team. Raises NotFound."""
        raise NotImplementedError
