"""Settings and errors are documented, and every setting has an effect."""

import ast
from collections import defaultdict

import pytest

from headgate.cli.config import CLASSES
from headgate.kit.asgi.problems import STATUS, STATUS_OF_CODE
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


def test_every_setting_has_an_effect():
    """A setting is read somewhere: one that changes nothing is a promise not kept."""
    read = {
        node.attr
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert {name for _, name in SETTINGS} <= read


def test_a_code_has_one_status():
    """Programs match codes: one code is always answered with one HTTP status."""
    statuses = {kind.__name__: STATUS[kind.kind] for kind in fault_kinds()}
    found = defaultdict(set)
    for use in codes_in(PACKAGE):
        found[use.code].add(STATUS_OF_CODE.get(use.code) or statuses[use.fault])
    assert not {code for code, each in found.items() if len(each) > 1}
