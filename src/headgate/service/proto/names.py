"""Names as protocol buffers spell them, and numbers that are never given twice.

    snake("userId")                         # user_id
    Numbers({"id": 1}, {"old": 2}).next_to(["id", "name"])      # {"id": 1, "name": 3}

Both are the same on every machine: nothing here depends on the order of sets or on what was asked before.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args, get_origin

from headgate.kit.controls.faults import InvalidArgument

HIGHEST: Final = 2**29 - 1
"""The highest number a field may have."""

_TAKEN: Final = range(19_000, 20_000)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a message's fields or an enum's values by name, and those of what was removed."""

    given: Mapping[str, int] = field(default_factory=dict)
    reserved: Mapping[str, int] = field(default_factory=dict)

    def next_to(self, names: Iterable[str], where: str = "") -> dict[str, int]:
        """A number for each of `names`: its own, else the next that nobody ever had.

        Raises InvalidArgument (`reserved_field`) for a name that was removed.
        """
        found: dict[str, int] = {}
        last = max((0, *self.given.values(), *self.reserved.values()))
        for name in names:
            if name in self.reserved:
                raise InvalidArgument(
                    f"{where} has '{name}' again, which was removed",
                    code="reserved_field",
                    hint="name it otherwise: those who still know the old one would take this for it",
                )
            if name in self.given:
                found[name] = self.given[name]
                continue
            last += 1
            if last in _TAKEN:
                last = _TAKEN.stop
            found[name] = last
        return found


NONE: Final = Numbers()


def snake(name: str) -> str:
    """A name in snake case, of letters, digits and underscores."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    clean = re.sub(r"[^A-Za-z0-9_]", "_", apart).lower()
    return clean if re.match(r"[a-z_]", clean) else f"n{clean}"


def camel(name: str) -> str:
    """A name in snake case as the name of a message."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def shouting(name: str) -> str:
    """A name as the name of an enum's value."""
    return snake(name).upper()


def identifier(name: str, whose: str) -> str:
    """The name, if it is one in protocol buffers, with points or without. Raises InvalidArgument (`no_proto_name`)."""
    if not all(_IDENTIFIER.fullmatch(part) for part in name.split(".")):
        raise InvalidArgument(
            f"{whose}: '{name}' is no name in protocol buffers",
            code="no_proto_name",
            hint="letters of ASCII, digits and '_', and no part of it begins with a digit",
        )
    return name


def name_of(kind: Any) -> str:
    """What a class is called: `Page[Item]` is PageOfItem."""
    origin = get_origin(kind)
    if origin is None:
        return re.sub(r"\W", "", getattr(kind, "__name__", str(kind)))
    return f"{name_of(origin)}Of{'And'.join(camel(name_of(each)) for each in get_args(kind))}"
