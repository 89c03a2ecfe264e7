"""Whether a contract keeps what an older one promised, and what exactly it does not.

    for change in compare(old.document, new.document):
        print(change.level, change.pointer, change.message)
    check(Orders.contract(), lock)          # the same against the lock, with gRPC's types

`breaking` fails callers or events that were served before, `dangerous` may surprise them, `safe` they do not notice.
Pointers lead into the document, but name methods, faults and subscriptions: `/methods/Place/guard`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headgate.service.contract import Contract
from headgate.service.lock import Lock, LockedMessage, update_lock
from headgate.service.schema_changes import ANSWERED, SENT, Change, Level, SchemaChanges
from headgate.service.types import plain

__all__ = ["Change", "Level", "check", "compare", "worst"]

_LEVELS: Final[tuple[Level, ...]] = ("breaking", "dangerous", "safe")
_SCALARS: Final = frozenset(("int64", "double", "bool", "string", "bytes"))
_PARAMETER: Final = re.compile(r"\{[^}:]+")
_NOTHING: Final[Mapping[str, Any]] = {}


def compare(old_document: Mapping[str, Any], new_document: Mapping[str, Any]) -> list[Change]:
    """What differs between two contracts' documents, the worst first."""
    old, new = plain(old_document), plain(new_document)
    schemas = SchemaChanges(old.get("schemas", {}), new.get("schemas", {}))
    found = list(_service(old, new))
    before, after = _by_name(old.get("methods")), _by_name(new.get("methods"))
    found += _come_and_gone(before, after, "/methods", "the method")
    for name, method in before.items():
        if name in after:
            found += _Methods(method, after[name], f"/methods/{name}", schemas).changes()
    heard, hears = _by_name(old.get("subscriptions")), _by_name(new.get("subscriptions"))
    found += _come_and_gone(heard, hears, "/subscriptions", "the subscription")
    for name, listening in heard.items():
        if name in hears:
            found += _subscription(listening, hears[name], f"/subscriptions/{name}", schemas)
    return _ordered([*found, *schemas.found])


def check(contract: Contract, lock: Lock) -> list[Change]:
    """What differs between a contract and its lock, the worst first. Raises what `update_lock` does."""
    now = update_lock(contract, lock)
    found = compare(lock.document, now.document)
    for path, message in lock.messages.items():
        if path in now.messages and now.messages[path].fields:
            found += _wire_types(path, message, now.messages[path])
        elif message.fields and "." not in path:
            found.append(Change("dangerous", f"/messages/{path}", "is no message of gRPC's any more"))
    for name, enum in lock.enums.items():
        given = now.enums[name].values
        renumbered = [each for each, number in enum.values.items() if each in given and given[each] != number]
        found += [Change("breaking", f"/enums/{name}/{each}", "has another number on gRPC now") for each in renumbered]
    return _ordered(found)


def worst(changes: Iterable[Change]) -> Level | None:
    """The worst level of all; None when nothing changed."""
    levels = {each.level for each in changes}
    return next((level for level in _LEVELS if level in levels), None)


def _ordered(changes: Iterable[Change]) -> list[Change]:
    return sorted(dict.fromkeys(changes), key=lambda each: (_LEVELS.index(each.level), each.pointer, each.message))


def _by_name(listed: Any) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in listed or ()}


def _service(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Change]:
    for name in ("service", "title"):
        if old.get(name) != new.get(name):
            yield Change("breaking", f"/{name}", f"is {new.get(name)} now, was {old.get(name)}: every path has it")
    if _version(new) < _version(old):
        yield Change("dangerous", "/version", f"goes back from {old.get('version')} to {new.get('version')}")


def _version(document: Mapping[str, Any]) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", str(document.get("version", "")))
    return tuple(int(each) for each in numbers.groups()) if numbers else ()


def _come_and_gone(old: Iterable[str], new: Iterable[str], where: str, what: str) -> list[Change]:
    gone = [Change("breaking", f"{where}/{name}", f"{what} was removed") for name in old if name not in set(new)]
    come = [Change("safe", f"{where}/{name}", f"{what} was added") for name in new if name not in set(old)]
    return [*gone, *come]


