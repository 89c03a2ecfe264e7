"""What a service promises, frozen: methods, types, faults, guards, bindings, subscriptions.

    contract = Orders.contract()
    contract.hash                       # "sha256:..."; the same for the same promises, on every machine
    contract.document                   # plain objects: what is published, compared, kept in a lock file

Wires, documents and clients are functions of it; nothing else is asked.

    InvalidArgument
    ├── invalid_service     two methods share a name or a binding; a service without methods and subscriptions
    ├── invalid_method      see headgate.service.method
    └── invalid_subscription
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.service.context import Context
from headgate.service.method import Method, hints_of, invalid, is_async, read
from headgate.service.service import Listening, Service
from headgate.service.types import bare, dec_hook, plain, schema_hook

FORMAT: Final = 1
"""Version of the document's own form."""

REF: Final = "#/schemas/{name}"


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """A method that events are handed to. `event` is the type of one; `context` the parameter given the call, or ""."""

    name: str
    event: Any
    listening: Listening
    function: Callable[..., Any]
    context: str = ""
    description: str = ""


@dataclass(frozen=True, eq=False)
class Contract:
    """See the module. `methods` are by their names on wires, in the order of the class."""

    owner: type[Service]
    name: str
    title: str
    version: str
    description: str
    metadata: Mapping[str, str]
    methods: Mapping[str, Method]
    subscriptions: tuple[Subscription, ...]

    @property
    def package(self) -> str:
        """The package of protocol buffers: the name, as far as identifiers go."""
        return self.name.replace("-", "_")

    @property
    def full_name(self) -> str:
        """`PACKAGE.SERVICE`, as gRPC calls it."""
        return f"{self.package}.{self.title}"

    def path(self, method: Method) -> str:
        """Where a method is called: `/PACKAGE.SERVICE/METHOD`."""
        return f"/{self.full_name}/{method.rpc}"

    @functools.cached_property
    def types(self) -> tuple[Any, ...]:
        """Every type that is sent, each once, in the order of the class."""
        found: list[Any] = []
        for method in self.methods.values():
            details = (getattr(fault, "Details", None) for fault in method.faults.values())
            for kind in (method.request, method.response, *details):
                if kind is not None and kind not in found:
                    found.append(kind)
        found += [each.event for each in self.subscriptions if each.event not in found]
        return tuple(found)

    @functools.cached_property
    def schemas(self) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
        """JSON Schema of each of `types`, by type, and of what these refer to, by name (`#/schemas/NAME`)."""
        made, named = _endings(*msgspec.json.schema_components(self.types, schema_hook=schema_hook, ref_template=REF))
        lifted = {name: _lift(schema, named) for name, schema in list(named.items())}
        return {kind: _lift(schema, named) for kind, schema in zip(self.types, made, strict=True)}, {**named, **lifted}

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The contract as plain objects, in a stable order."""
        schemas, named = self.schemas
        return {
            "headgate": FORMAT,
            "service": self.name,
            "title": self.title,
            "version": self.version,
            **({"description": self.description} if self.description else {}),
            **({"metadata": dict(sorted(self.metadata.items()))} if self.metadata else {}),
            "methods": [_method(each, schemas) for each in self.methods.values()],
            "subscriptions": [_subscription(each, schemas) for each in self.subscriptions],
            "schemas": dict(sorted(named.items())),
        }

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the document, `sha256:` and 64 hex digits."""
        text = json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=plain)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def contract_of(owner: type[Service]) -> Contract:
    """The contract of a class, read anew."""
    declared = owner.declared
    methods: dict[str, Method] = {}
    bindings: dict[str, str] = {}
    subscriptions: list[Subscription] = []
    for name, function, declaring in _declarations(owner):
        if hasattr(declaring, "__on__"):
            _same_shape(owner, name, function, declaring)
            subscriptions.append(_listening(owner, name, declaring))
            continue
        method = read(owner, name, declaring, declaring.__rpc__, declared.guard)
        other = methods.setdefault(method.rpc, method)
        if other is not method:
            raise _invalid(owner, f"{other.name} and {name} are both called {method.rpc} on wires")
        if method.binding is not None:
            other_name = bindings.setdefault(method.binding.place, name)
            if other_name != name:
                raise _invalid(owner, f"{other_name} and {name} are both bound to {method.binding.place}")
        _same_shape(owner, name, function, declaring)
    if not methods and not subscriptions:
        raise _invalid(owner, "has neither a method with @rpc nor a subscription with @on")
    return Contract(
        owner,
        declared.name,
        declared.title,
        declared.version,
        declared.description,
        declared.metadata,
        methods,
        tuple(subscriptions),
    )


