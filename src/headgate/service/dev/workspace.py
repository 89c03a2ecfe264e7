"""What there is to run in a directory: declared in `pyproject.toml`, or found by looking.

    [tool.headgate.workspace]
    members = ["services/*"]                # directories with a pyproject.toml of their own

    [tool.headgate.apps.orders]
    target = "orders.app:app"               # an App, a Service, or a function that makes an App
    depends = ["payments"]                  # started before it
    port = 8081                             # unless given, one that is free
    grpc_port = 50061
    env = { LOG_LEVEL = "debug" }           # settings, as variables

Without tables, modules called `app`, `main`, `service` or `api` are read (not imported) for `NAME = App(...)`, and
where there is none for classes on `Service`.

    InvalidArgument
    └── invalid_workspace       every violation, with a JSON pointer into [tool.headgate] and the file's name
    NotFound
    └── nothing_to_run          no application was declared or found
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from headgate.kit.controls.faults import InvalidArgument, NotFound, Violation
from headgate.service.types import violations

MODULES: Final = ("app", "main", "service", "api")
"""Names of modules that are looked into, in the order of preference."""

MOST_MEMBERS: Final = 500

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_TARGET: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HIGHEST_PORT: Final = 65_535


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table `[tool.headgate.apps.NAME]`."""

    target: str
    depends: list[str] = []
    port: int = 0
    grpc_port: int = 0
    env: dict[str, str] = {}


