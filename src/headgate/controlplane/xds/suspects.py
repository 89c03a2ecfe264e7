"""Finding out whom a NACK is about, when it does not say: the resources are tried again in groups.

Pure. An error text may name the culprits (`name: reason`, as Envoy's clusters and listeners do), merely
mention names, or say nothing. A group that is accepted leaves the guilt with the group it was split from,
so that no response is ever repeated after a NACK, and a lone culprit is not tried again.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Suspects:
    """Names under suspicion, in groups; the last group is tried first."""

    groups: list[set[str]] = field(default_factory=list)
    message: str = ""
    nonce: str = ""
    proof: bool = False
    """Whether the last group but one holds a culprit if the last is accepted."""

    def __contains__(self, name: str) -> bool:
        return any(name in group for group in self.groups)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def turn(self, ready: Collection[str]) -> Collection[str]:
        """The group to try now: the last of which something is ready."""
        return next((group for group in reversed(self.groups) if not group.isdisjoint(ready)), ())

    def refused(self, names: Iterable[str], message: str, nonce: str) -> None:
        """These were refused together, and nobody knows because of whom."""
        everyone = set(names)
        self.forget(everyone)
        mentioned = {name for name in everyone if mentions(message, name)}
        self.message, self.nonce = message, nonce
        self._split(everyone, mentioned if mentioned != everyone else set())

    def accepted(self, names: Collection[str]) -> str | None:
        """These were accepted; return the name that is thereby found guilty, if one is."""
        if not self.groups:
            return None
        proof = self.proof and len(self.groups) > 1 and self.groups[-2].isdisjoint(names)
        tried = self.groups[-1]
        self.forget(names)
        if tried or not proof:
            self.proof = proof and bool(tried)
            return None
        guilty = self.groups.pop()
        if len(guilty) > 1:
            self._split(guilty, set())
            return None
        return guilty.pop()

    def forget(self, names: Iterable[str]) -> None:
        """These are to be judged afresh."""
        if not self.groups:
            return
        gone = set(names)
        if any(not group.isdisjoint(gone) for group in self.groups[-2:]):
            self.proof = False
        for group in self.groups:
            group.difference_update(gone)
        self.groups = [group for group in self.groups if group]

    def keep(self, names: Collection[str]) -> None:
        """Only these are still of interest."""
        self.forget({name for group in self.groups for name in group if name not in names})

    def _split(self, names: set[str], mentioned: set[str]) -> None:
        ordered = sorted(names)
        second = mentioned or set(ordered[(len(ordered) + 1) // 2 :])
        self.groups += [second, names - second]
        self.proof = True


def accuses(message: str, name: str) -> bool:
    """Whether an error text gives `name` and the reason: `name: reason`."""
    return re.search(rf"{_BEFORE}{re.escape(name)}: ", message) is not None


def mentions(message: str, name: str) -> bool:
    """Whether an error text has `name` in it, as a word of its own."""
    return re.search(rf"{_BEFORE}{re.escape(name)}(?![\w/-]|\.\w)", message) is not None


_BEFORE = r"(?<![\w./-])"
