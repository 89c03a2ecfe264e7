"""What to type: a request made up from its schema, and the command that sends it.

example_of(document)        # headgate call hello/Hello '{"name": "Ada"}'
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final

REF: Final = "#/schemas/"
_DEEPEST: Final = 6
_TEXT: Final = "Ada"


def example_of(document: Mapping[str, Any]) -> str:
    """A call of the first public method of a contract's document, else of the first; "" without methods."""
    methods = [each for each in document.get("methods", ()) if each["kind"] in ("unary", "server_stream")]
    public = [each for each in methods if (each.get("guard") or {}).get("public")]
    if not methods:
        return ""
    method = (public or methods)[0]
    request = sample(method["request"], document.get("schemas", {}))
    arguments = ["headgate", "call", f"{document['service']}/{method['name']}"]
    if request != {}:
        arguments.append(json.dumps(request, ensure_ascii=False))
    return shlex.join(arguments)


def sample(schema: Any, named: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits a schema, with what must be there and no more."""
    if depth > _DEEPEST or not isinstance(schema, Mapping):
        return None
    if (reference := schema.get("$ref", "")).startswith(REF):
        return sample(named.get(reference.removeprefix(REF)), named, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum") or schema.get("examples"):
        return (schema.get("enum") or schema["examples"])[0]
    if any_of := schema.get("anyOf") or schema.get("oneOf"):
        return sample(any_of[0], named, depth + 1)
    return _of_type(schema, named, depth)


def _of_type(schema: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        wanted = schema.get("required", ())
        properties = schema.get("properties", {})
        return {name: sample(properties.get(name, {}), named, depth + 1) for name in wanted}
    if kind == "array":
        least = int(schema.get("minItems", 0))
        return [sample(schema.get("items", {}), named, depth + 1) for _ in range(min(least, 3))]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return max(1, int(least) + 1)
    if kind == "boolean":
        return True
    return _FORMATS.get(schema.get("format", ""), _TEXT) if kind == "string" else None


_FORMATS: Final = {
    "date-time": "2030-01-31T12:00:00Z",
    "date": "2030-01-31",
    "time": "12:00:00",
    "uuid": "7f2c1d4e-0000-4000-8000-000000000001",
    "decimal": "1.50",
    "duration": "PT1M",
    "byte": "",
}