class _Members(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    members: list[str] = []


class _Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    workspace: _Members = _Members()
    apps: dict[str, Declared] = {}


@dataclass(frozen=True, slots=True)
class AppEntry:
    """One application: where it is, and what it is started with. `paths` are those that its modules are found in."""

    name: str
    target: str
    directory: Path
    paths: tuple[Path, ...]
    depends: tuple[str, ...] = ()
    port: int = 0
    grpc_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def contracts(self) -> Path:
        """The folder of its locks."""
        return self.directory / "contracts"


@dataclass(frozen=True, slots=True)
class Workspace:
    """All applications below a directory, in the order they were declared."""

    root: Path
    apps: tuple[AppEntry, ...]

    def ordered(self, only: Iterable[str] = ()) -> tuple[AppEntry, ...]:
        """The applications, each behind those it depends on; with `only` those, and nothing they depend on.

        Raises InvalidArgument (`invalid_workspace`).
        """
        wanted = tuple(only)
        known = {each.name: each for each in self.apps}
        for name in wanted:
            if name not in known:
                raise InvalidArgument(
                    f"there is no application '{name}'", code="invalid_workspace", hint=f"there are: {', '.join(known)}"
                )
        found: dict[str, AppEntry] = {}
        for each in self.apps:
            _visit(each, known, found, ())
        return tuple(each for each in found.values() if not wanted or each.name in wanted)


def load_workspace(root: Path) -> Workspace:
    """What there is to run in a directory. Raises InvalidArgument and NotFound, see the module."""
    root = root.absolute()
    tables = _read(root)
    apps = _declared(root, tables)
    for member in _members(root, tables.workspace.members):
        apps += _declared(member, _read(member)) or _found(member)
    apps = apps or _found(root) or [app for member in _neighbours(root) for app in _declared(member, _read(member))]
    if not apps:
        raise NotFound(
            f"there is nothing to run in {root}",
            code="nothing_to_run",
            hint="`headgate new NAME` makes a project; others tell in pyproject.toml: [tool.headgate.apps.NAME]",
        )
    _check(apps)
    workspace = Workspace(root, tuple(apps))
    workspace.ordered()
    return workspace


def _read(folder: Path) -> _Tables:
    file = folder / "pyproject.toml"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Tables()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _invalid([Violation("", f"{file} is no TOML: {error}")]) from error
    tool = document.get("tool", {})
    told = tool.get("headgate", {}) if isinstance(tool, dict) else {}
    wrong = violations(_Tables, told)
    if wrong:
        raise _invalid([Violation(each.pointer, f"{each.message} ({file})", each.hint) for each in wrong])
    return msgspec.convert(told, _Tables)


def _declared(folder: Path, tables: _Tables) -> list[AppEntry]:
    return [
        AppEntry(
            name, each.target, folder, _paths(folder), tuple(each.depends), each.port, each.grpc_port, dict(each.env)
        )
        for name, each in tables.apps.items()
    ]


def _paths(folder: Path) -> tuple[Path, ...]:
    return (folder / "src",) if (folder / "src").is_dir() else (folder,)


def _members(root: Path, patterns: Iterable[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    for number, pattern in enumerate(patterns):
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise _invalid([Violation(f"/workspace/members/{number}", "a member is below the workspace")])
        folders = [each for each in sorted(root.glob(pattern)) if each.is_dir()] if pattern else []
        if not folders:
            raise _invalid([Violation(f"/workspace/members/{number}", f"'{pattern}' is no directory in {root}")])
        for each in folders[:MOST_MEMBERS]:
            if each not in seen:
                seen.add(each)
                yield each


def _neighbours(root: Path) -> list[Path]:
    """Directories right below, or two below, that have a project."""
    found = (file.parent for depth in ("*", "*/*") for file in sorted(root.glob(f"{depth}/pyproject.toml")))
    return [each for each in found if not any(part.startswith(".") for part in each.relative_to(root).parts)]


def _found(folder: Path) -> list[AppEntry]:
    """Applications that modules of a directory assign, or the services they define."""
    for kind in (_apps_of, _services_of):
        for base in _paths(folder):
            for file, module in _modules(base):
                try:
                    tree = ast.parse(file.read_bytes())
                except (SyntaxError, ValueError):
                    continue
                names = kind(tree)
                if names:
                    return [_entry(folder, module, name, len(names) > 1) for name in names]
    return []


def _entry(folder: Path, module: str, name: str, is_one_of_many: bool) -> AppEntry:
    package = module.partition(".")[0]
    own = folder.name if package in MODULES else package
    label = re.sub(r"[^a-z0-9]+", "-", f"{own}-{name}".lower() if is_one_of_many else own.lower()).strip("-0123456789")
    return AppEntry(label or "app", f"{module}:{name}", folder, _paths(folder))


def _modules(base: Path) -> Iterator[tuple[Path, str]]:
    for name in MODULES:
        for file in [base / f"{name}.py", *sorted(base.glob(f"*/{name}.py"))]:
            parts = file.relative_to(base).with_suffix("").parts
            if file.is_file() and parts[0] not in ("tests", "test") and all(part.isidentifier() for part in parts):
                yield file, ".".join(parts)


def _apps_of(tree: ast.Module) -> list[str]:
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        if isinstance(node.value, ast.Call) and _last(node.value.func) == "App":
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [each.id for each in targets if isinstance(each, ast.Name)]
    return found


def _services_of(tree: ast.Module) -> list[str]:
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return [node.name for node in classes if any(_last(base) == "Service" for base in node.bases)]


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _check(apps: list[AppEntry]) -> None:
    wrong: list[Violation] = []
    names = {each.name for each in apps}
    taken: dict[int, str] = {}
    seen: dict[str, Path] = {}
    for each in apps:
        pointer = f"/apps/{each.name}"
        if not _NAME.fullmatch(each.name):
            wrong.append(
                Violation(pointer, f"'{each.name[:100]}' is no name", "small letters and digits, such as orders")
            )
        if each.name in seen:
            wrong.append(Violation(pointer, f"is declared in {seen[each.name]} and in {each.directory}"))
        seen[each.name] = each.directory
        if not _TARGET.fullmatch(each.target):
            wrong.append(Violation(f"{pointer}/target", "is no MODULE:NAME", "such as orders.app:app"))
        strange = [name for name in each.depends if name not in names]
        said = "there is no application"
        wrong += [Violation(f"{pointer}/depends", f"{said} '{name}'", ", ".join(names)) for name in strange]
        for key, port in (("port", each.port), ("grpc_port", each.grpc_port)):
            if not 0 <= port <= _HIGHEST_PORT:
                wrong.append(Violation(f"{pointer}/{key}", f"{port} is no port"))
            elif port and taken.setdefault(port, each.name) != each.name:
                wrong.append(Violation(f"{pointer}/{key}", f"{taken[port]} has port {port} as well"))
    if wrong:
        raise _invalid(wrong)


def _visit(app: AppEntry, known: Mapping[str, AppEntry], found: dict[str, AppEntry], path: tuple[str, ...]) -> None:
    if app.name in path:
        circle = " -> ".join((*path[path.index(app.name) :], app.name))
        raise _invalid([Violation(f"/apps/{app.name}/depends", f"{circle} depend on each other")])
    if app.name in found:
        return
    for name in app.depends:
        if name in known:
            _visit(known[name], known, found, (*path, app.name))
    found[app.name] = app


def _invalid(wrong: list[Violation]) -> InvalidArgument:
    return InvalidArgument(
        f"the workspace cannot be: {wrong[0].pointer} {wrong[0].message}".replace(":  ", ": "),
        code="invalid_workspace",
        hint="see headgate.service.dev.workspace",
        violations=wrong,
    )
