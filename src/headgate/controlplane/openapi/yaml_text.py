"""YAML to plain values, without YAML's surprises.

The YAML 1.2 core schema limited to JSON's types: `no` and `on` are words, dates are text, the keys of
status codes are text, a key written twice is an error, and what aliases expand to is bounded.
Values are built from libyaml's events, so neither depth nor aliases cost recursion or memory.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import pointer

MAX_VALUES: Final = 5_000_000
"""Values in a document at most, each alias counted as what it stands for."""

MAX_DEPTH: Final = 200
"""Containers inside one another at most: libyaml takes ever longer for each further one."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED: Final = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}
_MERGE: Final = "<<"
_ABSENT: Final = object()


def parse_yaml(text: str) -> Any:
    """The values of the one document in `text`.

    Raises InvalidArgument with code `invalid_yaml`, `duplicate_key` or `document_too_large`; violations
    carry the JSON pointer, messages the line.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _invalid(f"{error.problem or error.context or 'malformed'}{where}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise _invalid(str(error).splitlines()[0] if str(error) else "malformed") from None
    if builder.root is _ABSENT:
        raise InvalidArgument("The document is empty.", code="empty_document", hint="Send an OpenAPI document.")
    return builder.root


def _invalid(reason: str, at: str = "") -> InvalidArgument:
    violations = [Violation(at, reason)] if at else []
    return InvalidArgument(f"The document is not YAML: {reason}.", code="invalid_yaml", violations=violations)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet. `weight` is how many values it expands to."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    line: int
    key: Any = _ABSENT
    merges: list[dict[str, Any]] = field(default_factory=list)
    merging: bool = False
    weight: int = 1


class _Builder:
    """Takes events, keeps the containers that are open, and gives the root."""

    def __init__(self) -> None:
        self.root: Any = _ABSENT
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._by_event: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._start_mapping,
            yaml.SequenceStartEvent: self._start_sequence,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
        }

    def take(self, event: yaml.Event) -> None:
        handler = self._by_event.get(type(event))
        if handler is not None:
            handler(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not _ABSENT:
            raise _invalid(f"a second document starts at line {_line(event)}; send one at a time")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._awaits_key():
            merging = event.value == _MERGE and event.implicit[0]
            self._set_key(event.value, _line(event), merging=merging)
            if event.anchor:
                self._anchors[event.anchor] = (event.value, 1)
            return
        value = self._resolve(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, 1)

    def _alias(self, event: yaml.AliasEvent) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            inside = any(container.anchor == event.anchor for container in self._open)
            why = "stands inside what it names" if inside else "names nothing"
            raise self._wrong(f"the alias '*{event.anchor}' at line {_line(event)} {why}")
        value, weight = known
        if self._awaits_key():
            if not isinstance(value, str):
                raise self._wrong(f"the key at line {_line(event)} is not text")
            self._set_key(value, _line(event), merging=False)
        else:
            self._put(value, weight)

    def _start_mapping(self, event: yaml.MappingStartEvent) -> None:
        self._start({}, event, "map")

    def _start_sequence(self, event: yaml.SequenceStartEvent) -> None:
        self._start([], event, "seq")

    def _start(self, value: dict[str, Any] | list[Any], event: yaml.CollectionStartEvent, tag: str) -> None:
        line = _line(event)
        if self._awaits_key():
            raise self._wrong(f"the key at line {line} is not text")
        if event.tag not in (None, "!", _TAG + tag):
            raise self._wrong(f"the tag '{event.tag}' at line {line} has no meaning in JSON")
        if len(self._open) >= MAX_DEPTH:
            raise _invalid(f"it is nested more than {MAX_DEPTH} deep at line {line}")
        self._anchors.pop(event.anchor or "", None)
        self._open.append(_Open(value, event.anchor, line))

    def _end(self, _event: yaml.Event) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for merged in done.merges:
                for key, value in merged.items():
                    done.value.setdefault(key, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.weight)
        self._put(done.value, done.weight)

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is _ABSENT

    def _set_key(self, key: str, line: int, *, merging: bool) -> None:
        here = self._open[-1]
        if not merging and key in here.value:
            raise InvalidArgument(
                f"The key '{key}' stands twice in one object, again at line {line}.",
                code="duplicate_key",
                violations=[Violation(self._pointer(key), "stands twice", "Keep one of the two.")],
            )
        here.key, here.merging = key, merging

    def _put(self, value: Any, weight: int) -> None:
        if not self._open:
            self.root = value
            return
        here = self._open[-1]
        here.weight += weight
        if here.weight > MAX_VALUES:
            raise InvalidArgument(
                f"The document's aliases expand to more than {MAX_VALUES:,} values.", code="document_too_large"
            )
        if isinstance(here.value, list):
            here.value.append(value)
        elif here.merging:
            here.merges.extend(self._merged(value))
            here.key, here.merging = _ABSENT, False
        else:
            here.value[here.key] = value
            here.key = _ABSENT

    def _merged(self, value: Any) -> Iterator[dict[str, Any]]:
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise self._wrong("'<<' merges objects only")
            yield part

    def _resolve(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if event.tag in (None, "!"):
            return _plain(text) if event.implicit[0] else text
        if event.tag == _TAG + "str":
            return text
        value = _plain(text) if event.tag.startswith(_TAG) else _ABSENT
        if type(value) not in _TYPES.get(event.tag.removeprefix(_TAG), ()):
            raise self._wrong(f"the tag '{event.tag}' at line {_line(event)} does not fit a JSON value")
        return value

    def _wrong(self, reason: str) -> InvalidArgument:
        return _invalid(reason, self._pointer())

    def _pointer(self, *more: str) -> str:
        steps: list[str | int] = []
        for container in self._open:
            if isinstance(container.value, list):
                steps.append(len(container.value))
            elif container.key is not _ABSENT:
                steps.append(container.key)
        return pointer([*steps, *more])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _plain(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else text