def _declarations(owner: type[Service]) -> list[tuple[str, Any, Any]]:
    """Name, function and declaring function of each method and subscription, in the order of the classes."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for each in reversed(owner.__mro__):
        for name, value in vars(each).items():
            if hasattr(value, "__rpc__") or hasattr(value, "__on__"):
                found[name] = (name, value, value)
            elif name in found:
                found[name] = (name, value, found[name][2])
    return list(found.values())


def _same_shape(owner: type, name: str, function: Any, declaring: Any) -> None:
    """Hold an overriding method to the parameters that are declared."""
    if function is declaring:
        return
    if not callable(function):
        raise invalid(f"{owner.__name__}.{name}", "is declared a method above, and none here")
    ours, theirs = (inspect.signature(each).parameters.values() for each in (function, declaring))
    if [(each.name, each.kind) for each in ours] != [(each.name, each.kind) for each in theirs]:
        taken, told = (", ".join(each.name for each in parameters) for parameters in (ours, theirs))
        raise invalid(f"{owner.__name__}.{name}", f"takes {taken}, but is declared with {told}, in this form")


def _listening(owner: type[Service], name: str, function: Any) -> Subscription:
    told: Listening = function.__on__
    where = f"{owner.__name__}.{name}"
    hints = hints_of(where, function)
    context = next((each for each, hint in hints.items() if bare(hint) is Context), "")
    inputs = [each for each in list(inspect.signature(function).parameters)[1:] if each != context]
    if len(inputs) != 1 or inputs[0] not in hints:
        raise _bad_subscription(where, "takes one event, whose type is told")
    event = hints[inputs[0]]
    if told.type is not None and told.type != event:
        raise _bad_subscription(where, f"takes {event}, but its topic is of {told.type}")
    if not is_async(function):
        raise _bad_subscription(where, "is no `async def`")
    if told.retries < 0 or told.backoff < 0 or told.concurrency < 1:
        raise _bad_subscription(where, "retries and backoff are at least 0, concurrency at least 1")
    try:
        msgspec.json.Decoder(event, dec_hook=dec_hook)
    except TypeError as error:
        raise _bad_subscription(where, str(error)) from error
    return Subscription(name, event, told, function, context, inspect.cleandoc(function.__doc__ or ""))


def _method(method: Method, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    options, binding = method.options, method.binding
    document: dict[str, Any] = {
        "name": method.rpc,
        "kind": method.kind.value,
        "request": schemas[method.request],
        "response": None if method.response is None else schemas[method.response],
        "guard": None if method.guard is None else method.guard.document(),
        "idempotent": options.idempotent,
        "timeout": _seconds(options.timeout),
        "cache": _seconds(options.cache),
        "faults": [_fault(code, each, schemas) for code, each in sorted(method.faults.items())],
    }
    if binding is not None:
        document["http"] = {
            "method": binding.verb,
            "path": binding.path,
            "body": binding.body,
            "status": binding.status,
        }
    texts = {"summary": options.summary, "description": method.description, "tags": list(options.tags)}
    document |= {name: value for name, value in texts.items() if value}
    if options.examples:
        document["examples"] = plain(list(options.examples))
    if options.deprecated:
        document["deprecated"] = True
    return document


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def _fault(code: str, fault: type[Fault], schemas: Mapping[Any, Any]) -> dict[str, Any]:
    details = getattr(fault, "Details", None)
    own = "__doc__" in vars(fault)
    return {
        "code": code,
        "kind": fault.kind,
        **({"description": inspect.cleandoc(fault.__doc__)} if own and fault.__doc__ else {}),
        **({"details": schemas[details]} if details is not None else {}),
    }


def _subscription(each: Subscription, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """What publishers may rely on. How many events it takes at once and when it tries again is how it works inside."""
    told = each.listening
    return {
        "name": each.name,
        "subject": told.subject,
        "group": told.group,
        "event": schemas[each.event],
        "retries": told.retries,
        "dead_letter": told.dead_letter,
        **({"description": each.description} if each.description else {}),
    }


def _endings(made: Iterable[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The same with the shortest names that tell types apart, for msgspec names those that share one by their modules.

    Where a class is written is no promise: the `Details` of two faults are `SoldOut.Details` and `Closed.Details`.
    """
    names = {name: _ending(name, named) for name in named if "." in name}
    references = {REF.format(name=old): REF.format(name=new) for old, new in names.items()}

    def renamed(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: renamed(each) for key, each in schema.items()}
        if isinstance(schema, list):
            return [renamed(each) for each in schema]
        return references.get(schema, schema) if isinstance(schema, str) else schema

    return [renamed(each) for each in made], {names.get(name, name): renamed(each) for name, each in named.items()}


def _ending(name: str, named: Iterable[str]) -> str:
    parts = name.split(".")
    for count in range(2, len(parts)):
        ending = "." + ".".join(parts[-count:])
        if not any(each != name and each.endswith(ending) for each in named):
            return ending[1:]
    return name


def _lift(schema: Any, named: dict[str, Any]) -> Any:
    """A schema whose own definitions, as pydantic nests them, have joined the named ones."""
    if isinstance(schema, list):
        return [_lift(each, named) for each in schema]
    if not isinstance(schema, dict):
        return schema
    for name, inner in schema.get("$defs", {}).items():
        named.setdefault(name, {})
        named[name] = _lift(inner, named)
    found = {name: _lift(each, named) for name, each in schema.items() if name != "$defs"}
    reference = found.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found["$ref"] = REF.format(name=reference.removeprefix("#/$defs/"))
    return found


def _bad_subscription(where: str, message: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: {message}", code="invalid_subscription", hint="see headgate.service.service.on")


def _invalid(owner: type, message: str) -> InvalidArgument:
    return InvalidArgument(f"{owner.__name__}: {message}", code="invalid_service", hint="see headgate.service.service")
