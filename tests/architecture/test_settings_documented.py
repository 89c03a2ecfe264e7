"""Settings and errors are documented, and every setting has an effect."""

import ast
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import pytest

from headgate.cli.config import CLASSES
from headgate.kit.asgi.problems import STATUS, STATUS_OF_CODE
from headgate.kit.hardening import HardeningSettings
from headgate.kit.reference import codes_in, fault_kinds
from tests.architecture.pages import PACKAGE, PAGES, REFERENCE, SECTIONS

SETTINGS = [(settings, name) for settings in CLASSES for name in settings.model_fields]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_what_the_code_says(page):
    """A committed reference page equals the one made from the code."""
    assert (REFERENCE / page).read_text(encoding="utf-8") == PAGES[page](), (
        "write it anew: python -m tests.architecture.pages"
    )


def test_all_rooms_are_on_the_page():
    """The page has a section for each class of settings."""
    assert [settings for _, settings in SECTIONS] == list(CLASSES)


@pytest.mark.parametrize(("settings", "name"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_setting_says_what_it_is(settings, name):
    """A setting has a sentence that says what it is, and stands on its page."""
    description = settings.model_fields[name].description or ""
    assert description.rstrip().endswith(".")
    assert f"`{name}`" in (REFERENCE / "settings.md").read_text(encoding="utf-8")


def _read_in(*places: Path, without: Collection[str] = ()) -> set[str]:
    """Names of the attributes that the files of these places read, functions of some names left out."""
    files = [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
    found: set[str] = set()
    for file in files:
        nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            if not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in without):
                nodes.extend(ast.iter_child_nodes(node))
    return found


PRODUCTS = _read_in(*(PACKAGE / room for room in ("controlplane", "dataplane", "cli")))
"""What the products read themselves."""

KIT = _read_in(
    *(PACKAGE / "kit" / name for name in ("kit.py", "table.py", "opening.py", "policies.py")),
    without=("serving", "serve", "run"),
)
"""What a kit reads when it is made and hardens an application; not what only its own way of serving reads."""


@pytest.mark.parametrize(("settings", "name"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_setting_has_an_effect(settings, name):
    """A setting is read by the product that has it, or by the kit that it is handed to: none is an empty promise."""
    of_the_kit = name in HardeningSettings.model_fields
    # Nothing reads the profile but the rules that refuse what is unsafe in it, and a test of the control plane.
    assert name in PRODUCTS or (of_the_kit and name in KIT | {"profile"})


def test_a_code_has_one_status():
    """Programs match codes: one code is always answered with one HTTP status."""
    statuses = {kind.__name__: STATUS[kind.kind] for kind in fault_kinds()}
    found = defaultdict(set)
    for use in codes_in(PACKAGE):
        found[use.code].add(STATUS_OF_CODE.get(use.code) or statuses[use.fault])
    assert not {code for code, each in found.items() if len(each) > 1}
