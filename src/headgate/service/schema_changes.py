"""What a change of a JSON Schema means to those on the other side, by the direction in which values travel.

    changes = SchemaChanges(old["schemas"], new["schemas"])
    changes.compare(old_request, new_request, SENT, "/methods/Place/request")
    changes.found                       # [Change("breaking", "/schemas/NewOrder/properties/sku", "...")]

Who sends must be allowed at least what was allowed before: to narrow what callers send breaks them. Who reads must get
at most what there was before: to widen what the service answers breaks its readers. What several places refer to is
told once for each direction, under its name. Source: JSON Schema 2020-12, as far as msgspec and pydantic write it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Level = Literal["breaking", "dangerous", "safe"]
Direction = Literal["sent", "answered"]

SENT: Final[Direction] = "sent"
ANSWERED: Final[Direction] = "answered"

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT: Final = ("pattern", "format", "multipleOf", "contentEncoding", "uniqueItems")
_WHO: Final = {SENT: "in what callers send", ANSWERED: "in what the service sends"}
_ANYTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts. `pointer` is where, with methods, faults and events by their names."""

    level: Level
    pointer: str
    message: str


class SchemaChanges:
    """Collects in `found` what differs; `old` and `new` are the schemas that others refer to, by name."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str, str]] = set()
        self.found: list[Change] = []

    def compare(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        """Compare two schemas, and all that they refer to."""
        before, after = self._alternatives(old, self._old), self._alternatives(new, self._new)
        _widen_integers(before, after)
        before, after = _alone(before, after), _alone(after, before)
        gone = [name for name in before if name not in after]
        come = [name for name in after if name not in before]
        if gone and come and len(gone) == len(before):
            self._say("breaking", pointer, f"is {_listed(after)} now, was {_listed(before)}", direction)
            return
        for name in gone:
            self._narrowed(pointer, f"may no longer be {_shown(name)}", direction)
        for name in come:
            self._widened(pointer, f"may be {_shown(name)} now", direction)
        for name, (reference, schema) in before.items():
            if name in after:
                self._same_kind(reference, schema, *after[name], direction, pointer)

    def _same_kind(self, named: str, old: Any, renamed: str, new: Any, direction: Direction, pointer: str) -> None:
        if named or renamed:
            key = (named, renamed, direction)
            if key in self._seen:
                return
            self._seen.add(key)
            pointer = f"/schemas/{_escape(renamed)}" if renamed else pointer
        self._values(old, new, direction, pointer)
        self._limits(old, new, direction, pointer)
        self._fields(old, new, direction, pointer)
        self._items(old, new, direction, pointer)

    def _alternatives(self, schema: Any, named: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
        """What a value may be: name and schema of each kind, by what tells them apart."""
        if not isinstance(schema, Mapping):
            return {"anything": ("", _ANYTHING)}
        reference = str(schema.get("$ref", "")).rpartition("/")[2]
        if reference:
            return {
                kind: (name or reference, inner)
                for kind, (name, inner) in self._alternatives(named.get(reference, _ANYTHING), named).items()
            }
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if not choices:
            return dict.fromkeys(_kinds(schema), ("", schema))
        found: dict[str, tuple[str, Any]] = {}
        for each in choices:
            found |= self._alternatives(each, named)
        return found

    def _values(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        before, after = _constants(old), _constants(new)
        if before is None and after is None:
            return
        if before is None or after is None:
            tell = self._widened if after is None else self._narrowed
            tell(pointer, "may be any value now" if after is None else "may only be one of a few values now", direction)
            return
        for each in (value for value in before if value not in after):
            self._narrowed(pointer, f"may no longer be {each}", direction)
        for each in (value for value in after if value not in before):
            self._widened(pointer, f"may be {each} now", direction, "dangerous")

    def _limits(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        for name in (*_LOWER, *_UPPER, *_EXACT):
            before, after = old.get(name), new.get(name)
            if before == after:
                continue
            message = f"{name} is {_told(after)} now, was {_told(before)}"
            if before is not None and after is not None and name in _EXACT:
                self._say("breaking" if name == "format" else "dangerous", pointer, message, direction)
            elif before is None or (after is not None and (after > before) == (name in _LOWER)):
                self._narrowed(pointer, message, direction)
            else:
                self._widened(pointer, message, direction, "dangerous")

    def _fields(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        before, after = old.get("properties", _ANYTHING), new.get("properties", _ANYTHING)
        was, now = frozenset(old.get("required", ())), frozenset(new.get("required", ()))
        for name in before:
            place = f"{pointer}/properties/{_escape(name)}"
            if name not in after:
                self._removed(new, place, direction, required=name in was)
                continue
            if (name in was) != (name in now):
                tell = self._narrowed if name in now else self._widened
                tell(place, "is required now" if name in now else "may be left out now", direction)
            self._default(before[name], after[name], direction, place)
            self.compare(before[name], after[name], direction, place)
        for name in after:
            if name not in before:
                place = f"{pointer}/properties/{_escape(name)}"
                self._added(old, place, direction, required=name in now)
        self._openness(old, new, direction, pointer)

    def _removed(self, new: Any, place: str, direction: Direction, *, required: bool) -> None:
        if direction == SENT:
            closed = new.get("additionalProperties") is False
            said = "was removed, and is refused now" if closed else "was removed, and is ignored now"
            self._say("breaking" if closed else "dangerous", place, said, direction)
        else:
            self._say("breaking" if required else "dangerous", place, "was removed", direction)

    def _added(self, old: Any, place: str, direction: Direction, *, required: bool) -> None:
        if direction == SENT:
            said = "was added, and is required" if required else "was added, and may be left out"
            self._say("breaking" if required else "safe", place, said, direction)
        else:
            closed = old.get("additionalProperties") is False
            said = "was added, and those who read refuse what they do not know" if closed else "was added"
            self._say("breaking" if closed else "safe", place, said, direction)

    def _default(self, old: Any, new: Any, direction: Direction, place: str) -> None:
        if direction == SENT and "default" in old and "default" in new and old["default"] != new["default"]:
            message = f"means {_told(new['default'])} when left out, was {_told(old['default'])}"
            self._say("dangerous", place, message, direction)

    def _openness(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            self.compare(before, after, direction, f"{pointer}/additionalProperties")
        elif (before is False) != (after is False) and direction == SENT:
            closed = after is False
            said = "refuses fields it does not know now" if closed else "ignores fields it does not know now"
            self._say("dangerous" if closed else "safe", pointer, said, direction)

    def _items(self, old: Any, new: Any, direction: Direction, pointer: str) -> None:
        first, second = old.get("prefixItems", ()), new.get("prefixItems", ())
        for index, (before, after) in enumerate(zip(first, second, strict=False)):
            self.compare(before, after, direction, f"{pointer}/prefixItems/{index}")
        before, after = old.get("items"), new.get("items")
        if isinstance(before, Mapping) or isinstance(after, Mapping):
            self.compare(before, after, direction, f"{pointer}/items")

    def _narrowed(self, pointer: str, message: str, direction: Direction) -> None:
        self._say("breaking" if direction == SENT else "safe", pointer, message, direction)

    def _widened(self, pointer: str, message: str, direction: Direction, level: Level = "breaking") -> None:
        self._say("safe" if direction == SENT else level, pointer, message, direction)

    def _say(self, level: Level, pointer: str, message: str, direction: Direction) -> None:
        self.found.append(Change(level, pointer, f"{message} ({_WHO[direction]})"))


def _kinds(schema: Mapping[str, Any]) -> Iterable[str]:
    """What tells a schema from others in a union: its type, and of objects the tag."""
    told = schema.get("type")
    if told is None:
        values = _constants(schema)
        if values is None:
            return ("anything",)
        return dict.fromkeys(_type_of(json.loads(each)) for each in values)
    if isinstance(told, list):
        return tuple(told)
    return (f"object {_tag(schema)}".strip(),) if told == "object" else (str(told),)


def _tag(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    for name, each in schema.get("properties", _ANYTHING).items():
        values = _constants(each)
        if name in required and values is not None and len(values) == 1 and "default" not in each:
            return f"with {name} {values[0]}"
    return ""


def _constants(schema: Mapping[str, Any]) -> list[str] | None:
    """The values that are allowed, as JSON; None when there is no list of them."""
    if "const" in schema:
        return [json.dumps(schema["const"])]
    return [json.dumps(each) for each in schema["enum"]] if "enum" in schema else None


def _type_of(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return names.get(type(value), "anything")


def _widen_integers(before: dict[str, tuple[str, Any]], after: dict[str, tuple[str, Any]]) -> None:
    """Let an integer be one of the numbers, where the other side has these."""
    for one, other in ((before, after), (after, before)):
        if "integer" in one and "number" in other and "number" not in one and "integer" not in other:
            other["integer"] = one["integer"]


def _alone(kinds: dict[str, tuple[str, Any]], others: dict[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    """The kinds, without the tag of an object that nothing needs to be told apart from."""
    for each in (kinds, others):
        if sum(kind.startswith("object") for kind in each) != 1:
            return kinds
    return {"object" if kind.startswith("object") else kind: found for kind, found in kinds.items()}


def _shown(kind: str) -> str:
    return {"anything": "anything", "null": "null"}.get(kind, f"of type {kind}")


def _listed(kinds: Iterable[str]) -> str:
    return " or ".join(_shown(each) for each in kinds)


def _told(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
