"""The `.proto` of a contract, for those who generate code from it.

    Path("orders.proto").write_text(proto_text(Orders.contract(), lock))

The same contract and lock give the same text. Comments are the docstrings. Source: Protocol Buffers, proto3.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from headgate.service.contract import Contract
from headgate.service.lock import Lock
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.model import (
    EMPTY,
    Enum,
    EnumRef,
    Field,
    MapOf,
    Message,
    MessageRef,
    Method,
    OneOf,
    Repeated,
    Scalar,
    Schema,
    Shape,
)

_FILES: Final = {
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
    "google.protobuf.Value": "google/protobuf/struct.proto",
    EMPTY: "google/protobuf/empty.proto",
}


def proto_text(contract: Contract, lock: Lock | None = None) -> str:
    """The `.proto`. Raises what `schema_of` does."""
    schema = schema_of(contract, lock.numbers if lock is not None else None)
    parts = [
        "// Made from the contract; change the service instead.",
        'syntax = "proto3";',
        f"package {schema.package};",
        "\n".join(f'import "{path}";' for path in _imports(schema)),
        _service(schema),
        *("\n".join(_message(each, schema, "")) for each in schema.messages),
        *("\n".join(_enum(each)) for each in schema.enums),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _imports(schema: Schema) -> list[str]:
    names = {EMPTY for method in schema.methods if method.request is None or method.response is None}
    for message in schema.every_message():
        names |= {name for field in message.fields for name in _scalars(field.shape)}
    return sorted(_FILES[name] for name in names if name in _FILES)


def _scalars(shape: Shape) -> Iterable[str]:
    inner = shape.item if isinstance(shape, Repeated | MapOf) else shape
    return [inner.name] if isinstance(inner, Scalar) else []


def _service(schema: Schema) -> str:
    lines = [*_comment(schema.description, ""), f"service {schema.service} {{"]
    for number, method in enumerate(schema.methods):
        lines += [""] if number and method.description else []
        lines += _comment(method.description, "  ")
        lines += _rpc(method, schema)
    return "\n".join([*lines, "}"])


def _rpc(method: Method, schema: Schema) -> list[str]:
    request = _entry(method.request, schema, streamed=method.streams_in)
    response = _entry(method.response, schema, streamed=method.streams_out)
    head = f"  rpc {method.name}({request}) returns ({response})"
    options = ["option deprecated = true;"] if method.deprecated else []
    options += [f"option idempotency_level = {method.idempotency};"] if method.idempotency else []
    if not options:
        return [f"{head};"]
    return [f"{head} {{", *(f"    {each}" for each in options), "  }"]


def _entry(message: Message | None, schema: Schema, *, streamed: bool) -> str:
    hidden = {each.name for each in schema.methods}  # a method hides a message of its name
    name = EMPTY if message is None else _named(message.path, schema, hidden)
    return f"stream {name}" if streamed else name


def _message(message: Message, schema: Schema, indent: str) -> list[str]:
    inside = f"{indent}  "
    lines = [*_comment(message.description, indent), f"{indent}message {message.name} {{"]
    lines += _reserved(message.reserved, inside)
    for each in message.nested:
        lines += [*_message(each, schema, inside), ""]
    hidden = {each.name for each in message.nested}
    for field in message.fields:
        lines += _comment(field.description, inside)
        lines += _field(field, schema, hidden, inside)
    return [*lines, f"{indent}}}"]


def _field(field: Field, schema: Schema, hidden: set[str], indent: str) -> list[str]:
    shape = field.shape
    if isinstance(shape, OneOf):
        members = [
            f"{indent}  {_named(each.message.path, schema, hidden)} {each.name} = {each.number};"
            for each in shape.members
        ]
        return [f"{indent}oneof {field.name} {{", *members, f"{indent}}}"]
    kind = _kind(shape, schema, hidden)
    option = "" if field.key == _json_name(field.name) else f" [json_name = {_quoted(field.key)}]"
    label = "optional " if field.is_optional else ""
    return [f"{indent}{label}{kind} {field.name} = {field.number}{option};"]


def _kind(shape: Shape, schema: Schema, hidden: set[str]) -> str:
    if isinstance(shape, Repeated):
        return f"repeated {_kind(shape.item, schema, hidden)}"
    if isinstance(shape, MapOf):
        return f"map<{shape.key.name}, {_kind(shape.item, schema, hidden)}>"
    if isinstance(shape, MessageRef):
        return _named(shape.message.path, schema, hidden)
    return _named(shape.enum.name, schema, hidden) if isinstance(shape, EnumRef) else getattr(shape, "name", "")


def _named(path: str, schema: Schema, hidden: set[str]) -> str:
    """A message or enum as it is called where messages of the names `hidden` are nested."""
    return f".{schema.package}.{path}" if path.partition(".")[0] in hidden else path


def _enum(enum: Enum) -> list[str]:
    lines = [*_comment(enum.description, ""), f"enum {enum.name} {{"]
    if len(set(enum.values.values())) < len(enum.values):
        lines.append("  option allow_alias = true;")
    lines += _reserved(enum.reserved, "  ")
    ordered = sorted(enum.values.items(), key=lambda pair: (pair[1] != 0, pair[1]))
    return [*lines, *(f"  {name} = {number};" for name, number in ordered), "}"]


def _reserved(reserved: Mapping[str, int], indent: str) -> list[str]:
    if not reserved:
        return []
    numbers = ", ".join(map(str, sorted(set(reserved.values()))))
    names = ", ".join(_quoted(name) for name in sorted(reserved))
    return [f"{indent}reserved {numbers};", f"{indent}reserved {names};"]


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}// {line}".rstrip() for line in text.splitlines()]


def _json_name(name: str) -> str:
    """What JSON calls a field whose `.proto` says nothing of it."""
    return re.sub(r"_+([a-z0-9A-Z]?)", lambda match: match[1].upper(), name)


def _quoted(text: str) -> str:
    safe = "".join(each if each.isprintable() and each not in '"\\' else _escaped(each) for each in text)
    return f'"{safe}"'


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode())
