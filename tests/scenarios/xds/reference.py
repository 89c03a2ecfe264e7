"""The table of the scenarios in docs/reference/xds.md, made from their docstrings.

Write it anew with `python -m tests.scenarios.xds.reference`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "xds.md"
MARK = "<!-- Made from the scenarios' docstrings; a test compares. -->\n"
LEFT_OUT = frozenset({46, 48, 49, 56})
"""Rows about what is not offered: TTLs, virtual hosts and clusters on demand, REST-JSON."""

_MODES = {"SOTW": "state of the world", "DELTA": "delta", "ADS": "aggregated", "SEPARATE": "separate"}


@dataclass(frozen=True, order=True, slots=True)
class Rule:
    """One scenario: its number, the test that proves it, its one sentence, and the modes it is about."""

    number: int
    file: str
    test: str
    sentence: str
    modes: str


def rules() -> list[Rule]:
    """Every numbered scenario, in order."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    return sorted((rule for file in files for rule in _rules_of(file)), key=lambda rule: (rule.number, rule.file))


def table() -> str:
    """The table as Markdown."""
    rows = "".join(
        f"| {rule.number} | {rule.sentence} | {rule.modes} | `{rule.file}::{rule.test}` |\n" for rule in rules()
    )
    return f"{MARK}\n| # | Rule | Modes | Test |\n|---|---|---|---|\n{rows}"


def _rules_of(file: Path) -> Iterator[Rule]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    marks = [node.value for node in tree.body if isinstance(node, ast.Assign) and _target(node) == "pytestmark"]
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            number = re.match(r"test_(\d\d)_", node.name)
            if number:
                sentence = " ".join((ast.get_docstring(node) or "").replace("|", "\\|").split())
                modes = _modes([*marks, *node.decorator_list], [argument.arg for argument in node.args.args])
                yield Rule(int(number[1]), file.name, node.name, sentence, modes)


def _target(node: ast.Assign) -> str:
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _modes(marks: list[ast.expr], arguments: list[str]) -> str:
    """Modes named by `parametrize("mode", NAME)`, the nearest one to the test; all of them by default."""
    for mark in reversed(marks):
        match mark:
            case ast.Call(args=[ast.Constant(value="mode"), ast.Name(id=name), *_]):
                return _MODES[name]
    return "all" if {"client", "mode"} & set(arguments) else "-"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text[: text.index(MARK)] + table(), encoding="utf-8")
