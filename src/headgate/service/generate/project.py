"""A new project, rendered: the layers of its template, laid over each other.

files = project("hello", template="full", description="Greets people")
files["src/hello/api.py"]
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from headgate.kit.controls.faults import AlreadyExists, InvalidArgument
from headgate.service.generate.names import Names, names_of, sentence

TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "service": ("common", "api"),
    "worker": ("common", "listener"),
    "full": ("common", "api", "listener", "both"),
}
"""The layers of each; a new template is a line here and, where it brings something new, a folder."""

SUFFIX: Final = ".j2"
_LONGEST_IMPORT: Final = 60


def project(name: str, *, template: str = "service", description: str = "") -> dict[str, str]:
    """The text of each file by its path. Raises InvalidArgument."""
    names = names_of(name)
    layers = TEMPLATES.get(template)
    if layers is None:
        raise InvalidArgument(
            f"there is no template '{template[:100]}'", code="unknown_template", hint=", ".join(TEMPLATES)
        )
    known = _known(names, layers, sentence(description, "a description"))
    found: dict[str, str] = {}
    for layer in layers:
        for path, source in _templates(resources(__package__) / "templates" / layer):
            found[path.replace("__package__", names.package)] = render(source, known)
    return dict(sorted(found.items()))


def write(texts: Mapping[str, str], folder: Path) -> None:
    """Write each file below a folder. Raises AlreadyExists (`file_exists`) before anything is written."""
    taken = [path for path in texts if (folder / path).exists()]
    if taken:
        raise AlreadyExists(
            f"{folder / taken[0]} is there already",
            code="file_exists",
            hint="nothing is overwritten, and nothing was written",
        )
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def render(source: str, known: Mapping[str, Any]) -> str:
    """A template's text with what is known put in. A name that is not known is a defect of the template."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701 - no HTML is made
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["imported"] = imported
    return environment.from_string(source).render(known)


def imported(names: Iterable[str]) -> str:
    """Names as an import lists them: constants, classes, functions, each in order; on lines of their own if long."""
    ordered = sorted(dict.fromkeys(names), key=_rank)
    line = ", ".join(ordered)
    return line if len(line) <= _LONGEST_IMPORT else "(\n    " + ",\n    ".join(ordered) + ",\n)"


def _rank(name: str) -> tuple[int, list[tuple[int, str]], str]:
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    parts = [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.findall(r"\d+|\D+", name)]
    return kind, parts, name


def _known(names: Names, layers: tuple[str, ...], description: str) -> dict[str, Any]:
    has_api, has_worker = "api" in layers, "listener" in layers
    both = has_api and has_worker
    apps: list[dict[str, Any]] = [{"name": names.name, "module": "app", "depends": []}]
    if both:
        apps.append({"name": f"{names.name}-worker", "module": "worker_app", "depends": [names.name]})
    request = '{"name": "Ada"}'
    return {
        "name": names.name,
        "package": names.package,
        "title": names.title,
        "worker_name": f"{names.name}-worker" if both else names.name,
        "worker_title": f"{names.title}Worker" if both else names.title,
        "description": description or f"The service {names.name}.",
        "has_api": has_api,
        "has_worker": has_worker,
        "apps": apps,
        "example_call": f"headgate call {names.name}/Hello '{request}'",
    }


def _templates(folder: Traversable, below: str = "") -> list[tuple[str, str]]:
    """Path and text of each template of a folder, in order."""
    found: list[tuple[str, str]] = []
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            found += _templates(each, f"{below}{each.name}/")
        elif each.name.endswith(SUFFIX):
            found.append((below + each.name.removesuffix(SUFFIX), each.read_text(encoding="utf-8")))
    return found
