"""What a contract's document tells, read back: all that documents and generated clients are made from.

    for service in describe([Orders.contract(), fetched_document]):
        for operation in service.operations:
            operation.path, operation.kind, operation.request, operation.faults

A contract of this process and the document of one somewhere else say the same, so both are taken.

    InvalidArgument
    └── invalid_contract    what was given is no contract's document, or one of a newer form
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.contract import FORMAT, Contract
from headgate.service.docs.schemas import Schema, hoisted, resolved
from headgate.service.method import WITH_BODY, Kind

Source: TypeAlias = Contract | Mapping[str, Any]
"""A contract, or its document."""

_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)(:path)?\}")


@dataclass(frozen=True, slots=True)
class FaultTold:
    """A fault that callers must expect. `details` is the schema of what it tells programs, None for nothing."""

    code: str
    kind: str
    description: str = ""
    details: Schema | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """Where an operation is found over HTTP besides its own path; as `headgate.service.method.Binding`."""

    verb: str
    path: str
    body: str
    status: int

    @property
    def template(self) -> str:
        """The path with plain parameters: `/files/{rest}`."""
        return _PARAMETER.sub(r"{\1}", self.path)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(match[1] for match in _PARAMETER.finditer(self.path))

    @property
    def rest(self) -> str:
        """The parameter that takes all that follows, "" for none."""
        return next((match[1] for match in _PARAMETER.finditer(self.path) if match[2]), "")

    @property
    def has_body(self) -> bool:
        """Whether what is not in the path is in the body."""
        return self.verb in WITH_BODY


@dataclass(frozen=True, slots=True)
class Operation:
    """One method. `path` is where it is called on every wire, `request` and `response` the schemas of one message."""

    name: str
    path: str
    kind: Kind
    request: Schema
    response: Schema | None
    guard: Mapping[str, Any] | None
    """As `Guard.document` tells it; None when nothing is said."""
    idempotent: bool | str
    timeout: float | None
    cache: float | None
    faults: tuple[FaultTold, ...]
    http: Bound | None
    summary: str
    description: str
    tags: tuple[str, ...]
    examples: tuple[Any, ...]
    deprecated: bool

    @property
    def is_public(self) -> bool:
        """Whether everybody may call it."""
        return self.guard is not None and bool(self.guard.get("public"))

    @property
    def is_guarded(self) -> bool:
        """Whether callers must be known."""
        return self.guard is not None and not self.is_public

    @property
    def title(self) -> str:
        """One line on what it does: its summary, or the first line of its description."""
        return self.summary or self.description.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Listens:
    """A subscription: the subject, or the pattern of subjects, and the schema of one event."""

    name: str
    subject: str
    group: str
    event: Schema
    retries: int
    dead_letter: bool
    description: str


@dataclass(frozen=True, slots=True)
class Described:
    """One service. `schemas` are those that others refer to by name (`#/schemas/NAME`)."""

    name: str
    title: str
    version: str
    description: str
    operations: tuple[Operation, ...]
    subscriptions: tuple[Listens, ...]
    schemas: Mapping[str, Schema]
    document: Mapping[str, Any]

    @property
    def package(self) -> str:
        """The package of protocol buffers."""
        return self.name.replace("-", "_")

    @property
    def full_name(self) -> str:
        """`PACKAGE.SERVICE`."""
        return f"{self.package}.{self.title}"

    def fields(self, schema: Schema) -> dict[str, Schema]:
        """Schemas of the fields of an object, by name; {} for what is no object."""
        properties = resolved(schema, self.schemas).get("properties")
        return dict(properties) if isinstance(properties, Mapping) else {}

    def required(self, schema: Schema) -> frozenset[str]:
        """Names of the fields that an object must have."""
        return frozenset(resolved(schema, self.schemas).get("required", ()))


def describe(sources: Iterable[Source]) -> tuple[Described, ...]:
    """What each contract tells. Raises InvalidArgument (`invalid_contract`)."""
    return tuple(described(each) for each in sources)


def described(source: Source) -> Described:
    """What one contract tells. Raises InvalidArgument (`invalid_contract`)."""
    document = source.document if isinstance(source, Contract) else source
    if not isinstance(document, Mapping) or document.get("headgate") != FORMAT:
        raise _invalid(f"a contract's document says 'headgate': {FORMAT}", "/headgate")
    full_name = f"{str(document.get('service')).replace('-', '_')}.{document.get('title')}"
    try:
        schemas = _named(document["schemas"])
        methods = [hoisted(each, schemas) for each in document["methods"]]
        subscriptions = [hoisted(each, schemas) for each in document["subscriptions"]]
        return Described(
            document["service"],
            document["title"],
            document["version"],
            document.get("description", ""),
            tuple(_operation(each, full_name) for each in methods),
            tuple(_subscription(each) for each in subscriptions),
            dict(sorted(schemas.items())),
            document,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _invalid(f"the document of {full_name} is broken: {error!r}", "") from error


def _named(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """The named schemas, with records that are spelt out within them named too."""
    found = dict(schemas)
    for name, schema in schemas.items():
        found[name] = {key: hoisted(each, found) for key, each in schema.items()}
    return found


def _operation(told: Mapping[str, Any], full_name: str) -> Operation:
    http = told.get("http")
    return Operation(
        name=told["name"],
        path=f"/{full_name}/{told['name']}",
        kind=Kind(told["kind"]),
        request=told["request"],
        response=told["response"],
        guard=told["guard"],
        idempotent=told["idempotent"],
        timeout=told["timeout"],
        cache=told["cache"],
        faults=tuple(_fault(each) for each in told["faults"]),
        http=None if http is None else Bound(http["method"], http["path"], http["body"], http["status"]),
        summary=told.get("summary", ""),
        description=told.get("description", ""),
        tags=tuple(told.get("tags", ())),
        examples=tuple(told.get("examples", ())),
        deprecated=bool(told.get("deprecated")),
    )


def _fault(told: Mapping[str, Any]) -> FaultTold:
    return FaultTold(told["code"], told["kind"], told.get("description", ""), told.get("details"))


def _subscription(told: Mapping[str, Any]) -> Listens:
    return Listens(
        told["name"],
        told["subject"],
        told["group"],
        told["event"],
        told["retries"],
        told["dead_letter"],
        told.get("description", ""),
    )


def _invalid(message: str, pointer: str) -> InvalidArgument:
    where = f" (at {pointer})" if pointer else ""
    return InvalidArgument(
        f"{message}{where}", code="invalid_contract", hint="take Contract.document, or /contract.json"
    )
