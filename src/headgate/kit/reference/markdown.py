"""Markdown, as far as reference pages need it."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

GENERATED: Final = "<!-- Generated from the code; a test compares. See CONTRIBUTING.md. -->\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, line break included."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """`text` as the words of a cell, on one line. Patterns in it look like links, and are none."""
    return re.sub(r"([|<>]|(?<=\])\()", r"\\\1", " ".join(text.split()))


def first_paragraph(text: str | None) -> str:
    """What a docstring says first, on one line."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())
