"""A typed client in Python: the interface of a service as a module of its own, for `headgate.service.client`.

    Path("orders.py").write_text(python_client(Orders.contract()))

    from headgate.service.client import Client
    from orders import NewOrder, Orders

    async with Client(Orders, registry=registry) as orders:
        await orders.place(NewOrder("tea"))

The module has the types, faults and topics of the service, and its class without what the methods do: its contract
promises the same. Guards are told as far as they have names; policies are the service's own.
"""

import builtins
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from headgate.kit.controls.faults import KINDS
from headgate.service.docs.described import Described, FaultTold, Operation, Source, described
from headgate.service.docs.problems import faults_of
from headgate.service.docs.python_types import UNSET, PythonTypes
from headgate.service.docs.schemas import name_of, names_in
from headgate.service.docs.source import WIDTH, Names, docstring, folded, literal, pascal, snake
from headgate.service.method import camel
from headgate.service.topic import matches

_RESERVED: Final = (
    *("AUTHENTICATED", "Annotated", "Any", "AsyncIterator", "Decimal", "Enum", "Final", "Literal", "Meta", "Service"),
    *("Struct", "Topic", "TypeAlias", "UNSET", "UUID", "UnsetType", "dt", "field", "require", "rpc"),
)
_FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "collections.abc": ("AsyncIterator",),
    "decimal": ("Decimal",),
    "enum": ("Enum",),
    "typing": ("Annotated", "Any", "Final", "Literal", "TypeAlias"),
    "uuid": ("UUID",),
    "msgspec": ("UNSET", "UnsetType"),
    "headgate.kit.controls.faults": tuple(sorted(each.__name__ for each in KINDS.values())),
    "headgate.service": ("AUTHENTICATED", "Meta", "Service", "Struct", "Topic", "field", "require", "rpc"),
}
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_STANDARD: Final = frozenset(("collections.abc", "decimal", "enum", "typing", "uuid"))


def python_client(contract: Source) -> str:
    """The source of the module. Raises InvalidArgument (`invalid_contract`)."""
    return _Module(described(contract)).text()


class _Module:
    def __init__(self, service: Described) -> None:
        self._service = service
        names = Names((*_RESERVED, *(each.__name__ for each in KINDS.values())))
        self._title = names.take(service.title)
        self._spread = frozenset(
            name_of(each.request) for each in service.operations if _is_spread(service, each)
        ) - _still_needed(service)
        self._types = PythonTypes(service, names, self._spread)
        self._faults = faults_of(service)
        self._fault_names = {code: names.take(pascal(code), f"{pascal(code)}Fault") for code in self._faults}
        self._nest()
        self._names = names
        self._guard = _usual_guard(service)
        self._lint: set[str] = set()

    def text(self) -> str:
        """All of it."""
        service = self._service
        body = [*self._types.lines, *self._fault_lines(), *self._topic_lines(), *self._class_lines()]
        about = service.description.partition("\n")[0] or f"The service {service.name}."
        head = docstring(f"{service.title} {service.version}: {about}\n\n{_HINT}", 0)
        imports = _imports("\n".join(body))
        lint = ["", f"# ruff: noqa: {', '.join(sorted(self._lint))}"] if self._lint else []
        return "\n".join([*head, *lint, "", "from __future__ import annotations", *imports, *body, ""])

    def _nest(self) -> None:
        """Let faults hold the types of their details that nothing else needs."""
        used = Counter(name for _, schema in _everything(self._service) for name in names_in(schema))
        for fault in self._faults.values():
            name = name_of(fault.details)
            if name.rpartition(".")[2] == "Details" and used[name] == _uses(self._service, fault):
                self._types.nested.add(name)
                self._types.names[name] = "Details"

    def _fault_lines(self) -> list[str]:
        found: list[str] = []
        for code, fault in sorted(self._faults.items()):
            base = KINDS[fault.kind].__name__ if fault.kind in KINDS else "Unknown"
            told = docstring(fault.description, 4)
            found += ["", "", f"class {self._fault_names[code]}({base}):", *told, *([""] if told else [])]
            found.append(f"    default_code = {literal(code)}")
            name = name_of(fault.details)
            if name in self._types.nested:
                found += ["", *self._types.written(name, 4)]
            elif fault.details is not None:
                found += ["", f"    Details = {self._types.annotation(fault.details)}"]
        return found

    def _topic_lines(self) -> list[str]:
        """The topics that events can be published on: those of subscriptions without wildcards."""
        found: dict[str, str] = {}
        for each in self._service.subscriptions:
            if name_of(each.event) and each.subject not in found and matches(each.subject, each.subject):
                if "*" in each.subject or ">" in each.subject:
                    continue
                name = self._names.take(snake(each.subject).upper())
                kind = self._types.annotation(each.event)
                found[each.subject] = f"{name}: Final = Topic({literal(each.subject)}, {kind})"
        return ["", "", *found.values()] if found else []

    def _class_lines(self) -> list[str]:
        service = self._service
        told = [f"name={literal(service.name)}", f"version={literal(service.version)}", *_guarded(self._guard)]
        metadata = service.document.get("metadata")
        told += [f"metadata={literal(dict(metadata))}"] if metadata else []
        found = ["", "", *folded(f"class {self._title}(", ["Service", *told], "):", 0)]
        found += docstring(service.description, 4)
        for operation in service.operations:
            found += ["", *self._method(operation)]
        return found

    def _method(self, operation: Operation) -> list[str]:
        name = snake(operation.name)
        streams = operation.kind.streams_out
        answer = "None" if operation.response is None else self._types.annotation(operation.response)
        answer = f"AsyncIterator[{answer}]" if streams else answer
        options = self._options(operation, name)
        decorated = folded("@rpc(", options, ")", 4) if options else ["    @rpc"]
        head = f"{'def' if streams else 'async def'} {name}("
        return [
            *decorated,
            *folded(head, ["self", *self._parameters(operation)], f") -> {answer}:", 4),
            *docstring(operation.description, 8),
            "        raise NotImplementedError",
        ]

    def _parameters(self, operation: Operation) -> list[str]:
        service, request = self._service, operation.request
        if operation.kind.streams_in:
            return [f"messages: AsyncIterator[{self._types.annotation(request)}]"]
        if not _is_spread(service, operation):
            return [f"{_named(operation)}: {self._types.annotation(request)}"]
        required, optional = service.required(request), False
        found: list[str] = []
        for name, schema in service.fields(request).items():
            kind = self._types.annotation(schema)
            self._lint |= {"A002"} if hasattr(builtins, name) else set()
            if name in required:
                if optional and "*" not in found:
                    found.insert(0, "*")
                found.append(f"{name}: {kind}")
                continue
            optional = True
            default = self._types.default(schema)
            self._lint |= {"B006"} if default in {"[]", "{}"} else set()
            found.append(f"{name}: {f'{kind} | UnsetType' if default == UNSET else kind} = {default}")
        return found

    def _options(self, operation: Operation, name: str) -> list[str]:
        found = [] if camel(name) == operation.name else [f"name={literal(operation.name)}"]
        if (bound := operation.http) is not None:
            found.append(f"{bound.verb.lower()}={literal(bound.path)}")
            found += [f"status={bound.status}"] if bound.status != 200 else []
        if operation.guard != self._guard:
            found += _guarded(operation.guard)
        told: Mapping[str, Any] = {
            "timeout": operation.timeout,
            "cache": operation.cache,
            "idempotent": operation.idempotent,
            "deprecated": operation.deprecated,
            "summary": operation.summary,
            "tags": list(operation.tags),
        }
        found += [f"{key}={literal(value)}" for key, value in told.items() if value]
        if operation.faults:
            found.append(f"raises=[{', '.join(self._fault_names[each.code] for each in operation.faults)}]")
        return found


