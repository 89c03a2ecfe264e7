"""`/api/v1/tokens`: made, listed, revoked. A token's secret is answered once and is nowhere else."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import AwareDatetime, Field, model_validator
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.core.tokens import TokenInfo, Tokens
from headgate.controlplane.native.authorise import chosen_team
from headgate.controlplane.native.bodies import Body, read
from headgate.controlplane.native.describe import answer, body
from headgate.controlplane.native.examples import NEW_TOKEN
from headgate.controlplane.web.answers import Json, page
from headgate.controlplane.web.queries import Page
from headgate.kit.controls.faults import NotFound

NO_STORE = {"Cache-Control": "no-store"}

Id = Annotated[str, Path(max_length=100, description="The token's id.")]


class NewToken(Body):
    """A token to make."""

    name: str = Field(min_length=1, max_length=100)
    team: str | None = Field(default=None, max_length=100)
    scopes: list[str] = Field(min_length=1, max_length=50)
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    expires_in_s: int | None = Field(default=None, ge=1, le=315_360_000)

    @model_validator(mode="after")
    def _one_expiry(self) -> "NewToken":
        if self.expires_at is not None and self.expires_in_s is not None:
            raise ValueError("takes one of expires_at and expires_in_s")
        return self

    def expiry(self) -> datetime | None:
        """When it expires; None is never."""
        if self.expires_in_s is not None:
            return datetime.now(UTC) + timedelta(seconds=self.expires_in_s)
        return self.expires_at


def add_tokens(router: APIRouter, tokens: Tokens, authorise: Authorise) -> None:
    """Add the operations."""
    _add_reads(router, tokens, authorise)
    _add_writes(router, tokens, authorise)


def _add_reads(router: APIRouter, tokens: Tokens, authorise: Authorise) -> None:
    @router.get(
        "/tokens",
        operation_id="listTokens",
        summary="List tokens, newest first",
        description="A token of no team sees all tokens, unless it names a team; any other sees its team's.",
        responses={200: answer("One page, without secrets.", "TokenPage")},
    )
    async def list_tokens(
        request: Request,
        caller: Annotated[Caller, Depends(authorise("tokens:read"))],
        paging: Page,
    ) -> Response:
        found = await tokens.list(chosen_team(request, caller), limit=paging.limit, cursor=paging.cursor)
        return page(found, _shown)

    @router.get(
        "/tokens/{id}",
        operation_id="getToken",
        summary="Read a token",
        responses={200: answer("The token, without its secret.", "Token")},
    )
    async def get_token(
        caller: Annotated[Caller, Depends(authorise("tokens:read"))], token_id: Annotated[Id, Path(alias="id")]
    ) -> Response:
        return Json(_shown(await _seen(tokens, caller, token_id)))


def _add_writes(router: APIRouter, tokens: Tokens, authorise: Authorise) -> None:
    @router.post(
        "/tokens",
        operation_id="createToken",
        summary="Create a token",
        description="The answer holds the secret in `token`; it cannot be had again. "
        "Nobody can grant more than they hold. Without `team`, the new token belongs to the team of its maker.",
        status_code=HTTPStatus.CREATED,
        responses={201: answer("Created.", "CreatedToken")},
        openapi_extra=body("NewToken", NEW_TOKEN),
    )
    async def create_token(request: Request, caller: Annotated[Caller, Depends(authorise("tokens:write"))]) -> Response:
        new = await read(request, NewToken)
        team = new.team if "team" in new.model_fields_set else chosen_team(request, caller)
        info, secret = await tokens.create(
            caller.actor,
            name=new.name,
            team=team,
            scopes=new.scopes,
            expires_at=new.expiry(),
            granted_by=caller.principal,
        )
        location = f"{router.prefix}/tokens/{info.id}"
        return Json(
            {**_shown(info), "token": secret},
            status_code=HTTPStatus.CREATED.value,
            headers={"Location": location, **NO_STORE},
        )

    @router.delete(
        "/tokens/{id}",
        operation_id="revokeToken",
        summary="Revoke a token",
        description="From now on it opens nothing. Revoking again changes nothing.",
        responses={200: answer("The revoked token.", "Token")},
    )
    async def revoke_token(
        caller: Annotated[Caller, Depends(authorise("tokens:write"))], token_id: Annotated[Id, Path(alias="id")]
    ) -> Response:
        await _seen(tokens, caller, token_id)
        return Json(_shown(await tokens.revoke(caller.actor, token_id)))


async def _seen(tokens: Tokens, caller: Caller, token_id: str) -> TokenInfo:
    """The token, if the caller may know of it."""
    info = await tokens.get(token_id)
    if not caller.principal.sees(info.team):
        raise NotFound(f"There is no token '{token_id}'.")
    return info


def _shown(info: TokenInfo) -> dict[str, Any]:
    return {**asdict(info), "scopes": sorted(info.scopes)}
