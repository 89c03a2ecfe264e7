"""Methods as tools for language models, as the Model Context Protocol describes them.

    mcp_tools([Orders.contract()])      # [{"name": "orders_place", "inputSchema": {...}, "annotations": {...}}, ...]

A tool takes what its method is sent and gives what it answers. What MCP has no place for is put in an object: an
answer that is none is `{"result": ...}`, a stream `{"items": [...], "truncated": false}`, and one that goes in
`{"messages": [...]}`. Hints follow from the verb of the binding and from `idempotent`: what is not known to be harmless
is not said to be.

    InvalidArgument
    └── duplicate_tool    two methods would be one tool

Source: MCP 2026-07-28, server features, tools.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.docs.described import Described, Operation, Source, describe
from headgate.service.docs.schemas import Schema, bundled, moved, reached, resolved

MOST_ITEMS: Final = 100
"""Messages of a stream that one result has."""

LONGEST_NAME: Final = 128

_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_REPLACING: Final = frozenset(("PUT", "PATCH", "DELETE"))
_SAFELY_REPEATED: Final = frozenset(("GET", "PUT", "DELETE"))


@dataclass(frozen=True, slots=True)
class Tool:
    """One method as a tool. `within` is the field its request is in, "" for none; `wrapped` says that of its answer."""

    service: str
    rpc: str
    document: dict[str, Any]
    within: str
    wrapped: bool

    @property
    def name(self) -> str:
        """What it is called by."""
        name: str = self.document["name"]
        return name


def mcp_tools(contracts: Iterable[Source], *, most_items: int = MOST_ITEMS) -> list[dict[str, Any]]:
    """The definitions, in the order of the contracts. Raises InvalidArgument (`duplicate_tool`, `invalid_contract`)."""
    return [tool.document for tool in tools_of(contracts, most_items=most_items)]


def tools_of(contracts: Iterable[Source], *, most_items: int = MOST_ITEMS) -> tuple[Tool, ...]:
    """The tools, each with the method it stands for. Raises as `mcp_tools` does."""
    found: dict[str, Tool] = {}
    for service in describe(contracts):
        for operation in service.operations:
            tool = _tool(service, operation, most_items)
            other = found.setdefault(tool.name, tool)
            if other is not tool:
                raise InvalidArgument(
                    f"{other.service}.{other.rpc} and {tool.service}.{tool.rpc} are both the tool '{tool.name}'",
                    code="duplicate_tool",
                    hint="rename one with @rpc(name=...)",
                )
    return tuple(found.values())


def tool_name(service: Described, operation: Operation) -> str:
    """`orders_place_order`, which every client takes: letters, digits and `_`."""
    words = _WORD.sub("_", operation.name).lower()
    return f"{service.package.replace('.', '_')}_{words}"[:LONGEST_NAME]


def _tool(service: Described, operation: Operation, most_items: int) -> Tool:
    output, wrapped = _output(service, operation, most_items)
    taken, within = _input(service, operation)
    document = {
        "name": tool_name(service, operation),
        "title": operation.title or f"{service.title} {operation.name}",
        "description": _told(service, operation),
        "inputSchema": taken,
        **({"outputSchema": output} if output is not None else {}),
        "annotations": _hints(operation),
    }
    return Tool(service.name, operation.name, document, within, wrapped)


def _told(service: Described, operation: Operation) -> str:
    texts = [operation.description or operation.title or f"{operation.name} of {service.title}."]
    texts += [f"Fails with `{fault.code}`: {fault.description}" for fault in operation.faults if fault.description]
    if operation.deprecated:
        texts.append("Deprecated.")
    return "\n\n".join(texts)


def _input(service: Described, operation: Operation) -> tuple[dict[str, Any], str]:
    """The schema of what goes in, and the field of it that the request is in."""
    if operation.kind.streams_in:
        return _around(service, "messages", operation.request, {"type": "array"}), "messages"
    schema = bundled(operation.request, service.schemas)
    if schema.get("type") == "object":
        return schema, ""
    return _around(service, "request", operation.request, None), "request"


def _output(service: Described, operation: Operation, most_items: int) -> tuple[dict[str, Any] | None, bool]:
    """The schema of an answer, and whether the answer itself is only part of it."""
    if operation.kind.streams_out:
        schema = _around(
            service, "items", operation.response or {"type": "null"}, {"type": "array", "maxItems": most_items}
        )
        schema["properties"]["truncated"] = {"type": "boolean", "description": "Whether there was more."}
        schema["required"].append("truncated")
        return schema, True
    if operation.response is None:
        return None, False
    if resolved(operation.response, service.schemas).get("type") == "object":
        return bundled(operation.response, service.schemas), False
    return _around(service, "result", operation.response, None), True


def _around(service: Described, name: str, schema: Schema, array: Mapping[str, Any] | None) -> dict[str, Any]:
    """The schema of an object that has one field, a value or an array of values."""
    placed = moved(schema, lambda each: f"#/$defs/{each}")
    found: dict[str, Any] = {
        "type": "object",
        "properties": {name: placed if array is None else {**array, "items": placed}},
        "required": [name],
    }
    if names := reached([schema], service.schemas):
        found["$defs"] = {each: moved(service.schemas[each], lambda inner: f"#/$defs/{inner}") for each in names}
    return found


def _hints(operation: Operation) -> dict[str, Any]:
    verb = operation.http.verb if operation.http is not None else ""
    reads = verb == "GET" or bool(operation.cache)
    hints: dict[str, Any] = {
        "readOnlyHint": reads,
        "idempotentHint": reads or bool(operation.idempotent) or verb in _SAFELY_REPEATED,
    }
    if reads or verb in _REPLACING:
        hints["destructiveHint"] = not reads
    return hints
