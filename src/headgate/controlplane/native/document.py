"""The OpenAPI document: what the framework derives, completed with what holds for every operation.

Adds the shapes that operations refer to, the problems each can answer with, and the words at the top.
"""

from collections.abc import Iterator
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from headgate import __version__
from headgate.controlplane.native.describe import ref

SUMMARY: Final = "Configure Envoy, and see what it does."
DESCRIPTION: Final = """\
Every write is one revision: checked whole, made whole, or refused with a pointer to each thing wrong.

* **Tokens**: `Authorization: Bearer hg_...`. Each operation states the scope it needs.
* **Teams**: a token of a team acts on it; any other names one with `?team=` or `X-Headgate-Team`, else it
  means `default`.
* **Conditions**: `ETag` is the revision that last changed a resource; send it back in `If-Match`. A
  resource that has moved on answers 412; a name that is taken or still in use answers 409.
* **Dry runs**: `?dry_run=true` on a write answers with what would change.
* **Problems**: every error is `application/problem+json` (RFC 9457) with a stable `code`.
"""

_METHODS: Final = ("get", "put", "post", "delete", "patch", "options", "head")
_WRITES: Final = ("put", "post", "delete", "patch")

_PROBLEMS: Final = {
    "400": ("BadRequest", "The input is not valid; `errors` points at each thing wrong."),
    "401": ("Unauthenticated", "There is no token, or it is not valid."),
    "403": ("Forbidden", "The token lacks the scope that `detail` names."),
    "404": ("NotFound", "There is no such thing, or none this token may see."),
    "409": ("Conflict", "The name is taken, something refers to it, or it refers to nothing."),
    "412": ("PreconditionFailed", "The resource has another ETag, or exists."),
    "413": ("TooLarge", "The body is larger than this server reads."),
    "415": ("UnsupportedMediaType", "The body has another content type than this takes."),
    "default": ("Failed", "Any other problem."),
}


def openapi_document(routes: list[BaseRoute], tags: list[dict[str, Any]]) -> dict[str, Any]:
    """The document of an application's routes."""
    document = get_openapi(
        title="Headgate API",
        version=__version__,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=routes,
        tags=tags,
        separate_input_output_schemas=False,
    )
    named = document.setdefault("components", {})
    schemas = named.setdefault("schemas", {})
    for name, schema in _shapes().items():
        schemas.setdefault(name, schema)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    named["schemas"] = dict(sorted(schemas.items()))
    named["responses"] = {name: _problem(description) for name, description in _PROBLEMS.values()}
    for method, operation in _operations(document):
        _complete(method, operation)
    return document


def _shapes() -> dict[str, Any]:
    # Late: hundreds of kilobytes of models that only the document needs.
    from headgate.controlplane.native.shapes import components

    models = [(model, "validation") for model in components()]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    found: dict[str, Any] = definitions["$defs"]
    return found


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": ref("Problem")}}}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in document["paths"].values():
        for method in _METHODS:
            if method in path:
                yield method, path[method]


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if "security" in operation:
        # One requirement with all scopes: several requirements would mean that any of them is enough.
        scopes = {scope for requirement in operation["security"] for each in requirement.values() for scope in each}
        operation["security"] = [{"bearer": sorted(scopes)}]
        operation["description"] = _with_scopes(operation.get("description", ""), sorted(scopes))
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _never_null(parameter["schema"])
    for status in _problem_statuses(method, operation):
        responses.setdefault(status, {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"})
    operation["responses"] = dict(sorted(responses.items()))


def _with_scopes(description: str, scopes: list[str]) -> str:
    if not scopes:
        return description
    needed = f"Needs {', '.join(f'`{scope}`' for scope in scopes)}."
    return f"{description}\n\n{needed}" if description else needed


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter: it can be left out, but nobody can send null in a query or header."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}


def _problem_statuses(method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("400", "default")
    for requirement in operation.get("security", []):
        yield "401"
        yield "404"
        if any(requirement.values()):
            yield "403"
    if method in _WRITES:
        yield "409"
        if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", [])):
            yield "412"
    if "requestBody" in operation:
        yield from ("413", "415")
