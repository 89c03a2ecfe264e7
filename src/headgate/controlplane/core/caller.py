"""Who asks, and for which team: what a surface knows once a request has been let in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.tenancy.principal import Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's author. `actor` is what history and audit record, `team` is whose configuration is meant."""

    actor: Actor
    principal: Principal
    team: str

    def require(self, scope: str) -> None:
        """Raise PermissionDenied unless the token holds `scope` (NotFound for a team it may not see)."""
        self.principal.require(scope, self.team)


Authorise = Callable[[str], Callable[..., Awaitable[Caller]]]
"""Makes the dependency of an operation from the scope it needs; "" asks for a valid token only."""
