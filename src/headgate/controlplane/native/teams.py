"""`/api/v1/teams` and `/api/v1/whoami`: the tenants, and which of them a token acts for."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.native.answers import listed
from headgate.controlplane.native.bodies import Body, read
from headgate.controlplane.native.describe import answer, body
from headgate.controlplane.web.answers import Json
from headgate.controlplane.web.queries import Page
from headgate.kit.controls.faults import NotFound

Name = Annotated[str, Path(max_length=100, description="The team's name.")]


class NewTeam(Body):
    """A team to make."""

    name: str


def add_teams(router: APIRouter, teams: Teams, authorise: Authorise) -> None:
    """Add the operations."""

    @router.get(
        "/teams",
        operation_id="listTeams",
        summary="List teams",
        description="A token of a team sees that one only.",
        responses={200: answer("One page, by name.", "TeamPage")},
    )
    async def list_teams(caller: Annotated[Caller, Depends(authorise("teams:read"))], paging: Page) -> Response:
        seen = {team.name: team for team in await teams.list() if caller.principal.sees(team.name)}
        return listed(seen, paging, asdict)

    @router.get(
        "/teams/{name}",
        operation_id="getTeam",
        summary="Read a team",
        responses={200: answer("The team and its newest revision.", "Team")},
    )
    async def get_team(caller: Annotated[Caller, Depends(authorise("teams:read"))], name: Name) -> Response:
        if not caller.principal.sees(name):
            raise NotFound(f"There is no team '{name}'.", code="unknown_team")
        return Json(asdict(await teams.get(name)))

    @router.post(
        "/teams",
        operation_id="createTeam",
        summary="Create a team",
        description="Needs a token that belongs to no team.",
        status_code=HTTPStatus.CREATED,
        responses={201: answer("Created.", "Team")},
        openapi_extra=body("NewTeam", {"name": "payments"}),
    )
    async def create_team(request: Request, caller: Annotated[Caller, Depends(authorise("teams:write"))]) -> Response:
        caller.principal.require("teams:write", None)
        new = await read(request, NewTeam)
        team = await teams.create(caller.actor, new.name)
        return Json(
            asdict(team),
            status_code=HTTPStatus.CREATED.value,
            headers={"Location": f"{router.prefix}/teams/{team.name}"},
        )


def add_whoami(router: APIRouter, authorise: Authorise) -> None:
    """Add the operation."""

    @router.get(
        "/whoami",
        operation_id="whoAmI",
        summary="Whose token is this, and what may it do",
        responses={200: answer("The token, without its secret.", "WhoAmI")},
    )
    async def who_am_i(caller: Annotated[Caller, Depends(authorise(""))]) -> Response:
        principal = caller.principal
        return Json(
            {
                "token_id": principal.token_id,
                "name": principal.name,
                "team": principal.team,
                "scopes": sorted(principal.scopes),
            }
        )
