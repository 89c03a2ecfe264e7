"""What `MODULE:NAME` stands for: an application, services, contracts.

    app_of("hello.app:app")                 # an App; a Service, its class, or a function without arguments make one
    contracts_of("hello.app:app", paths)    # of all services of it; of a class nothing but the class is needed

Modules are imported into this process.

    InvalidArgument
    └── invalid_target      there is no such module or name, or it is something else
    FailedPrecondition
    └── target_failed       its modules raise something; only where contracts are asked for
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument
from headgate.service.contract import Contract
from headgate.service.service import Service

if TYPE_CHECKING:
    from headgate.service.app import App


def load(target: str, paths: Iterable[Path] = ()) -> Any:
    """The object. What its module raises is raised; `paths` are looked into first."""
    module, _, name = target.partition(":")
    for path in reversed([str(each) for each in paths]):
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise _invalid(target, f"there is no module '{error.name}'") from error
        raise
    for part in name.split(".") if name else ():
        if not hasattr(found, part):
            raise _invalid(target, f"{module} has no '{part}'")
        found = getattr(found, part)
    return found


def app_of(target: str) -> "App":
    """The application. Raises InvalidArgument (`invalid_target`)."""
    from headgate.service.app import App

    found = load(target)
    if inspect.isfunction(found) or (isinstance(found, type) and issubclass(found, Service)):
        found = found()
    if isinstance(found, Service):
        found = App(found)
    if not isinstance(found, App):
        raise _invalid(target, f"{type(found).__name__} is neither an App nor a Service")
    return found


def contracts_of(target: str, paths: Iterable[Path] = ()) -> list[Contract]:
    """The contracts of an application, of a service's class, or of all services of a module that is named alone."""
    found = load(target, paths)
    if isinstance(found, type) and issubclass(found, Service):
        return [found.contract()]
    if isinstance(found, Service):
        return [type(found).contract()]
    if ":" not in target:
        own = (each for each in vars(found).values() if isinstance(each, type) and issubclass(each, Service))
        classes = [each for each in own if each.__module__ == found.__name__]
        if not classes:
            raise _invalid(target, "the module has no service", "MODULE:NAME")
        return [each.contract() for each in classes]
    if inspect.isfunction(found):
        found = found()
    hosted = getattr(found, "hosted", None)
    if hosted is None:
        raise _invalid(target, f"{type(found).__name__} is neither an App nor a Service")
    return [each.contract for each in hosted]


@dataclass(frozen=True, slots=True)
class Found:
    """A contract, and where its lock is kept."""

    contract: Contract
    lock: Path


def contracts_in(targets: Sequence[str], directory: Path) -> Iterator[Found]:
    """The contracts of the targets, or of all applications of a workspace, each service once."""
    from headgate.service.dev.workspace import load_workspace

    root = directory.absolute()
    named: list[tuple[str, tuple[Path, ...], Path]] = [
        (target, (root / "src", root), root / "contracts") for target in targets
    ]
    if not targets:
        named = [(each.target, each.paths, each.contracts) for each in load_workspace(root).ordered()]
    seen: set[str] = set()
    for target, paths, folder in named:
        for each in _contracts(target, paths):
            if each.name not in seen:
                seen.add(each.name)
                yield Found(each, folder / f"{each.name}.lock")


def _contracts(target: str, paths: Iterable[Path]) -> list[Contract]:
    try:
        return contracts_of(target, paths)
    except Fault:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise FailedPrecondition(
            f"'{target}' cannot be imported: {type(error).__name__}: {error}"[:1_000],
            code="target_failed",
            hint=f"see {last.filename}, line {last.lineno}",
        ) from error


def _invalid(target: str, message: str, hint: str = "") -> InvalidArgument:
    hint = hint or "MODULE:NAME, such as hello.app:app, found from here or in src/"
    return InvalidArgument(f"'{target[:200]}': {message}", code="invalid_target", hint=hint)
