"""What a project may be called, and the names that follow from that.

names_of("shop-orders")     # Names("shop-orders", package="shop_orders", title="ShopOrders")
"""

import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.kit.controls.faults import InvalidArgument

LONGEST: Final = 40
"""Characters of a name: with the suffixes of objects in Kubernetes it stays below their 63."""

LONGEST_LINE: Final = 100
"""Characters of a description, so that the lines it is put in are not too long."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN: Final = frozenset(("headgate", "test", "tests", "src"))
_TYPES: Final = frozenset(
    {"App", "AsyncIterator", "Book", "Client", "Context", "Contract", "Details", "Fault", "Greeted", "Greeting"}
    | {"Guard", "Meta", "NeverGreeted", "NotFound", "Phrase", "Role", "Service", "Struct", "Topic", "Total"}
    | {"Unauthenticated", "UnknownLanguage"}
)
"""Names that generated modules use for something else."""


@dataclass(frozen=True, slots=True)
class Names:
    """One thing, as the wire, Python's modules and Python's classes call it."""

    name: str
    package: str
    title: str


def names_of(name: str) -> Names:
    """The names of a project or a service. Raises InvalidArgument (`invalid_project_name`)."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST:
        apart = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
        suggested = apart.lstrip("-0123456789")[:LONGEST].strip("-")
        hint = f"such as {suggested}" if _NAME.fullmatch(suggested) else "such as hello or shop-orders"
        raise _invalid(f"'{name[:100]}' is no name: small letters and digits, joined by '-', at most {LONGEST}", hint)
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        raise _invalid(f"'{name}' is a word of Python's", f"such as {name}-service")
    if package in sys.stdlib_module_names or package in _TAKEN or _is_installed(package):
        raise _invalid(f"'{name}' would hide the module '{package}'", f"such as {name}-service")
    title = "".join(part.capitalize() for part in name.split("-"))
    return Names(name, package, f"{title}Service" if title in _TYPES else title)


def sentence(text: str, whose: str) -> str:
    """One line as docstrings have it: a capital, a full stop. Raises InvalidArgument (`invalid_declaration`)."""
    text = text.strip()
    if len(text) > LONGEST_LINE or not text.isprintable() or '"' in text or "\\" in text:
        raise InvalidArgument(
            f"{whose} is one line of at most {LONGEST_LINE} characters, without quotes", code="invalid_declaration"
        )
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _is_installed(package: str) -> bool:
    """Whether somebody else's package has that name: tests and tools of the project would import the wrong one."""
    found = importlib.util.find_spec(package)
    return found is not None and "site-packages" in Path(found.origin or "").parts


def _invalid(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(message, code="invalid_project_name", hint=hint)
