r"""Edits of Python that is there: by the positions of its syntax tree, so that all the rest stays as it was.

source = insert_method(source, "Orders", "@rpc\nasync def cancel(self, id: str) -> None: ...")
source = import_names(source, "headgate.service", ["rpc"])
source = add_argument(source, "App", "Payments()")
"""

import ast
import sys
import textwrap
from collections.abc import Iterable, Sequence
from io import StringIO

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.service.generate.project import imported


def parse(source: str, where: str = "the source") -> ast.Module:
    """The tree. Raises InvalidArgument (`invalid_source`)."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InvalidArgument(
            f"{where} is no Python{line}: {error.args[0]}", code="invalid_source", hint="correct it first"
        ) from error


def services_in(source: str, where: str = "the source") -> list[str]:
    """Names of the classes of a module that stand on `Service`, in order."""
    return [
        node.name
        for node in parse(source, where).body
        if isinstance(node, ast.ClassDef) and any(_last(base) == "Service" for base in node.bases)
    ]


def insert_method(source: str, owner: str, method: str) -> str:
    """`source` with a method behind the last one of a class.

    Raises AlreadyExists (`name_taken`) and InvalidArgument (`invalid_source`).
    """
    node = _class(source, owner)
    name = next(each.name for each in parse(method).body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    for each in node.body:
        if name in _names(each):
            raise AlreadyExists(f"{owner} has '{name}' already (line {each.lineno})", code="name_taken")
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    last = (methods or node.body)[-1]
    text = "\n" + textwrap.indent(method.rstrip("\n"), " " * last.col_offset)
    return _insert_after(source, last.end_lineno or last.lineno, text)


def import_names(source: str, module: str, names: Iterable[str]) -> str:
    """`source` with names imported from a module, those that are imported already left as they are."""
    tree = parse(source)
    imports = [each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)]
    same = [each for each in imports if isinstance(each, ast.ImportFrom) and each.module == module and not each.level]
    has = {alias.asname or alias.name for each in same for alias in each.names}
    wanted = [name for name in names if name not in has]
    if not wanted:
        return source
    plain = [each for each in same if all(alias.asname is None and alias.name != "*" for alias in each.names)]
    if plain:
        every = imported([*(alias.name for alias in plain[0].names), *wanted])
        return _replace(source, plain[0], f"from {module} import {every}")
    return _with_import(source, tree, module, f"from {module} import {imported(wanted)}")


def _with_import(source: str, tree: ast.Module, module: str, line: str) -> str:
    """`source` with a line that imports: in order among those of its group, groups being an empty line apart."""
    imports = [each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)]
    rank = _rank_of(module)
    group = [each for each in imports if _rank(each)[0] == rank[0]]
    gap = "" if group else "\n"
    before = [each for each in group or imports if _rank(each) <= rank]
    if before:
        return _insert_after(source, before[-1].end_lineno or before[-1].lineno, gap + line)
    if imports:
        return _insert_after(source, (group or imports)[0].lineno - 1, line + gap)
    doc = tree.body[0] if tree.body and ast.get_docstring(tree) is not None else None
    if doc is not None:
        return _insert_after(source, doc.end_lineno or doc.lineno, f"\n{line}")
    return _insert_after(source, 0, line)


def add_argument(source: str, function: str, argument: str) -> str:
    """`source` with one more argument, behind the positional ones of the first call of a function by name.

    Raises InvalidArgument (`invalid_source`) when there is no such call.
    """
    calls = (each for each in ast.walk(parse(source)) if isinstance(each, ast.Call) and _last(each.func) == function)
    call = min(calls, key=lambda each: each.lineno, default=None)
    if call is None:
        raise InvalidArgument(f"there is no call of {function}", code="invalid_source")
    lines = _lines(source)
    if call.args:
        last = call.args[-1]
        at = _offset(lines, last.end_lineno or last.lineno, last.end_col_offset or 0)
        return f"{source[:at]}, {argument}{source[at:]}"
    opened = _offset(lines, call.func.end_lineno or call.func.lineno, call.func.end_col_offset or 0)
    at = source.index("(", opened) + 1
    return f"{source[:at]}{argument}{', ' if call.keywords else ''}{source[at:]}"


def _class(source: str, name: str) -> ast.ClassDef:
    found = [each for each in parse(source).body if isinstance(each, ast.ClassDef)]
    node = next((each for each in found if each.name == name), None)
    if node is None:
        known = ", ".join(each.name for each in found) or "none"
        raise InvalidArgument(f"there is no class {name}", code="invalid_source", hint=f"there are: {known}")
    if node.body[0].lineno == node.lineno:
        raise InvalidArgument(f"the class {name} is one line", code="invalid_source", hint="give it a body of its own")
    return node


def _names(node: ast.stmt) -> Sequence[str]:
    """What a statement of a class gives a name to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (node.name,)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _insert_after(source: str, line: int, text: str) -> str:
    """`source` with `text` behind a line, or with 0 before the first one."""
    lines = _lines(source)
    near = lines[max(line, 1) - 1] if lines else ""
    ending = "\r\n" if near.endswith("\r\n") else "\n"
    if line and not near.endswith("\n"):
        lines[line - 1] += ending
    lines.insert(line, text.replace("\n", ending) + ending)
    return "".join(lines)


def _replace(source: str, node: ast.stmt, text: str) -> str:
    lines = _lines(source)
    start = _offset(lines, node.lineno, node.col_offset)
    end = _offset(lines, node.end_lineno or node.lineno, node.end_col_offset or 0)
    return source[:start] + text + source[end:]


def _lines(source: str) -> list[str]:
    """Lines as Python counts them, each with its end."""
    return StringIO(source, newline="").readlines()


def _offset(lines: list[str], line: int, column: int) -> int:
    """Where in the text a position of the tree is, whose columns count bytes."""
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _last(node: ast.expr) -> str:
    """`Service` of `Service`, `service.Service` and `Service[T]`."""
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _rank_of(module: str) -> tuple[int, str]:
    if module == "__future__":
        return (0, module)
    return (1 if module.partition(".")[0] in sys.stdlib_module_names else 2, module)


def _rank(node: ast.Import | ast.ImportFrom) -> tuple[int, str]:
    module = node.names[0].name if isinstance(node, ast.Import) else node.module or ""
    return _rank_of(module)
