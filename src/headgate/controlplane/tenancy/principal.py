"""Who asks, and what they may do."""

from dataclasses import dataclass

from headgate.kit.controls.faults import NotFound, PermissionDenied

RESOURCES = (
    "clusters",
    "route-configs",
    "listeners",
    "secrets",
    "dataplanes",
    "revisions",
    "audit",
    "teams",
    "tokens",
)
"""What a scope can be about."""

SCOPES = frozenset(
    {f"{resource}:{access}" for resource in RESOURCES for access in ("read", "write")}
    | {"metrics:read", "*:read", "*:write", "*"}
)
"""Every scope there is. `write` does not include `read`; of the metrics there is nothing to write."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a token. `team` None may act on every team."""

    token_id: str
    name: str
    team: str | None
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Whether the scopes include `scope`."""
        access = scope.rpartition(":")[2]
        return "*" in self.scopes or scope in self.scopes or f"*:{access}" in self.scopes

    def sees(self, team: str | None) -> bool:
        """Whether the principal may know of the team. None is what belongs to no team."""
        return self.team is None or self.team == team

    def require(self, scope: str, team: str | None = None) -> None:
        """Raise unless the principal may do `scope` in `team`.

        A foreign team is NotFound: its existence is nobody else's business. A missing scope is
        PermissionDenied with code `missing_scope`.
        """
        if team is not None and not self.sees(team):
            raise NotFound(f"There is no team '{team}'.", code="unknown_team")
        if team is None and self.team is not None:
            raise PermissionDenied(
                f"Token '{self.name}' belongs to team '{self.team}' and may not act beyond it.",
                code="team_token",
                hint="Use a token that belongs to no team.",
            )
        if not self.allows(scope):
            raise PermissionDenied(
                f"Token '{self.name}' lacks the scope '{scope}'.",
                code="missing_scope",
                hint=f"Create a token with '{scope}', '*:{scope.rpartition(':')[2]}' or '*'.",
            )

    def require_grant(self, scopes: frozenset[str], team: str | None) -> None:
        """Raise PermissionDenied when the principal would give away more than it holds."""
        missing = sorted(scope for scope in scopes if not self._covers(scope))
        if missing or not self.sees(team):
            lacking = ", ".join(missing) or f"access to {'every team' if team is None else f'team {team}'}"
            raise PermissionDenied(
                f"Token '{self.name}' cannot grant what it does not hold: {lacking}.", code="grant_exceeds_holder"
            )

    def _covers(self, scope: str) -> bool:
        if scope == "*":
            return {"*:read", "*:write"} <= self.scopes or "*" in self.scopes
        return self.allows(scope)
