"""The page of errors: the faults found in the source, and their stable codes.

Codes are read from the syntax tree, as constants given to `code=` of a fault, or to the parameter `code` of a
function that makes one.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.kit.asgi.inputs import HTTP_CODES
from headgate.kit.asgi.problems import STATUS, STATUS_OF_CODE
from headgate.kit.controls.faults import Fault
from headgate.kit.reference.markdown import GENERATED, table

_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, order=True, slots=True)
class CodeUse:
    """A stable error code, the fault that carries it, and the room that raises it."""

    code: str
    fault: str
    room: str


def errors_page(package: Path) -> str:
    """The page of all errors that the package in this directory can answer with."""
    kinds = table(
        ("fault", "default code", "HTTP status", "gRPC status", "meaning"),
        [
            (
                f"`{kind.__name__}`",
                f"`{kind.default_code}`",
                str(STATUS[kind.kind]),
                f"{number} `{kind.kind}`",
                (kind.__doc__ or "").strip(),
            )
            for number, kind in enumerate(fault_kinds(), 1)
        ],
    )
    return f"""{GENERATED}
# Errors

Every error the API answers with is a problem document (RFC 9457, `application/problem+json`):

| member | |
| --- | --- |
| `type` | `urn:headgate:problem:CODE` |
| `title` | the code in words |
| `status` | the HTTP status |
| `detail` | what is wrong, in a sentence |
| `instance` | the path that was asked for |
| `code` | stable; programs may match it |
| `request_id` | finds the request in the log; also in the header `X-Request-ID` |
| `hint` | what to do next, when there is something to say |
| `errors` | for refused input: `pointer` (RFC 6901, into the document sent), `message`, `hint` |
| `refused` | `true` when none of it was done and the same may be sent again, whatever it changes |

## Kinds

{kinds}
Some codes have a status closer to their meaning than that of their kind: {_own_statuses()}.

## Codes

{_codes_table(package)}"""


def fault_kinds() -> list[type[Fault]]:
    """The sixteen kinds in the order of their gRPC numbers, which is the order of the module."""
    return [kind for kind in Fault.__subclasses__() if kind.__module__ == Fault.__module__]


def _own_statuses() -> str:
    return ", ".join(f"`{code}` {status}" for code, status in sorted(STATUS_OF_CODE.items()))


def _codes_table(package: Path) -> str:
    statuses = {kind.__name__: STATUS[kind.kind] for kind in fault_kinds()}
    uses = codes_in(package)
    rows = []
    for code in sorted({use.code for use in uses} | set(HTTP_CODES.values())):
        mine = [use for use in uses if use.code == code]
        found = {STATUS_OF_CODE.get(code) or statuses[use.fault] for use in mine}
        found |= {status for status, name in HTTP_CODES.items() if name == code and not found}
        rows.append(
            (
                f"`{code}`",
                ", ".join(str(status) for status in sorted(found)),
                ", ".join(f"`{fault}`" for fault in sorted({use.fault for use in mine})) or "(HTTP)",
                ", ".join(sorted({use.room for use in mine})) or "kit.asgi",
            )
        )
    return table(("code", "HTTP status", "fault", "raised in"), rows)


def codes_in(package: Path) -> set[CodeUse]:
    """Every code given to a fault in the Python files below `package`, and the default code of every kind."""
    defaults = {CodeUse(kind.default_code, kind.__name__, "everywhere") for kind in fault_kinds()}
    found: set[CodeUse] = set()
    for file in package.rglob("*.py"):
        parts = file.relative_to(package).with_suffix("").parts
        room = ".".join(parts[:2] if len(parts) > 2 or parts[0] == "kit" else parts[:1])
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found |= {CodeUse(code, fault, room) for code, fault in _codes_of(tree)}
    plain = {use.code for use in defaults}
    return defaults | {use for use in found if use.code not in plain}


def _codes_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each (code, fault) of a module."""
    kinds = {kind.__name__ for kind in fault_kinds()}
    makers = dict(_makers(tree, kinds))
    for call in _calls(tree, kinds | set(makers)):
        fault, position = makers.get(_name(call.func), (_name(call.func), None))
        for code in _constants(_argument(call, "code", position)):
            yield code, fault


def _makers(tree: ast.Module, kinds: set[str]) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Functions that give a parameter of theirs to a fault as its code: name, (fault, position of the parameter)."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        every = {*names, *(argument.arg for argument in function.args.kwonlyargs)}
        # A method's first parameter is not among the arguments of its calls.
        shift = 1 if names[:1] in (["self"], ["cls"]) else 0
        for call in _calls(function, kinds):
            for name in _names(_argument(call, "code", None)) & every:
                yield function.name, (_name(call.func), names.index(name) - shift if name in names else None)


def _calls(tree: ast.AST, names: Iterable[str]) -> Iterator[ast.Call]:
    wanted = set(names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in wanted:
            yield node


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _argument(call: ast.Call, name: str, position: int | None) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if position is not None and position < len(call.args) else None


def _constants(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
        yield node.value


def _names(node: ast.expr | None) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node is not None else set()
