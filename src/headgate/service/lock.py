"""What a service has promised so far: numbers that are never given twice, and the contract last released.

    lock = update_lock(Orders.contract(), read_lock(Path("contracts/orders.lock")))
    write_lock(lock, Path("contracts/orders.lock"))         # committed beside the service

A field keeps its number for ever, in whatever order a Struct has its fields; the number and the name of one that was
removed are kept back. The file is JSON with a line for each field, the same bytes for the same promises.

    InvalidArgument
    ├── invalid_lock        no lock, or one that gives a number twice; the pointer says where
    ├── foreign_lock        the lock of another service
    └── reserved_field      a field has the name of one that was removed
    NotFound
    └── no_lock             there is no such file
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.kit.controls.faults import InvalidArgument, NotFound, Violation
from headgate.service.contract import Contract
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.model import Enum, Message, OneOf, type_text
from headgate.service.proto.names import HIGHEST, Numbers
from headgate.service.types import plain, violations

FORMAT: Final = 1
"""Version of the file's own form."""

SUFFIX: Final = ".lock"


class LockedMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a message as `TYPE = NUMBER`, and the numbers of those that were removed."""

    fields: dict[str, str] = {}
    reserved: dict[str, int] = {}


class LockedEnum(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The values of an enum, and those that were removed."""

    values: dict[str, int] = {}
    reserved: dict[str, int] = {}


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module. `document` is the contract's, as it was released in `version`."""

    headgate: int
    service: str
    version: str
    messages: dict[str, LockedMessage] = {}
    enums: dict[str, LockedEnum] = {}
    document: dict[str, Any] = {}

    @property
    def numbers(self) -> dict[str, Numbers]:
        """All numbers, by the paths of messages and the names of enums."""
        found = {path: Numbers(_numbers(each), each.reserved) for path, each in self.messages.items()}
        return found | {name: Numbers(each.values, each.reserved) for name, each in self.enums.items()}

    def text(self) -> str:
        """What stands in the file."""
        return json.dumps(plain(self), indent=2, ensure_ascii=False) + "\n"


def update_lock(contract: Contract, old: Lock | None = None) -> Lock:
    """The lock of a contract that is released now. Raises InvalidArgument (`foreign_lock`, `reserved_field`)."""
    if old is not None and old.service != contract.name:
        raise InvalidArgument(
            f"this is the lock of {old.service}, not of {contract.name}",
            code="foreign_lock",
            hint="each service has a lock of its own",
        )
    schema = schema_of(contract, old.numbers if old is not None else None)
    messages = {each.path: _message(each) for each in schema.every_message()}
    enums = {each.name: _enum(each) for each in schema.enums}
    for path, was in (old.messages if old is not None else {}).items():
        now = messages.get(path, LockedMessage())
        messages[path] = LockedMessage(now.fields, _kept_back(_numbers(was), was.reserved, now.fields))
    for name, before in (old.enums if old is not None else {}).items():
        present = enums.get(name, LockedEnum())
        named = {each: number for each, number in before.values.items() if number}
        enums[name] = LockedEnum(present.values, _kept_back(named, before.reserved, present.values))
    document = msgspec.json.decode(msgspec.json.encode(plain(contract.document)))
    ordered = dict(sorted(messages.items())), dict(sorted(enums.items()))
    return Lock(FORMAT, contract.name, contract.version, *ordered, document)


def parse_lock(text: str | bytes) -> Lock:
    """The lock that a text is. Raises InvalidArgument (`invalid_lock`)."""
    try:
        read = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise _invalid(f"is no JSON: {error}", []) from error
    wrong = violations(Lock, read)
    if wrong:
        raise _invalid(f"is no lock: {wrong[0].pointer} {wrong[0].message}", wrong)
    lock = msgspec.convert(read, Lock)
    if lock.headgate != FORMAT:
        raise _invalid(f"is of form {lock.headgate}; form {FORMAT} is known here", [])
    for path, each in lock.messages.items():
        _once({name: _number(path, name, said) for name, said in each.fields.items()}, each.reserved, path)
    return lock


def read_lock(path: Path) -> Lock:
    """The lock in a file. Raises NotFound (`no_lock`) and InvalidArgument (`invalid_lock`)."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no lock {path.name}", code="no_lock", hint="release the contract once") from error
    try:
        return parse_lock(text)
    except InvalidArgument as error:
        told = f"{path.name}: {error.message}"
        raise InvalidArgument(told, code=error.code, hint=error.hint, violations=error.violations) from error


def write_lock(lock: Lock, path: Path) -> bool:
    """Write a lock where it stands, whole or not at all. Returns whether anything changed."""
    text = lock.text().encode()
    if path.exists() and path.read_bytes() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text)
    beside.replace(path)
    return True


def locks_in(folder: Path) -> dict[str, Lock]:
    """The locks of a folder by their services; none when there is no such folder."""
    found = (read_lock(path) for path in sorted(folder.glob(f"*{SUFFIX}")))
    return {lock.service: lock for lock in found}


def _message(message: Message) -> LockedMessage:
    fields: dict[str, tuple[int, str]] = {}
    for field in message.fields:
        if isinstance(field.shape, OneOf):
            fields |= {each.name: (each.number, each.message.path) for each in field.shape.members}
        else:
            fields[field.name] = (field.number, type_text(field.shape))
    ordered = sorted(fields.items(), key=lambda pair: pair[1])
    return LockedMessage({name: f"{kind} = {number}" for name, (number, kind) in ordered})


def _enum(enum: Enum) -> LockedEnum:
    return LockedEnum(dict(sorted(enum.values.items(), key=lambda pair: (pair[1], pair[0]))))


def _kept_back(given: Mapping[str, int], before: Mapping[str, int], now: Mapping[str, Any]) -> dict[str, int]:
    """Names and numbers of all that was removed, in the order of the numbers."""
    gone = {**before, **given}
    kept = ((name, number) for name, number in gone.items() if name not in now)
    return dict(sorted(kept, key=lambda pair: (pair[1], pair[0])))


def _numbers(message: LockedMessage) -> dict[str, int]:
    return {name: int(said.rpartition(" = ")[2]) for name, said in message.fields.items()}


def _number(path: str, name: str, said: str) -> int:
    digits = said.rpartition(" = ")[2]
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= HIGHEST and " = " in said):
        pointer = f"/messages/{path}/fields/{name}"
        raise _invalid(f"has no number at {pointer}", [Violation(pointer, "must be TYPE = NUMBER")])
    return int(digits)


def _once(given: Mapping[str, int], reserved: Mapping[str, int], path: str) -> None:
    owners: dict[int, str] = {}
    for name, number in (*reserved.items(), *given.items()):
        other = owners.setdefault(number, name)
        if other != name:
            raise _invalid(
                f"gives {number} in {path} to both {other} and {name}",
                [Violation(f"/messages/{path}", f"{number} is given twice")],
            )


def _invalid(message: str, wrong: list[Violation]) -> InvalidArgument:
    return InvalidArgument(
        f"the lock {message}", code="invalid_lock", hint="restore it from version control", violations=wrong
    )
