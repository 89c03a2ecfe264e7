"""Metrics of several worker processes, as one: the files they share, and what becomes of a dead worker's.

The parent that starts the workers prepares a directory, and names it to them in their environment. Each
worker keeps its figures there; whichever is scraped reads them all.

    files = WorkerFiles(directory)
    environment = files.prepare()                # {"PROMETHEUS_MULTIPROC_DIR": directory} for the workers
    files.ended(pid)                             # after a worker ended, before another takes its place

What an ended worker counted is added to one file for all that ended, so that totals never fall and files never
pile up; its gauges go with it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"

_LOCK: Final = "lock"
_ENDED: Final = "ended"
_ADDED_UP: Final = ("counter", "histogram", "summary")
_TRIES: Final = 3


class WorkerFiles:
    """The directory, seen from the parent of the workers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> dict[str, str]:
        """Make the directory, for this user alone, without what an earlier run left. Returns variables for workers."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.directory.glob("*.db"):
            left.unlink()
        return {SHARED_DIRECTORY: str(self.directory)}

    def ended(self, pid: int) -> None:
        """Keep what a worker that ended has counted, and remove its files. Does nothing for an unknown one."""
        with _locked(self.directory, fcntl.LOCK_EX):
            for kind in _ADDED_UP:
                own = self.directory / f"{kind}_{pid}.db"
                if own.exists():
                    _add(own, self.directory / f"{kind}_{_ENDED}.db")
                    own.unlink()
            for gauge in self.directory.glob(f"gauge_*_{pid}.db"):
                gauge.unlink()


def collect_workers(encode: Callable[[CollectorRegistry], bytes]) -> bytes:
    """The exposition of all workers' figures, from the directory in the environment."""
    directory = Path(os.environ[SHARED_DIRECTORY])
    for attempt in range(1, _TRIES + 1):
        registry = CollectorRegistry()
        collector: Any = MultiProcessCollector
        collector(registry, str(directory))
        try:
            with _locked(directory, fcntl.LOCK_SH):
                return encode(registry)
        except RuntimeError:  # a worker was writing a new series just then
            if attempt == _TRIES:
                raise
    raise AssertionError  # the last try returned or raised


def _add(source: Path, target: Path) -> None:
    figures: Any = MmapedDict
    total = figures(str(target))
    try:
        for key, value, _, _ in figures.read_all_values_from_file(str(source)):
            total.write_value(key, total.read_value(key)[0] + value, 0.0)
    finally:
        total.close()


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Hold the directory's lock: a scrape sees a dead worker's figures once, before or after they are moved."""
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
