"""The door of the HTTP surfaces: who is this, may they, and in which team.

Two locks, so that a forgotten one stays shut. The kit's controls let nothing through without a token that
`DatabaseTokens` knows, but the paths they were told are public. `Authority` makes the dependency with which each
operation names its scope, and which gives the operation its `Caller`: what a token may do depends on the team.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.caller import Caller
from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.tenancy.principal import Principal
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from headgate.kit.controls.identity import bearer_token
from headgate.kit.controls.principal import Principal as KitPrincipal
from headgate.kit.current import current_call, current_request_id

DEFAULT_TEAM = "default"

BEARER = HTTPBearer(
    scheme_name="bearer",
    description="A token: the one that is shown at first start, or one made by `POST /api/v1/tokens`.",
    auto_error=False,
)


class DatabaseTokens:
    """The kit's authenticator of API tokens: the principal of a call whose token is known, and not past its life."""

    name = "token"
    challenge = "Bearer"
    hint = "send the header 'Authorization: Bearer hg_...'"

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def __call__(self, call: Call) -> KitPrincipal | None:
        """Whose token this is, None without one. Raises what `Tokens.authenticate` does."""
        token = bearer_token(call)
        if token is None:
            return None
        known = await self._tokens.authenticate(token)
        return KitPrincipal(known.token_id, "token", known.scopes, known.team or "", extra=known)


def principal_of(call: Call | None) -> Principal:
    """Whose call this is. Raises Unauthenticated when nobody's."""
    principal = call.principal.extra if call is not None else None
    if not isinstance(principal, Principal):
        raise Unauthenticated("this needs a token", code="no_credentials", hint=DatabaseTokens.hint)
    return principal


class Authority:
    """Makes the dependency of an operation, for one surface: `Depends(authority("clusters:write"))`."""

    def __init__(self, *, teams: Teams, audit: AuditLog, surface: str) -> None:
        self._teams = teams
        self._audit = audit
        self._surface = surface

    def __call__(self, scope: str) -> Callable[..., Awaitable[Caller]]:
        """Return the dependency; `scope` "" asks for a valid token only."""

        async def authorise(
            request: Request,
            _shown: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER, scopes=[scope] if scope else [])],
            team: Annotated[
                str | None,
                Query(description="The team meant, for a token of no team; `default` unless given.", max_length=100),
            ] = None,
            x_headgate_team: Annotated[str | None, Header(description="The same as `team`.", max_length=100)] = None,
        ) -> Caller:
            act = f"{request.method} {request.scope['path'][:200]}"
            return await self.admit(act, scope, _wanted_team(team, x_headgate_team))

        return authorise

    async def admit(self, act: str, scope: str, wanted: str | None) -> Caller:
        """Return the caller. Raises PermissionDenied for a missing scope, NotFound for a foreign or unknown team."""
        principal = principal_of(current_call())
        team = wanted or principal.team or DEFAULT_TEAM
        actor = Actor(
            name=principal.name,
            surface=self._surface,
            request_id=current_request_id(),
            token_id=principal.token_id,
        )
        try:
            _require(principal, scope, team)
        except (NotFound, PermissionDenied) as fault:
            await self._audit.refused(actor, "authorise", team=team, target=act, reason=fault.code)
            raise
        if wanted and principal.team is None:
            await self._teams.get(wanted)
        return Caller(actor, principal, team)


def _require(principal: Principal, scope: str, team: str) -> None:
    if scope:
        principal.require(scope, team)
    elif not principal.sees(team):
        raise NotFound(f"There is no team '{team}'.", code="unknown_team")


def _wanted_team(query: str | None, header: str | None) -> str | None:
    if query and header and query != header:
        raise InvalidArgument(
            f"the query asks for team '{query}' and the header X-Headgate-Team for '{header}'",
            code="ambiguous_team",
            hint="give one of the two",
        )
    return query or header or None


def chosen_team(request: Request, caller: Caller) -> str | None:
    """The team whose tokens or acts are meant: the token's own or the one asked for; None is every team."""
    asked = request.query_params.get("team") or request.headers.get("x-headgate-team")
    return caller.team if asked or caller.principal.team else None
