"""A client in TypeScript: one module without dependencies, for browsers, Node and whatever else has `fetch`.

    Path("orders.ts").write_text(typescript_client(Orders.contract()))

    import { OrdersClient, OutOfStock } from "./orders.ts";

    const orders = new OrdersClient("https://api.example.com", { timeout: 5_000 });
    const order = await orders.place({ lines: [{ sku: "tea" }] }, { idempotencyKey: crypto.randomUUID() });
    for await (const event of orders.track({ number: order.id }, { signal })) console.log(event.state);

Messages are JSON, streams are server-sent events. Declared faults are classes; what has a default may be left out of
a request and stands in every answer, so a type that is used both ways is told as it is sent. Types are erasable: Node
runs the module as it is. What is the same for every service stands in `client.ts` beside this module.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from headgate.service.docs.described import Described, Operation, Source, described
from headgate.service.docs.problems import faults_of
from headgate.service.docs.schemas import Schema, name_of
from headgate.service.docs.source import WIDTH, Names, camel, folded, pascal, snake, wishes
from headgate.service.method import Kind

_RUNTIME: Final = Path(__file__).with_name("client.ts")
_PLAIN: Final = {"integer": "number", "number": "number", "boolean": "boolean", "null": "null", "string": "string"}
_RESERVED: Final = (
    *("Array", "AsyncGenerator", "AsyncIterable", "CallOptions", "ClientOptions", "Date", "Declared", "Error", "Fault"),
    *("FaultClass", "Headers", "Iterable", "KINDS", "Map", "Object", "Problem", "Promise", "Record", "Response"),
    *("AbortController", "AbortSignal", "ErrorOptions", "JSON", "ReturnType", "TextDecoder"),
    *("Running", "Set", "String", "Symbol", "Transport", "Violation", "events", "lines", "unknown"),
)
_TOLD: Final = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "pattern")
_CALLS: Final = {
    Kind.UNARY: "unary",
    Kind.SERVER_STREAM: "stream",
    Kind.CLIENT_STREAM: "gathered",
    Kind.BIDI: "both",
}


def typescript_client(contract: Source) -> str:
    """The source of the module. Raises InvalidArgument (`invalid_contract`)."""
    return _Module(described(contract)).text()


class _Module:
    def __init__(self, service: Described) -> None:
        self._service = service
        names = Names(_RESERVED)
        self._client = names.take(f"{pascal(service.title)}Client")
        self._names = {name: names.take(*wishes(name)) for name in service.schemas}
        self._faults = faults_of(service)
        self._fault_names = {code: names.take(pascal(code), f"{pascal(code)}Fault") for code in self._faults}

    def text(self) -> str:
        """All of it."""
        service = self._service
        about = [f"{service.title} {service.version}: {service.description or 'a service.'}", "", _HINT]
        parts = [
            _comment("\n".join(about)),
            *(self._declared(name, schema) for name, schema in service.schemas.items()),
            _RUNTIME.read_text().rstrip("\n").split("\n"),
            *(self._fault(code) for code in sorted(self._faults)),
            self._class(),
        ]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _declared(self, name: str, schema: Schema) -> list[str]:
        told, exported = _comment(schema.get("description", "")), self._names[name]
        properties = schema.get("properties")
        if schema.get("type") != "object" or not isinstance(properties, Mapping):
            return [*told, *_assigned(f"export type {exported} =", self._type(schema))]
        if not properties:
            return [*told, f"export type {exported} = Record<string, never>;"]
        return [*told, f"export interface {exported} {{", *self._fields(schema, 2), "}"]

    def _fields(self, schema: Schema, indent: int) -> list[str]:
        required, space = schema.get("required", ()), " " * indent
        found: list[str] = []
        for name, each in schema["properties"].items():
            found += _comment(_remarks(each), indent)
            found.append(f"{space}{_key(name)}{'' if name in required else '?'}: {self._type(each)};")
        return found

    def _type(self, schema: Schema) -> str:
        if name := name_of(schema):
            return self._names.get(name, "unknown")
        if "enum" in schema or "const" in schema:
            return " | ".join(json.dumps(each) for each in schema.get("enum", [schema.get("const")]))
        members = schema.get("anyOf", schema.get("oneOf"))
        if members is not None:
            return " | ".join(dict.fromkeys(self._type(each) for each in members))
        kind = schema.get("type")
        if isinstance(kind, list):
            return " | ".join(self._type({"type": each}) for each in kind)
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        return _PLAIN.get(str(kind), "unknown")

    def _array(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            fewest = schema.get("minItems", 0)
            types = [self._type(each) for each in schema["prefixItems"]]
            listed = [each if number < fewest else f"({each})?" for number, each in enumerate(types)]
            return f"[{', '.join(listed)}]"
        items = schema.get("items")
        return f"Array<{self._type(items) if isinstance(items, Mapping) else 'unknown'}>"

    def _object(self, schema: Schema) -> str:
        if schema.get("properties"):
            return f"{{ {' '.join(each.strip() for each in self._fields(schema, 0) if not each.startswith('/'))} }}"
        values = schema.get("additionalProperties")
        return f"Record<string, {self._type(values) if isinstance(values, Mapping) else 'unknown'}>"

    def _fault(self, code: str) -> list[str]:
        fault, name = self._faults[code], self._fault_names[code]
        head = f"export class {name} extends Fault {{"
        if fault.details is None:
            return [*_comment(fault.description), f"{head}}}"]
        return [*_comment(fault.description), head, f"  declare readonly details: {self._type(fault.details)};", "}"]

    def _class(self) -> list[str]:
        service = self._service
        told = f"Calls {service.title}. `url` is where the service is, such as `https://api.example.com`."
        found = [
            *_comment(told),
            f"export class {self._client} {{",
            "  readonly #transport: Transport;",
            "",
            "  constructor(url: string, options: ClientOptions = {}) {",
            "    this.#transport = new Transport(url, options);",
            "  }",
        ]
        for operation in service.operations:
            found += ["", *self._method(operation)]
        return [*found, "}"]

    def _method(self, operation: Operation) -> list[str]:
        kind = operation.kind
        request, answer = self._type(operation.request), "void"
        if operation.response is not None:
            answer = self._type(operation.response)
        if kind.streams_in:
            taken, given = f"messages: AsyncIterable<{request}> | Iterable<{request}>", "messages"
        else:
            optional = not self._service.required(operation.request) and bool(name_of(operation.request))
            taken, given = f"request: {request}{' = {}' if optional else ''}", "request"
        head = f"  {camel(snake(operation.name))}({taken}, options: CallOptions = {{}})"
        head += f": {'AsyncGenerator' if kind.streams_out else 'Promise'}<{answer}> {{"
        faults = [f"{_key(each.code)}: {self._fault_names[each.code]}" for each in operation.faults]
        declared = f"{{ {', '.join(faults)} }}" if faults else "{}"
        told = operation.description or operation.summary
        remark = f"{told}\n\n@deprecated" if operation.deprecated else told
        passed = [json.dumps(operation.path), given, declared, "options"]
        call = folded(f"return this.#transport.{_CALLS[kind]}(", passed, ");", 4)
        return [*_comment(remark, 2), *_wrapped(head, taken), *call, "  }"]


_HINT: Final = "Generated from the contract of the service: change that, and generate it again."


def _wrapped(head: str, taken: str) -> list[str]:
    if len(head) <= WIDTH:
        return [head]
    begin, _, end = head.partition(f"({taken}, options: CallOptions = {{}})")
    return [f"{begin}(", f"    {taken},", "    options: CallOptions = {},", f"  ){end}"]


def _assigned(head: str, value: str) -> list[str]:
    if len(head) + len(value) < WIDTH or " | " not in value:
        return [f"{head} {value};"]
    parts = value.split(" | ")
    return [head, *(f"  | {part}{';' if number == len(parts) else ''}" for number, part in enumerate(parts, 1))]


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _remarks(schema: Schema) -> str:
    """What a type of TypeScript cannot say of a value."""
    told = [schema["description"]] if schema.get("description") else []
    if schema.get("format") or schema.get("contentEncoding"):
        told.append(f"As {schema.get('format') or schema['contentEncoding']}.")
    told += [f"{key}: {json.dumps(schema[key])}." for key in _TOLD if key in schema]
    if "default" in schema:
        told.append(f"Default: {json.dumps(schema['default'])}.")
    return " ".join(told)


def _comment(text: Any, indent: int = 0) -> list[str]:
    space = " " * indent
    lines = str(text or "").replace("*/", "* /").strip().splitlines()
    if not lines:
        return []
    if len(lines) == 1:
        return [f"{space}/** {lines[0]} */"]
    return [f"{space}/**", *(f"{space} * {line}".rstrip() for line in lines), f"{space} */"]
