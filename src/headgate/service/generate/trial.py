"""A module that is to be written, run before it is: whether its service can promise what is declared in it.

try_contract(edited, "Orders", app.paths, file)     # raises what Orders.contract() does

A module that does not run, for whatever reason, is not judged: it says so itself to those who start it.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from headgate.service.service import Service


def try_contract(source: str, title: str, paths: Sequence[Path], file: Path) -> None:
    """Raise InvalidArgument for a service of the module that cannot be; see headgate.service.contract."""
    name = module_name(file, paths)
    module = ModuleType(name)
    module.__file__ = str(file)
    module.__package__ = name if file.stem == "__init__" else name.rpartition(".")[0]
    with _importable(paths), suppress(Exception, SystemExit):
        sys.modules[name] = module
        exec(compile(source, file, "exec"), vars(module))  # noqa: S102 - the user's own module, as it will be run
    owner = vars(module).get(title)
    if isinstance(owner, type) and issubclass(owner, Service):
        owner.contract()


def module_name(file: Path, paths: Iterable[Path]) -> str:
    """What a file is imported as."""
    base = next((each for each in paths if file.is_relative_to(each)), file.parent)
    steps = file.relative_to(base).with_suffix("").parts
    return ".".join(steps[:-1] if steps[-1] == "__init__" else steps)


@contextmanager
def _importable(paths: Sequence[Path]) -> Iterator[None]:
    """Modules below the paths can be imported; none of them is left in this process."""
    searched, known = sys.path[:], dict(sys.modules)
    sys.path[:0] = map(str, paths)
    try:
        yield
    finally:
        sys.path[:] = searched
        for name, each in list(sys.modules.items()):
            if known.get(name) is not each and _is_below(each, paths):
                del sys.modules[name]
                if name in known:
                    sys.modules[name] = known[name]


def _is_below(module: ModuleType, paths: Iterable[Path]) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and any(Path(file).is_relative_to(each) for each in paths)
