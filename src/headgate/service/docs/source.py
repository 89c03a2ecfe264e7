"""Text of generated modules: names, literals, docstrings, lists that fold when a line would be too long.

    snake("PlaceOrder")                                   # place_order
    folded("@rpc(", ['get="/orders"'], ")", indent=4)     # on one line, or an item a line with a comma behind each

Folded as `ruff format` folds with lines of 120 characters, so that what is generated stays as it is.
"""

import json
import keyword
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

WIDTH: Final = 120

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNFIT: Final = re.compile(r"\W+")


class Names:
    """Gives each thing a name that nothing else in the module has."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, *wishes: str) -> str:
        """The first wish that is free; else the last with a number."""
        for wish in wishes:
            if wish not in self._taken:
                self._taken.add(wish)
                return wish
        number = 2
        while f"{wishes[-1]}{number}" in self._taken:
            number += 1
        return self.take(f"{wishes[-1]}{number}")


def wishes(schema_name: str) -> list[str]:
    """What a named schema may be called: its last part, and with those before it."""
    parts = [pascal(part) for part in schema_name.split(".") if part]
    return ["".join(parts[-count:]) for count in range(1, len(parts) + 1)] or ["Schema"]


def snake(name: str) -> str:
    """`howMany` as `how_many`: an identifier of Python."""
    found = _UNFIT.sub("_", _WORDS.sub("_", name)).strip("_").lower() or "value"
    if found[0].isdigit():
        found = f"value_{found}"
    return f"{found}_" if keyword.iskeyword(found) else found


def camel(name: str) -> str:
    """`how_many` as `howMany`."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def pascal(name: str) -> str:
    """`out_of_stock` as `OutOfStock`: an identifier."""
    found = "".join(part[:1].upper() + part[1:] for part in _UNFIT.sub("_", name).split("_"))
    return found if found and not found[0].isdigit() and not keyword.iskeyword(found) else f"Type{found}"


def literal(value: Any) -> str:
    """A plain value as Python writes it, text in double quotes where that needs no escapes."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return repr(value) if '"' in value and "'" not in value else text.replace("\x7f", "\\x7f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(each)}' for key, each in value.items())}}}"
    return repr(value)


def docstring(text: str, indent: int) -> list[str]:
    """The lines of a docstring, [] for no text."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if not lines:
        return []
    space = " " * indent
    lines = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in lines]
    if lines[-1].endswith('"'):
        lines[-1] = f'{lines[-1][:-1]}\\"'
    if len(lines) == 1:
        return [f'{space}"""{lines[0]}"""']
    return [f'{space}"""{lines[0]}', *(f"{space}{line}" if line else "" for line in lines[1:]), f'{space}"""']


def folded(head: str, items: Sequence[str], tail: str, indent: int) -> list[str]:
    """`head`, items and `tail` on one line, or with each item on its own."""
    space = " " * indent
    line = f"{space}{head}{', '.join(items)}{tail}"
    if len(line) <= WIDTH or not items:
        return [line]
    return [f"{space}{head}", *(f"{space}    {each}," for each in items), f"{space}{tail}"]
