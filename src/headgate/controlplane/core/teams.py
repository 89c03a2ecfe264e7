"""Teams: the tenants."""

import re
from datetime import UTC, datetime

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.model.base import NAME_PATTERN
from headgate.controlplane.store.audit import AuditEntry
from headgate.controlplane.store.store import Store
from headgate.controlplane.store.teams import TeamRecord as Team
from headgate.controlplane.store.teams import find_team, insert_team, list_teams
from headgate.controlplane.store.view import unknown_team
from headgate.kit.controls.faults import Aborted, AlreadyExists, InvalidArgument, Violation

__all__ = ["Team", "Teams"]


class Teams:
    """The use cases on teams."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, actor: Actor, name: str) -> Team:
        """Make a team. Raises InvalidArgument (`invalid_name`), AlreadyExists."""
        if not re.fullmatch(NAME_PATTERN, name):
            rule = "must be 1 to 100 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
            raise InvalidArgument(
                f"'{name[:100]}' is not a name for a team: it {rule}.",
                code="invalid_name",
                violations=[Violation("/name", rule)],
            )
        now = datetime.now(UTC)
        entry = AuditEntry(
            at=now,
            actor=actor.name,
            surface=actor.surface,
            action="team.create",
            team=name,
            target=f"team/{name}",
            token_id=actor.token_id,
            request_id=actor.request_id,
        )
        try:
            await insert_team(self._store, name, entry)
        except Aborted:
            raise AlreadyExists(f"Team '{name}' exists already.", hint="Choose another name.") from None
        return Team(name, 0, now)

    async def list(self) -> list[Team]:
        """Return all teams by name."""
        return await list_teams(self._store)

    async def get(self, name: str) -> Team:
        """Return one team. Raises NotFound (`unknown_team`)."""
        team = await find_team(self._store, name)
        if team is None:
            raise unknown_team(name)
        return team
