"""What the pages show can be typed: Python that is Python, names and settings that exist, commands that are taken."""

import ast
import asyncio
import importlib
import importlib.util
import logging
import os
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from headgate.cli.config import CLASSES
from headgate.cli.options import VARIABLES as OF_THE_COMMAND
from headgate.kit.controls.call import Call
from headgate.kit.controls.codes import CODES
from headgate.kit.controls.principal import Principal
from headgate.kit.current import CURRENT
from headgate.kit.flags import parse_flags
from headgate.kit.hardening import HardeningSettings
from headgate.kit.observe.logs import _ACTIVE
from headgate.kit.reference import registry_of_kit
from headgate.service.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_THE_PLATFORM = {"dataplanes", "expose", "import-openapi", "native-api", "tokens", "troubleshooting"}
OF_THE_KIT = [page for page in sorted(GUIDES.glob("*.md")) if page.stem not in OF_THE_PLATFORM]
RUN = ("harden-a-service", "observability")
"""Pages whose Python runs from top to bottom, in one namespace."""

BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
ASSIGNED = re.compile(r"(?<![\w'\"])([A-Z][A-Z0-9_]{2,})=('[^']*'|\S+)")
AWAITING = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
VARIABLES = {name.upper(): name for name in ServiceSettings.model_fields}


def blocks(page: Path) -> Iterator[str]:
    """Each indented block of a page, without its indent."""
    for found in BLOCK.findall("\n" + page.read_text(encoding="utf-8")):
        if found.strip():
            yield textwrap.dedent(found).strip("\n")


def python_of(page: Path) -> Iterator[str]:
    """The blocks of a page that are Python: they import, define, decorate, call or await something of it."""
    for block in blocks(page):
        if re.search(
            r"^(from \w[\w.]* import|import \w+|(async )?def |class |async with|@\w|await )", block, re.MULTILINE
        ):
            yield block


def _id(value: Any) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_python_is_python(page):
    """What is shown as Python compiles, and everything that it imports of ours is there."""
    for block in python_of(page):
        tree = compile(block, page.name, "exec", AWAITING | ast.PyCF_ONLY_AST)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headgate"):
                module = importlib.import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def _told(page: Path) -> Iterator[tuple[str, str]]:
    for name, value in ASSIGNED.findall(page.read_text(encoding="utf-8")):
        yield name, value.strip("'`|").rstrip(").,;`")


@pytest.mark.parametrize("page", OF_THE_KIT, ids=_id)
def test_settings_are_settings(page):
    """A variable in a guide to the kit is a setting, and the value shown is one that it takes."""
    for name, value in _told(page):
        if value == "KEY":  # the shape of a key, in words
            continue
        assert name in VARIABLES, name
        if "..." not in value:
            ServiceSettings(**{VARIABLES[name]: value})


@pytest.mark.parametrize("page", OF_THE_KIT, ids=_id)
def test_settings_named_are_settings(page):
    """A name in capitals, in a guide to the kit, is a setting, a variable of a platform, or a gRPC code."""
    others = {*_platforms(), *CODES, "NO_SIDE_EFFECTS"}
    named = re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if name not in VARIABLES and name not in others] == []


def _platforms() -> list[str]:
    source = (ROOT / "src" / "headgate" / "kit" / "observe" / "platforms.py").read_text(encoding="utf-8")
    return re.findall(r'"([A-Z][A-Z0-9_]+)"', source)


def test_variables_of_the_platform_are_settings():
    """A variable `HEADGATE_*` on a page is a setting of the platform, or one that the command line reads."""
    known = {f"HEADGATE_{name.upper()}" for settings in CLASSES for name in settings.model_fields}
    known |= {*OF_THE_COMMAND, *_platforms(), "HEADGATE_CONFIG_FILE", "HEADGATE_TRACEBACK"}
    for page in PAGES:
        named = set(re.findall(r"\bHEADGATE_[A-Z0-9_]*[A-Z0-9]\b", page.read_text(encoding="utf-8")))
        assert named - known == set(), page


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_modules_can_be_run(page):
    """`python -m headgate...` names a module that runs, and what is served takes the flags shown."""
    for line in re.findall(r"python -m (headgate[^\n`]*)", page.read_text(encoding="utf-8")):
        module, *words = shlex.split(re.split(r" {2,}|\s#|[();,]", line)[0])
        module = module.rstrip(".")
        runnable = importlib.util.find_spec(f"{module}.__main__") if _is_package(module) else True
        assert runnable, module
        assert importlib.util.find_spec(module), module
        if module == "headgate.kit":
            parse_flags(HardeningSettings, [word for word in words if ":" not in word and word != "--rpc"])


def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


@pytest.fixture
def logging_kept() -> Iterator[None]:
    """Put the loggers back as they were: a guide sets them up."""
    root, logs = logging.getLogger(), _ACTIVE.logs
    before = root.level, list(root.handlers)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    _ACTIVE.logs = logs
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_kept")
@pytest.mark.parametrize("name", RUN)
def test_python_runs(name, tmp_path, monkeypatch):
    """The Python of these guides runs as it stands, one block after the other, during a call."""
    monkeypatch.chdir(tmp_path)
    for variable in [each for each in os.environ if each in VARIABLES]:
        monkeypatch.delenv(variable)
    Path("audit.log").touch()
    call = Call("http", "GET", "/orders/7", [], "127.0.0.1", 0.0)
    call.principal = Principal("ci")
    known: dict[str, Any] = {"closed": lambda: False, "__name__": "guide"}
    token = CURRENT.set(call)
    try:
        for block in python_of(GUIDES / f"{name}.md"):
            _run(block, known)
    finally:
        CURRENT.reset(token)
    assert "kit" in known or "app" in known


def _run(block: str, known: dict[str, Any]) -> None:
    """Run a block; what it is there to raise, it may."""
    try:
        running = eval(compile(block, "guide", "exec", AWAITING), known)  # noqa: S307 - our own documentation
        if running is not None:
            asyncio.run(running)
    except Exception as error:
        if f"raise {type(error).__name__}(" not in block:
            raise AssertionError(f"{block}\n{error!r}") from error


def test_metrics_in_the_guide_are_metrics():
    """A metric in a guide exists, and has the labels it is shown with."""
    registry: CollectorRegistry = registry_of_kit()
    known: Any = registry
    real = {
        metric._name + ("_total" if metric._type == "counter" else ""): list(metric._labelnames)
        for metric in known._collector_to_names
        if hasattr(metric, "_type")
    }
    rows = re.findall(r"^\| (`headgate_.*?) \| (.*?) ?\|$", (GUIDES / "observability.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for metrics, labels in rows:
        for metric in re.findall(r"`(\w+)`", metrics):
            assert real[metric] == re.findall(r"`(\w+)`", labels), metric


def test_reading_blocks():
    """A block holds its blank lines, and ends where text stands at the margin."""
    assert "import structlog\n\nlog = " in next(python_of(GUIDES / "observability.md"))