_HINT: Final = "Generated from the contract of the service: change that, and generate it again."


def _is_spread(service: Described, operation: Operation) -> bool:
    """Whether the fields of a request are the method's parameters."""
    name = name_of(operation.request)
    schema = service.schemas.get(name, {})
    if operation.kind.streams_in or schema.get("type") != "object":
        return False
    if name == "Empty" and not schema.get("properties"):
        return True
    made = name.rpartition(".")[2] == f"{operation.name}Request" and schema.get("additionalProperties") is False
    return made and all(snake(each) == each and each != "self" for each in schema["properties"])


def _still_needed(service: Described) -> frozenset[str]:
    """Names that something else than one request refers to."""
    requests = [operation.request for operation in service.operations if _is_spread(service, operation)]
    others = [schema for _, schema in _everything(service) if not any(schema is each for each in requests)]
    return frozenset(name for schema in others for name in names_in(schema))


def _everything(service: Described) -> list[tuple[str, Any]]:
    """Every schema of the contract, with the name of what it belongs to."""
    found: list[tuple[str, Any]] = list(service.schemas.items())
    for operation in service.operations:
        found += [(operation.name, operation.request), (operation.name, operation.response)]
        found += [(fault.code, fault.details) for fault in operation.faults]
    return found + [(each.name, each.event) for each in service.subscriptions]


def _uses(service: Described, fault: FaultTold) -> int:
    """How often methods declare a fault."""
    return sum(each.code == fault.code for operation in service.operations for each in operation.faults)


def _named(operation: Operation) -> str:
    """What the one parameter of a method is called."""
    if operation.http is not None and operation.http.body:
        return operation.http.body
    return snake(name_of(operation.request).rpartition(".")[2]) or "request"


def _usual_guard(service: Described) -> Mapping[str, Any] | None:
    """The guard that most methods have."""
    guards = [operation.guard for operation in service.operations]
    return max(guards, key=guards.count) if guards else None


def _guarded(guard: Mapping[str, Any] | None) -> list[str]:
    if guard is None:
        return []
    if guard.get("public"):
        return ["public=True"]
    named = [(key, guard[key]) for key in ("roles", "scopes", "permissions") if guard.get(key)]
    asked = [f"{key}={{{', '.join(map(literal, values))}}}" for key, values in named]
    return [f"guard=require({', '.join(asked)})" if asked else "guard=AUTHENTICATED"]


def _imports(body: str) -> list[str]:
    """The lines that import what the body names."""
    words = set(_WORD.findall(body))
    standard = ["import datetime as dt"] if "dt" in words else []
    third: list[str] = []
    own: list[str] = []
    for module, names in _FROM.items():
        used = sorted(words.intersection(names), key=_as_ruff_sorts)
        group = standard if module in _STANDARD else third if module == "msgspec" else own
        group += _import(module, used) if used else []
    return [line for group in (standard, third, own) if group for line in ("", *group)]


def _import(module: str, names: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    return [line] if len(line) <= WIDTH else folded(f"from {module} import (", names, ")", 0)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)
