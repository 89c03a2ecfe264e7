"""The door of the HTTP surfaces: who is this, may they, and in which team.

Two locks, so that a forgotten one stays shut. `Doorkeeper` wraps the whole application and lets nothing
through without a valid token but the paths it was told are public. `Authority` makes the dependency with
which each operation names its scope, and which gives the operation its `Caller`.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Annotated

from fastapi import Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.caller import Caller
from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.tenancy.principal import Principal
from headgate.kit.asgi.problems import problem_response
from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from headgate.kit.observe.logs import current_request_id

DEFAULT_TEAM = "default"

BEARER = HTTPBearer(
    scheme_name="bearer",
    description="A token: the one that is shown at first start, or one made by `POST /api/v1/tokens`.",
    auto_error=False,
)


class Doorkeeper:
    """ASGI middleware: authenticates every request whose path is not public, and remembers whose it is.

    A path is public when it is one of `public` or lies below one of them that ends in "/".
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, audit: AuditLog, public: Collection[str]) -> None:
        self._app = app
        self._tokens = tokens
        self._audit = audit
        self._public = frozenset(path for path in public if not path.endswith("/"))
        self._below = tuple(path for path in public if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http" or self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._tokens.authenticate(_presented(scope))
        except Fault as fault:
            if isinstance(fault, Unauthenticated):
                await self._audit.refused(_stranger(scope), "authenticate", target=_act(scope), reason=fault.code)
            await problem_response(fault, scope)(scope, receive, send)
        else:
            scope.setdefault("state", {})["principal"] = principal
            await self._app(scope, receive, send)

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._below)


def _presented(scope: Scope) -> str:
    """The token of a request. Raises Unauthenticated when there is none, or more than one."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        raise Unauthenticated(
            "this needs a token", code="no_token", hint="send the header 'Authorization: Bearer hg_...'"
        )
    presented: str = values[0].decode("latin-1")
    scheme, _, token = presented.partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(
            "the Authorization header holds no bearer token",
            code="no_token",
            hint="send one header 'Authorization: Bearer hg_...'",
        )
    return token.strip()


def _act(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:200]}"


def _stranger(scope: Scope) -> Actor:
    client = scope.get("client")
    return Actor(name=str(client[0]) if client else "", surface="http", request_id=current_request_id())


def principal_of(request: Request) -> Principal:
    """Whose request this is. Raises Unauthenticated when no doorkeeper let it in."""
    principal = getattr(request.state, "principal", None)
    if not isinstance(principal, Principal):
        raise Unauthenticated("this needs a token", code="no_token")
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
            return await self.admit(request, scope, _wanted_team(team, x_headgate_team))

        return authorise

    async def admit(self, request: Request, scope: str, wanted: str | None) -> Caller:
        """Return the caller. Raises PermissionDenied for a missing scope, NotFound for a foreign or unknown team."""
        principal = principal_of(request)
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
            await self._audit.refused(actor, "authorise", team=team, target=_act(request.scope), reason=fault.code)
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
