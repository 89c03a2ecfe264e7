"""OpenAPI 3.1: every method at its own path and at its binding, with all that it may answer.

    openapi([Orders.contract()], title="Shop", version="1.2.0", servers=["https://api.example.com"])

What OpenAPI has no word for is told in extensions: `x-headgate-guard` is who may call, `x-headgate-kind` how many
messages go each way, `x-headgate-timeout` how long it may take, in seconds.

Source: OpenAPI 3.1.1; JSON Schema 2020-12.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from headgate.service.codecs import CODECS
from headgate.service.docs.described import Bound, Described, Operation, Source, describe
from headgate.service.docs.problems import (
    DESCRIPTIONS,
    PROBLEM,
    is_usual,
    phrase,
    problem_schemas,
    refusals,
    schema_name,
)
from headgate.service.docs.schemas import Pool, Schema, resolved
from headgate.service.docs.streams import FRAMES, LINES, MESSAGES, STREAMS
from headgate.service.invoke import IDEMPOTENCY_KEY, LONGEST_KEY

VERSION: Final = "3.1.1"
PROBLEM_TYPES: Final = tuple(codec.problem_type for codec in CODECS)

_PROBLEM_REF: Final = "#/components/schemas/Problem"
_OK: Final = 200
_NO_CONTENT: Final = 204
_SCHEMES: Final[Mapping[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "mutual_tls": {"type": "mutualTLS"},
}


def openapi(
    contracts: Iterable[Source],
    *,
    title: str = "",
    version: str = "",
    servers: Iterable[str] = (),
    description: str = "",
    rpc: bool = True,
) -> dict[str, Any]:
    """The document, made of plain objects in a stable order.

    Without `rpc`, methods that have a binding are told of there alone. Raises InvalidArgument (`invalid_contract`).
    """
    services = describe(contracts)
    paths: dict[str, dict[str, Any]] = {}
    pool = Pool([_with_problems(service) for service in services])
    for service in services:
        for operation in service.operations:
            writer = _Writer(service, operation, pool)
            if rpc or operation.http is None:
                paths.setdefault(operation.path, {})["post"] = writer.called()
            if operation.http is not None:
                where = paths.setdefault(operation.http.template, {})
                where[operation.http.verb.lower()] = writer.bound(operation.http)
    guarded = any(operation.is_guarded for service in services for operation in service.operations)
    told = description or "\n\n".join(service.description for service in services if service.description)
    return {
        "openapi": VERSION,
        "info": {
            "title": title or ", ".join(service.title for service in services) or "Services",
            "version": version or next((service.version for service in services), "0"),
            **({"description": told} if told else {}),
        },
        **({"servers": [{"url": url} for url in servers]} if (servers := list(servers)) else {}),
        "tags": [_tag(service) for service in services],
        "paths": paths,
        "components": {
            "schemas": {**pool.components, "Problem": PROBLEM},
            "responses": {_answer_name(status): _usual(status) for status in DESCRIPTIONS},
            **({"securitySchemes": dict(_SCHEMES)} if guarded else {}),
        },
    }


def _with_problems(service: Described) -> Described:
    return replace(service, schemas={**service.schemas, **problem_schemas(service, _PROBLEM_REF)})


def _tag(service: Described) -> dict[str, Any]:
    return {"name": service.title, **({"description": service.description} if service.description else {})}


def _answer_name(status: int) -> str:
    return "".join(part.capitalize() for part in phrase(status).split())


def _usual(status: int) -> dict[str, Any]:
    return {"description": DESCRIPTIONS[status], "content": _problem_content({"$ref": _PROBLEM_REF})}


def _problem_content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type in PROBLEM_TYPES}


class _Writer:
    """One operation of OpenAPI, at either of the places where a method is found."""

    def __init__(self, service: Described, operation: Operation, pool: Pool) -> None:
        self._service = service
        self._operation = operation
        self._pool = pool

    def called(self) -> dict[str, Any]:
        """At its own path: the whole request is the body."""
        operation, service = self._operation, self._service
        request = {"required": True, "content": self._request_content(operation.request)}
        if not service.required(operation.request) and not operation.kind.streams_in:
            request["required"] = False
        return self._told(f"{service.full_name}.{operation.name}", [], request, _OK)

    def bound(self, bound: Bound) -> dict[str, Any]:
        """At its binding."""
        operation, service = self._operation, self._service
        fields, required = service.fields(operation.request), service.required(operation.request)
        parameters = [
            {"name": name, "in": "path", "required": True, **self._value(fields.get(name, {"type": "string"}))}
            | ({"x-headgate-rest": True} if name == bound.rest else {})
            for name in bound.parameters
        ]
        left = [name for name in fields if name not in bound.parameters]
        request = None
        if bound.has_body:
            request = self._body(bound, fields, left)
        else:
            parameters += [self._query(name, fields[name], name in required) for name in left]
        return self._told(f"{service.name}.{operation.name}", parameters, request, bound.status)

    def _body(self, bound: Bound, fields: Mapping[str, Schema], left: list[str]) -> dict[str, Any] | None:
        """The body of a binding: all of the request, one field of it, or what the path leaves of it."""
        streams, schema = self._operation.kind.streams_in, self._operation.request
        if bound.parameters:
            schema = fields[bound.body] if bound.body in left else self._without_path(left)
        if not streams and _is_empty(schema, self._service.schemas):
            return None
        required = streams or bool(resolved(schema, self._service.schemas).get("required"))
        return {"required": required, "content": self._request_content(schema)}

    def _without_path(self, left: list[str]) -> Schema:
        """The request without the fields that are in the path."""
        whole = dict(resolved(self._operation.request, self._service.schemas))
        whole["properties"] = {name: schema for name, schema in whole["properties"].items() if name in left}
        whole["required"] = [name for name in whole.get("required", ()) if name in left]
        return {name: value for name, value in whole.items() if name != "required" or value}

    def _query(self, name: str, schema: Schema, required: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"name": name, "in": "query", "required": required}
        if _is_nested(schema, self._service.schemas):
            return told | self._described(schema) | {"content": {"application/json": {"schema": self._placed(schema)}}}
        many = resolved(schema, self._service.schemas).get("type") == "array"
        return told | ({"style": "form", "explode": True} if many else {}) | self._value(schema)

    def _value(self, schema: Schema) -> dict[str, Any]:
        return {**self._described(schema), "schema": self._placed(schema)}

    @staticmethod
    def _described(schema: Schema) -> dict[str, Any]:
        return {"description": schema["description"]} if "description" in schema else {}

    def _placed(self, schema: Schema) -> dict[str, Any]:
        return self._pool.placed(self._service.full_name, schema)

    def _request_content(self, schema: Schema) -> dict[str, Any]:
        placed = self._placed(schema)
        if self._operation.kind.streams_in:
            return {each.media_type: {"schema": each.schema(placed)} for each in (LINES, FRAMES)}
        examples = self._operation.examples if schema is self._operation.request else ()
        named = {f"example{number}": {"value": value} for number, value in enumerate(examples, 1)}
        message = {"schema": placed, **({"examples": named} if named else {})}
        return dict.fromkeys(MESSAGES, message)

    def _told(
        self, operation_id: str, parameters: list[dict[str, Any]], request: dict[str, Any] | None, status: int
    ) -> dict[str, Any]:
        operation = self._operation
        if operation.idempotent == "key":
            parameters = [*parameters, _KEY]
        texts = {"summary": operation.title, "description": operation.description}
        return {
            "operationId": operation_id,
            "tags": [self._service.title, *operation.tags],
            **{name: text for name, text in texts.items() if text},
            **({"parameters": parameters} if parameters else {}),
            **({"requestBody": request} if request is not None else {}),
            "responses": {**self._success(status), **self._refusals()},
            **_security(operation),
            **({"deprecated": True} if operation.deprecated else {}),
            "x-headgate-kind": operation.kind.value,
            **({"x-headgate-timeout": operation.timeout} if operation.timeout is not None else {}),
        }

    def _success(self, status: int) -> dict[str, Any]:
        operation = self._operation
        if operation.response is None and not operation.kind.streams_out:
            status = _NO_CONTENT if status == _OK else status
            return {str(status): {"description": "Done."}}
        if status == _NO_CONTENT:
            return {str(status): {"description": "Done."}}
        placed = self._placed(operation.response or {"type": "null"})
        if operation.kind.streams_out:
            content = {each.media_type: {"schema": each.schema(placed)} for each in STREAMS}
        else:
            content = {media_type: {"schema": placed} for media_type in MESSAGES}
        return {str(status): {"description": phrase(status), "content": content}}

    def _refusals(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for status, faults in refusals(self._operation).items():
            if not faults:
                found[str(status)] = {"$ref": f"#/components/responses/{_answer_name(status)}"}
                continue
            schemas = [self._placed({"$ref": f"#/schemas/{schema_name(fault.code)}"}) for fault in faults]
            if is_usual(status):
                schemas.append({"$ref": _PROBLEM_REF})
            told = [f"`{fault.code}`: {fault.description or phrase(status)}" for fault in faults]
            schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            found[str(status)] = {"description": "\n\n".join(told), "content": _problem_content(schema)}
        return found


_KEY: Final[dict[str, Any]] = {
    "name": IDEMPOTENCY_KEY.decode().title(),
    "in": "header",
    "required": False,
    "description": "Calls with the same key are done once; later ones are given the first one's answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}


def _security(operation: Operation) -> dict[str, Any]:
    """Who may call. What is asked besides scopes is told in an extension."""
    if operation.guard is None:
        return {}
    if operation.is_public:
        return {"security": []}
    scopes = list(operation.guard.get("scopes", ()))
    schemes = [{"bearer": scopes}, {"api_key": scopes}, {"mutual_tls": scopes}]
    return {"security": schemes, "x-headgate-guard": dict(operation.guard)}


def _is_empty(schema: Schema, named: Mapping[str, Schema]) -> bool:
    """Whether it is an object that has no fields."""
    schema = resolved(schema, named)
    return schema.get("type") == "object" and not schema.get("properties") and not schema.get("additionalProperties")


def _is_nested(schema: Schema, named: Mapping[str, Schema], depth: int = 0) -> bool:
    """Whether a value is an object, or a list of them: a query has it as the text of JSON."""
    schema = resolved(schema, named)
    members = schema.get("anyOf", ())
    if any(_is_nested(each, named, depth) for each in members):
        return True
    if schema.get("type") == "array":
        items = [*schema.get("prefixItems", ()), schema.get("items")]
        return depth > 0 or any(_is_nested(each, named, depth + 1) for each in items if isinstance(each, Mapping))
    return schema.get("type") == "object" or "properties" in schema
