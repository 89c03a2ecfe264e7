"""`/api/v1/native/schemas/{kind}`: the JSON Schema of what can be written, for editors and generators."""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from headgate.controlplane.core.caller import Authorise, Caller
from headgate.controlplane.model.kinds import PLURALS, SPECS
from headgate.controlplane.model.route_config import Route
from headgate.controlplane.web.answers import Json
from headgate.kit.controls.faults import NotFound
from headgate.kit.controls.validation import did_you_mean

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MODELS = {PLURALS[kind]: model for kind, model in SPECS.items()} | {"routes": Route}


def add_schemas(router: APIRouter, authorise: Authorise) -> None:
    """Add the operation."""

    @router.get(
        "/schemas/{kind}",
        operation_id="getSchema",
        summary="Read the JSON Schema of a kind",
        responses={
            200: {
                "description": "JSON Schema, draft 2020-12.",
                "content": {"application/schema+json": {"schema": {"type": "object"}}},
            }
        },
    )
    async def get_schema(
        _caller: Annotated[Caller, Depends(authorise(""))],
        kind: Annotated[str, Path(max_length=100, description=f"One of {', '.join(_MODELS)}.")],
    ) -> Response:
        if kind not in _MODELS:
            raise NotFound(f"There is no kind '{kind}'.", code="unknown_kind", hint=did_you_mean(kind, list(_MODELS)))
        return Json(schema_of(kind), media_type="application/schema+json")


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind, named as in the path."""
    return {"$schema": DIALECT, **_MODELS[kind].model_json_schema()}
