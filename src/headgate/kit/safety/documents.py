"""Texts inside JSON documents: found with their pointers (RFC 6901), judged together, put back.

Every string value counts, or those at chosen pointers, in which `*` stands for any member or index. Names of members
count when they read like prose: a map from a caller's words to something has them as names.

    document = await checked(gate, {"messages": [{"text": "hello"}]}, "input", ["/messages/*/text"])
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Side

_LONGEST_NAME: Final = 40
_HIDDEN: Final = "\0hidden"
_NAME: Final = "\0name"


class MalformedError(ValueError):
    """What should be JSON is not."""


def parse(body: bytes) -> Any:
    """The document in `body`. Members that a later one of the same name hides are kept, to be judged too.

    Raises MalformedError.
    """
    try:
        return json.loads(body, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        members[_HIDDEN] = [value for name, value in pairs if members[name] is not value]
    return members


def render(document: Any) -> bytes:
    """The document as JSON, without what was hidden in it."""
    return json.dumps(_visible(document), ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _visible(each) for name, each in value.items() if name != _HIDDEN}
    return [_visible(each) for each in value] if isinstance(value, list) else value


async def checked(gate: Gate, document: Any, side: Side, pointers: Sequence[str] = ()) -> Any:
    """`document` as it may be passed on: itself, or a copy in which texts were redacted.

    Raises as `Gate.check_all`.
    """
    found = texts(document, pointers)
    redacted = await gate.check_all(found, side) if found else {}
    return replaced(document, redacted) if redacted else document


def texts(document: Any, pointers: Sequence[str] = ()) -> dict[str, str]:
    """The texts of a document by their pointers. What is no value has a pointer that goes on after a NUL."""
    patterns = [pointer.split("/")[1:] for pointer in pointers]
    return {
        pointer: text
        for pointer, text in _texts(document, "")
        if text and (not patterns or _HIDDEN in pointer or any(_matches(pointer, pattern) for pattern in patterns))
    }


def _matches(pointer: str, pattern: Sequence[str]) -> bool:
    """Whether the pointer is the pattern or below it."""
    names = pointer.partition("\0")[0].split("/")[1:]
    return len(names) >= len(pattern) and all(
        wanted in {"*", given} for given, wanted in zip(names, pattern, strict=False)
    )


def _texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == _HIDDEN:
                yield from _texts(each, pointer + _HIDDEN)
                continue
            below = f"{pointer}/{_escaped(name)}"
            if _is_prose(name):
                yield below + _NAME, name
            yield from _texts(each, below)


def replaced(document: Any, new: Mapping[str, str]) -> Any:
    """A copy of `document` with the texts at these pointers replaced."""
    return _replaced(document, "", new.get)


def _replaced(value: Any, pointer: str, new: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return new(pointer, value)
    if isinstance(value, list):
        return [_replaced(each, f"{pointer}/{index}", new) for index, each in enumerate(value)]
    if isinstance(value, dict):
        return {
            new(f"{pointer}/{_escaped(name)}{_NAME}", name): _replaced(each, f"{pointer}/{_escaped(name)}", new)
            for name, each in value.items()
        }
    return value


def _is_prose(name: str) -> bool:
    return len(name) > _LONGEST_NAME or any(character.isspace() for character in name)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
