"""Which applications a changed file belongs to.

affected({Path("src/orders/api.py")}, processes)        # those that have imported it
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from headgate.cli.run.process import Process


def affected(files: Iterable[Path], processes: Iterable[Process]) -> list[Process]:
    """The processes that a change of these files is about, in their order.

    Of those whose directories have a file it is the ones that imported it, all of them when none did: it may be new.
    One that failed is tried again after any change in its directories.
    """
    listed = list(processes)
    found: list[Process] = []
    for file in files:
        near = [each for each in listed if _concerns(file, each)]
        imported = [each for each in near if str(file) in each.report.modules]
        found += [each for each in near if each in (imported or near) or each.state == "failed"]
    return [each for each in listed if each in found]


def watched(process: Process) -> tuple[Path, ...]:
    """Where files of an application are: its modules, and what it is declared with."""
    entry = process.entry
    beside = (entry.directory / name for name in ("pyproject.toml", ".env", "headgate.toml"))
    return (*(path.resolve() for path in entry.paths), *(each.resolve() for each in beside))


def _concerns(file: Path, process: Process) -> bool:
    """Whether a file may be one of an application's; its tests are not."""
    root = process.entry.directory.resolve()
    if not file.suffix and file.name != ".env":  # what editors write beside a file
        return False
    is_test = file.is_relative_to(root) and file.relative_to(root).parts[:1] == ("tests",)
    return not is_test and any(file.is_relative_to(folder) for folder in watched(process))


async def changes(processes: Iterable[Process]) -> AsyncIterator[set[Path]]:
    """The files that changed, some at a time, for ever."""
    from watchfiles import DefaultFilter, awatch

    folders = {each.entry.directory.resolve() for each in processes}
    top = [each for each in folders if not any(each != other and each.is_relative_to(other) for other in folders)]
    told = DefaultFilter(ignore_dirs=(*DefaultFilter.ignore_dirs, ".headgate", ".ruff_cache"))
    async for each in awatch(*top, watch_filter=told, debounce=300, step=50, recursive=True):
        yield {Path(path).resolve() for _, path in each}  # noqa: ASYNC240 - of a few paths