class _Methods:
    """Two versions of one method."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any], where: str, schemas: SchemaChanges) -> None:
        self._old = old
        self._new = new
        self._where = where
        self._schemas = schemas
        self._found: list[Change] = []

    def changes(self) -> list[Change]:
        """All that differs but types, which the schemas collect."""
        old, new = self._old, self._new
        if old["kind"] != new["kind"]:
            self._say("breaking", "kind", f"is {new['kind']} now, was {old['kind']}")
        self._schemas.compare(old["request"], new["request"], SENT, f"{self._where}/request")
        self._response()
        self._found += guard_changes(old.get("guard"), new.get("guard"), f"{self._where}/guard")
        self._idempotency()
        self._times()
        self._faults()
        self._binding()
        if new.get("deprecated") and not old.get("deprecated"):
            self._say("safe", "deprecated", "is deprecated now")
        return self._found

    def _say(self, level: Level, where: str, message: str) -> None:
        self._found.append(Change(level, f"{self._where}/{where}", message))

    def _response(self) -> None:
        old, new = self._old.get("response"), self._new.get("response")
        if old is not None and new is not None:
            self._schemas.compare(old, new, ANSWERED, f"{self._where}/response")
        elif old is not None:
            self._say("breaking", "response", "answers with nothing now")
        elif new is not None:
            self._say("safe", "response", "answers with something now")

    def _idempotency(self) -> None:
        old, new = self._old.get("idempotent", False), self._new.get("idempotent", False)
        if old == new:
            return
        if not new:
            self._say("breaking", "idempotent", "may not be called twice any more, as callers do that retry")
        elif new == "key" and old:
            self._say("dangerous", "idempotent", "is done once only for callers that send a key now")
        else:
            self._say("safe", "idempotent", "may be called twice now")

    def _times(self) -> None:
        old, new = self._old.get("timeout"), self._new.get("timeout")
        if old != new:
            shorter = new is not None and (old is None or new < old)
            self._say("dangerous" if shorter else "safe", "timeout", f"is {_seconds(new)} now, was {_seconds(old)}")
        old, new = self._old.get("cache"), self._new.get("cache")
        if old != new:
            longer = new is not None and (old is None or new > old)
            said = f"answers may be {_seconds(new)} old now" if new is not None else "answers are never old now"
            self._say("dangerous" if longer else "safe", "cache", said)

    def _faults(self) -> None:
        old = {each["code"]: each for each in self._old.get("faults", ())}
        new = {each["code"]: each for each in self._new.get("faults", ())}
        for code, fault in old.items():
            if code not in new:
                self._say("safe", f"faults/{code}", "is no longer declared")
                continue
            if fault["kind"] != new[code]["kind"]:
                self._say("breaking", f"faults/{code}", f"is {new[code]['kind']} now, was {fault['kind']}")
            before, after = fault.get("details"), new[code].get("details")
            if before is not None and after is not None:
                self._schemas.compare(before, after, ANSWERED, f"{self._where}/faults/{code}/details")
            elif before is not None:
                self._say("breaking", f"faults/{code}/details", "has no details any more")
        for code in (each for each in new if each not in old):
            self._say("dangerous", f"faults/{code}", f"callers may get this {new[code]['kind']} now")

    def _binding(self) -> None:
        old, new = self._old.get("http"), self._new.get("http")
        if old is None or new is None:
            if old is not None:
                self._say("breaking", "http", f"is no longer at {old['method']} {old['path']}")
            elif new is not None:
                self._say("safe", "http", f"is at {new['method']} {new['path']} as well now")
            return
        places = [f"{each['method']} {_PARAMETER.sub('{', each['path'])}" for each in (old, new)]
        if places[0] != places[1]:
            said = f"is at {new['method']} {new['path']} now, was at {old['method']} {old['path']}"
            self._say("breaking", "http", said)
        if bool(old["body"]) != bool(new["body"]):
            said = "the body is one parameter now" if new["body"] else "the body is an object of parameters now"
            self._say("breaking", "http/body", said)
        if old["status"] != new["status"]:
            self._say("dangerous", "http/status", f"success is {new['status']} now, was {old['status']}")


def guard_changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, where: str) -> list[Change]:
    """What is asked of callers in addition, which breaks them, and what no longer is, which may let in too many."""
    before, after = old or _NOTHING, new or _NOTHING
    was, now = bool(before.get("public")), bool(after.get("public"))
    if was != now:
        if now:
            return [Change("dangerous", where, "is open to everybody now")]
        return [Change("breaking", where, "asks who calls now")]
    found: list[Change] = []
    for name in ("scopes", "permissions", "policies"):
        asked, asks = before.get(name, ()), after.get(name, ())
        found += [Change("breaking", f"{where}/{name}", f"asks for {each} now") for each in asks if each not in asked]
        gone = [each for each in asked if each not in asks]
        found += [Change("dangerous", f"{where}/{name}", f"no longer asks for {each}") for each in gone]
    return found + _roles(frozenset(before.get("roles", ())), frozenset(after.get("roles", ())), f"{where}/roles")


def _roles(old: frozenset[str], new: frozenset[str], where: str) -> list[Change]:
    """Of roles one is enough: more of them let in more, unless there were none."""
    if old and not new:
        return [Change("dangerous", where, "no longer asks for a role")]
    if new and not old:
        return [Change("breaking", where, f"asks for one of the roles {', '.join(sorted(new))} now")]
    gone = [Change("breaking", where, f"the role {each} is not enough any more") for each in sorted(old - new)]
    return gone + [Change("dangerous", where, f"the role {each} is enough now") for each in sorted(new - old)]


def _subscription(
    old: Mapping[str, Any], new: Mapping[str, Any], where: str, schemas: SchemaChanges
) -> Iterable[Change]:
    schemas.compare(old["event"], new["event"], SENT, f"{where}/event")
    if old["subject"] != new["subject"]:
        yield Change("breaking", f"{where}/subject", f"hears {new['subject']} now, not {old['subject']}")
    if old["group"] != new["group"]:
        said = f"shares events with the group '{new['group']}' now, not '{old['group']}'"
        yield Change("dangerous", f"{where}/group", said)
    if new["retries"] < old["retries"]:
        yield Change("dangerous", f"{where}/retries", f"tries {new['retries']} times more now, was {old['retries']}")
    if old["dead_letter"] and not new["dead_letter"]:
        yield Change("dangerous", f"{where}/dead_letter", "events that fail are lost now")


def _wire_types(path: str, old: LockedMessage, new: LockedMessage) -> Iterable[Change]:
    """Fields whose bytes are read as something else now."""
    for name, said in old.fields.items():
        now = new.fields.get(name, said)
        before, after = said.rpartition(" = ")[0], now.rpartition(" = ")[0]
        if before != after:
            renamed = not ({before, after} & _SCALARS) and " " not in before + after and "google." not in before + after
            message = f"is {after} on gRPC now, was {before}"
            yield Change("dangerous" if renamed else "breaking", f"/messages/{path}/{name}", message)


def _seconds(value: float | None) -> str:
    return "without limit" if value is None else f"{value:g} s"
