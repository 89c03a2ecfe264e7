"""JSON Schemas of contracts, put where a document wants them.

    pool = Pool(describe(contracts))
    pool.components                          # schemas of all services, each name once
    pool.placed(service, schema)             # the same schema, referring into the components

Contracts refer to named schemas as `#/schemas/NAME`. Where two services mean different things by one name, both are
called `SERVICE.NAME`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from headgate.service.docs.described import Described

Schema: TypeAlias = Mapping[str, Any]

REF: Final = "#/schemas/"
_MOST_HOPS: Final = 32


def name_of(schema: Any) -> str:
    """The name a schema refers to, "" for one that is spelt out."""
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    return reference.removeprefix(REF) if isinstance(reference, str) and reference.startswith(REF) else ""


def resolved(schema: Schema, named: Mapping[str, Schema]) -> Schema:
    """What a schema refers to, itself when it is spelt out; {} for a name that is not there."""
    for _ in range(_MOST_HOPS):
        name = name_of(schema)
        if not name:
            return schema
        schema = named.get(name, {})
    return {}


def moved(schema: Any, place: Callable[[str], str]) -> Any:
    """A copy whose references are what `place` makes of their names."""
    if isinstance(schema, list | tuple):
        return [moved(each, place) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: moved(value, place) for key, value in schema.items()}
    if name := name_of(found):
        found["$ref"] = place(name)
    discriminator = found.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
        mapping = discriminator["mapping"].items()
        discriminator["mapping"] = {tag: place(name_of({"$ref": target})) for tag, target in mapping}
    return found


def names_in(schema: Any) -> Iterator[str]:
    """The names a schema refers to, not what these refer to."""
    if isinstance(schema, list | tuple):
        for each in schema:
            yield from names_in(each)
    elif isinstance(schema, Mapping):
        if name := name_of(schema):
            yield name
        for value in schema.values():
            yield from names_in(value)


def reached(schemas: Iterable[Schema], named: Mapping[str, Schema]) -> list[str]:
    """All names that schemas refer to, directly or through others, sorted."""
    found: set[str] = set()
    waiting = [name for schema in schemas for name in names_in(schema)]
    while waiting:
        name = waiting.pop()
        if name not in found and name in named:
            found.add(name)
            waiting.extend(names_in(named[name]))
    return sorted(found)


def hoisted(value: Any, named: dict[str, Schema]) -> Any:
    """A copy in which records that are spelt out have joined the named schemas, under their titles.

    Models of pydantic are spelt out in contracts wherever they are used.
    """
    if isinstance(value, list | tuple):
        return [hoisted(each, named) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: hoisted(each, named) for key, each in value.items()}
    name = found.get("title")
    if not isinstance(name, str) or not isinstance(found.get("properties"), dict) or found.get("type") != "object":
        return found
    return {"$ref": f"{REF}{name}"} if named.setdefault(name, found) == found else found


def bundled(schema: Schema, named: Mapping[str, Schema]) -> dict[str, Any]:
    """A schema that stands alone: spelt out, with what it refers to below `$defs`."""
    root = resolved(schema, named)
    found: dict[str, Any] = moved(root, _definition)
    if names := reached([root], named):
        found["$defs"] = {name: moved(named[name], _definition) for name in names}
    return found


def _bared(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bared(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _bared(value) for key, value in schema.items()}
    if isinstance(found.get("discriminator"), dict) and "propertyName" in found["discriminator"]:
        found["discriminator"] = found["discriminator"]["propertyName"]
    return found


def _definition(name: str) -> str:
    return f"#/$defs/{name}"


class Pool:
    """The named schemas of several services in one place, `at` in the document. See the module.

    With `bare_discriminators` these are the name of the property alone, as AsyncAPI wants it.
    """

    def __init__(
        self,
        services: Iterable["Described"],
        at: str = "#/components/schemas/",
        *,
        bare_discriminators: bool = False,
    ) -> None:
        self._at = at
        self._bare = bare_discriminators
        self._named = {service.full_name: service.schemas for service in services}
        self._apart = _ambiguous(self._named.values())

    @property
    def components(self) -> dict[str, Any]:
        """The schemas by their names in the document, sorted."""
        found = {
            self.name(service, name): self.placed(service, schema)
            for service, schemas in self._named.items()
            for name, schema in schemas.items()
        }
        return dict(sorted(found.items()))

    def name(self, service: str, name: str) -> str:
        """What a schema of a service, by its full name, is called in the document."""
        return f"{service}.{name}" if name in self._apart else name

    def placed(self, service: str, schema: Schema) -> dict[str, Any]:
        """The schema, referring into the document."""
        found: dict[str, Any] = moved(schema, self._placing(service))
        return _bared(found) if self._bare else found

    def _placing(self, service: str) -> Callable[[str], str]:
        return lambda name: f"{self._at}{self.name(service, name)}"


def _ambiguous(pools: Iterable[Mapping[str, Schema]]) -> set[str]:
    """Names that do not mean the same everywhere, be it by what they refer to."""
    seen: dict[str, Schema] = {}
    found: set[str] = set()
    everything = [(name, schema) for pool in pools for name, schema in pool.items()]
    for name, schema in everything:
        if seen.setdefault(name, schema) != schema:
            found.add(name)
    while True:
        more = {name for name, schema in everything if name not in found and not found.isdisjoint(names_in(schema))}
        if not more:
            return found
        found |= more
