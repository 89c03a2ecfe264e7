"""Schemas of a contract as types of Python: structs, enumerations, annotations with their constraints.

types = PythonTypes(service, Names())
types.annotation({"type": "integer", "minimum": 1})     # "Annotated[int, Meta(ge=1)]"
types.lines                                             # the classes, in an order that can be run
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from headgate.service.docs.described import Described
from headgate.service.docs.schemas import Schema, name_of, resolved
from headgate.service.docs.source import WIDTH, Names, camel, docstring, folded, literal, snake, wishes

_PLAIN: Final = {"integer": "int", "number": "float", "boolean": "bool", "null": "None", "string": "str"}
_FORMATS: Final = {
    "date-time": "Annotated[dt.datetime, Meta(tz=True)]",
    "date": "dt.date",
    "time": "dt.time",
    "duration": "dt.timedelta",
    "uuid": "UUID",
    "decimal": "Decimal",
}
_CONSTRAINTS: Final = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minProperties": "min_length",
    "maxProperties": "max_length",
}
UNSET: Final = "UNSET"


class PythonTypes:
    """See the module. `skipped` are named schemas that need no type: those of requests that became parameters."""

    def __init__(self, service: Described, names: Names, skipped: frozenset[str] = frozenset()) -> None:
        self._schemas = service.schemas
        self.names = {name: names.take(*wishes(name)) for name in service.schemas if name not in skipped}
        self.nested: set[str] = set()
        """Named schemas whose classes are written inside of another."""

    @property
    def lines(self) -> list[str]:
        """Enumerations first, as defaults name them, then records, then what is neither."""
        own = {name: self._schemas[name] for name in self.names if name not in self.nested}
        found: list[str] = []
        for wanted in (_is_enumeration, _is_record, _is_other):
            for name, schema in own.items():
                if wanted(schema):
                    found += ["", "", *self.written(name)]
        return found

    def written(self, name: str, indent: int = 0) -> list[str]:
        """The class of one named schema."""
        schema = self._schemas[name]
        if _is_enumeration(schema):
            return self._enumeration(self.names[name], schema, indent)
        if _is_record(schema):
            return self._struct(self.names[name], schema, indent)
        return [f"{self.names[name]}: TypeAlias = {literal(self.annotation(schema))}"]

    def annotation(self, schema: Schema) -> str:
        """The type of a value."""
        if name := name_of(schema):
            base = self.names.get(name, "Any")
            told = [f"description={literal(schema['description'])}"] if schema.get("description") else []
        else:
            base, told = self._base(schema), _meta(schema)
        return f"Annotated[{base}, Meta({', '.join(told)})]" if told else base

    def _base(self, schema: Schema) -> str:
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return f"Literal[{', '.join(literal(each) for each in values)}]"
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._union(schema[key])
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._union([{"type": each} for each in kind])
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self.annotation(values) if isinstance(values, Mapping) else 'Any'}]"
        if kind == "string":
            coded = schema.get("contentEncoding") == "base64"
            return "bytes" if coded else _FORMATS.get(str(schema.get("format")), "str")
        return _PLAIN.get(str(kind), "Any")

    def _union(self, members: Any) -> str:
        found: list[str] = []
        for each in members:
            found += [part for part in [self.annotation(each)] if part not in found]
        if "None" in found:
            found = [*(each for each in found if each != "None"), "None"]
        return " | ".join(found)

    def _array(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            return f"tuple[{', '.join(self.annotation(each) for each in schema['prefixItems'])}]"
        items = schema.get("items")
        inner = self.annotation(items) if isinstance(items, Mapping) else "Any"
        return f"{'set' if schema.get('uniqueItems') else 'list'}[{inner}]"

    def _enumeration(self, name: str, schema: Schema, indent: int) -> list[str]:
        space, names = " " * indent, Names()
        members = [f"{space}    {names.take(snake(str(value)).upper())} = {literal(value)}" for value in schema["enum"]]
        told = docstring(schema.get("description", ""), indent + 4)
        return [f"{space}class {name}(Enum):", *told, *([""] if told else []), *members]

    def _struct(self, name: str, schema: Schema, indent: int) -> list[str]:
        space = " " * indent
        tag, fields = self._fields(schema)
        options = [*tag]
        renamed = [each for each in fields if each.name != each.wire]
        by_rule = bool(renamed) and all(camel(each.name) == each.wire for each in fields)
        if by_rule:
            options.append('rename="camel"')
        if "prefixItems" in schema:
            options.append("array_like=True")
        if schema.get("additionalProperties") is False:
            options.append("forbid_unknown_fields=True")
        optional = [bool(each.default) for each in fields]
        if any(before and not after for before, after in pairwise(optional)):
            options.append("kw_only=True")
        told = docstring(schema.get("description", ""), indent + 4)
        body = [line for each in fields for line in each.lines(indent + 4, renamed=by_rule)]
        if not body and not told:
            body = [f"{space}    pass"]
        gap = [""] if told and body else []
        return [*folded(f"class {name}(", ["Struct", *options], "):", indent), *told, *gap, *body]

    def _fields(self, schema: Schema) -> "tuple[list[str], list[_Field]]":
        """What makes the tag of a struct, and its fields."""
        names, tag, found = Names(), [], []
        if "prefixItems" in schema:
            must = schema.get("minItems", 0)
            listed = [(f"field{number}", each, number <= must) for number, each in enumerate(schema["prefixItems"], 1)]
        else:
            required = schema.get("required", ())
            listed = [(name, each, name in required) for name, each in schema["properties"].items()]
        for position, (wire, each, needed) in enumerate(listed):
            if position == 0 and needed and set(each) == {"enum"} and len(each["enum"]) == 1:
                tag = [f"tag={literal(each['enum'][0])}"]
                tag += [f"tag_field={literal(wire)}"] if wire != "type" else []
                continue
            kind = self.annotation(each)
            default = "" if needed else self.default(each)
            kind = f"{kind} | UnsetType" if default == UNSET else kind
            found.append(_Field(names.take(snake(wire)), wire, kind, default))
        return tag, found

    def default(self, schema: Schema) -> str:
        """What an optional field is when nothing is said; `UNSET` where no value stands for that."""
        if "default" not in schema:
            return UNSET
        value, target = schema["default"], resolved(schema, self._schemas)
        if value is None or (isinstance(value, list | dict) and not value):
            return "set()" if value == [] and target.get("uniqueItems") else literal(value)
        if _is_enumeration(target) and name_of(schema):
            names = Names()
            members = {str(each): names.take(snake(str(each)).upper()) for each in target["enum"]}
            return f"{self.names[name_of(schema)]}.{members[str(value)]}" if str(value) in members else UNSET
        if isinstance(value, list | dict) or not isinstance(value, str):
            return literal(value) if not isinstance(value, list | dict) else UNSET
        return _default_text(self._base(target), value)


class _Field:
    """One field of a struct."""

    def __init__(self, name: str, wire: str, kind: str, default: str) -> None:
        self.name = name
        self.wire = wire
        self.kind = kind
        self.default = default

    def lines(self, indent: int, *, renamed: bool) -> list[str]:
        """How it is written; `renamed` when the struct's own rule gives the name on wires."""
        space, value = " " * indent, self.default
        if self.default == "set()":
            value = "field(default_factory=set)"
        if self.name != self.wire and not renamed:
            value = self._field()
        tail = f" = {value}" if value else ""
        line = f"{space}{self.name}: {self.kind}{tail}"
        if len(line) <= WIDTH or not self.kind.startswith("Annotated[") or not self.kind.endswith(")]"):
            return [line]
        base, meta = self.kind.removeprefix("Annotated[").removesuffix("]").split(", Meta(", 1)
        inner = f"{space}    {base}, Meta({meta}"
        inside = [inner] if len(inner) <= WIDTH else [f"{space}    {base},", f"{space}    Meta({meta},"]
        return [f"{space}{self.name}: Annotated[", *inside, f"{space}]{tail}"]

    def _field(self) -> str:
        told = [f"name={literal(self.wire)}"]
        if self.default in {"[]", "{}", "set()"}:
            told.append(f"default_factory={ {'[]': 'list', '{}': 'dict', 'set()': 'set'}[self.default] }")
        elif self.default:
            told.append(f"default={self.default}")
        return f"field({', '.join(told)})"


def _default_text(kind: str, value: str) -> str:
    """A default that JSON has as text."""
    if kind == "str" or kind.startswith("Literal["):
        return literal(value)
    if kind == "bytes":
        import base64

        return repr(base64.b64decode(value)).replace("'", '"') if '"' not in value else UNSET
    if kind in {"Decimal", "UUID"}:
        return f"{kind}({literal(value)})"
    if kind in {"dt.date", "dt.time"}:
        return f"{kind}.fromisoformat({literal(value)})"
    return UNSET


def _meta(schema: Schema) -> list[str]:
    fixed = "prefixItems" in schema
    told = [
        f"{name}={literal(schema[key])}"
        for key, name in _CONSTRAINTS.items()
        if key in schema and not (fixed and key in {"minItems", "maxItems"})
    ]
    if schema.get("description"):
        told.append(f"description={literal(schema['description'])}")
    return told


def _is_enumeration(schema: Schema) -> bool:
    return "enum" in schema and "type" not in schema and "title" in schema


def _is_record(schema: Schema) -> bool:
    if schema.get("type") == "array":
        return "prefixItems" in schema and "title" in schema
    return schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping)


def _is_other(schema: Schema) -> bool:
    return not _is_enumeration(schema) and not _is_record(schema)
