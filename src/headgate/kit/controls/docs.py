"""Documentation is for debugging: elsewhere its pages are not there."""

import re
from collections.abc import Iterable
from typing import ClassVar, Final

from headgate.kit.controls.call import OVER_HTTP, Call, Control, Protocol
from headgate.kit.controls.faults import NotFound

_SLASHES: Final = re.compile("//+")


class DocsGate(Control):
    """Hides `paths` and everything below them, as if no such route were there.

    Several slashes count as one, as they do for some frameworks.
    """

    name: ClassVar[str] = "docs"
    protocols: ClassVar[frozenset[Protocol]] = OVER_HTTP

    def __init__(self, paths: Iterable[str]) -> None:
        self._exact = frozenset(path.rstrip("/") for path in paths)
        self._below = tuple(f"{path}/" for path in self._exact)

    def admit(self, call: Call) -> None:
        """Refuse what is hidden."""
        path = call.path
        if "//" in path:
            path = _SLASHES.sub("/", path)
        if path in self._exact or path.startswith(self._below):
            raise NotFound(f"there is nothing at {call.path}", code="path_not_found")
