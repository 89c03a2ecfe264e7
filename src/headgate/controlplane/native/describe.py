"""Pieces of the OpenAPI document that an operation states about itself."""

from typing import Any

from headgate.controlplane.model.rows import RowKind
from headgate.controlplane.native.bodies import JSON

TITLES: dict[RowKind, str] = {
    "cluster": "Cluster",
    "route_config": "RouteConfig",
    "route": "Route",
    "listener": "Listener",
    "secret": "Secret",
}
"""What a kind is called in names of shapes and operations."""

_ETAG = {"description": "The resource's ETag.", "schema": {"type": "string"}, "example": '"12"'}
_REVISION = {"description": "The team's revision after the write.", "schema": {"type": "integer"}}
_LOCATION = {"description": "Where it is.", "schema": {"type": "string"}}

ETAG = {"ETag": _ETAG}
WRITTEN = {"ETag": _ETAG, "Headgate-Revision": _REVISION}
CREATED = {**WRITTEN, "Location": _LOCATION}
REVISED = {"Headgate-Revision": _REVISION}


def ref(shape: str) -> dict[str, str]:
    """A reference to a shape of the document."""
    return {"$ref": f"#/components/schemas/{shape}"}


def answer(description: str, *shapes: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """A response: one of the shapes, as JSON; no body without a shape."""
    found: dict[str, Any] = {"description": description}
    if headers:
        found["headers"] = headers
    if shapes:
        schema = ref(shapes[0]) if len(shapes) == 1 else {"anyOf": [ref(shape) for shape in shapes]}
        found["content"] = {JSON: {"schema": schema}}
    return found


def body(shape: str | dict[str, Any], example: Any, *media_types: str) -> dict[str, Any]:
    """The `openapi_extra` of an operation that takes a body."""
    schema = ref(shape) if isinstance(shape, str) else shape
    content = {media_type: {"schema": schema, "example": example} for media_type in media_types or (JSON,)}
    return {"requestBody": {"required": True, "content": content}}


def patch_schema(title: str) -> dict[str, Any]:
    """The schema of a merge patch: like the resource, with null for what is to go."""
    return {
        "type": "object",
        "description": f"A JSON merge patch (RFC 7396) of the {title}: null removes a field, lists are replaced whole.",
    }
