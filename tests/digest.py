"""What failed, in a few lines at the very end of a log: of a run that breaks off pytest itself shows no summary."""

import os
import shutil
import sys
import tempfile
from typing import Any

import pytest

MOST = 25
WIDTH = 300


def register(config: pytest.Config) -> None:
    """Reports arrive whatever they say; where logs are kept, they end with what failed."""
    config.pluginmanager.register(sys.modules[__name__])
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Digest())


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Any:
    """A report with half a character in it would end the worker that sends it, and the tests it still has."""
    return _sendable((yield))


def _machine() -> str:
    free = shutil.disk_usage(tempfile.gettempdir()).free >> 20
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return f"({free} MiB free for files, {memory} MiB of memory, load {os.getloadavg()[0]:.1f} on {os.cpu_count()})"


def _sendable(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {_sendable(key): _sendable(value) for key, value in data.items()}
    return type(data)(map(_sendable, data)) if isinstance(data, list | tuple) else data


class Digest:
    """A pytest plugin of the process that gathers the reports."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._begun: dict[str, None] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._begun[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """It has ended."""
        self._begun.pop(nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that failed, or whose fixtures did."""
        self._reported(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that could not be read."""
        self._reported(report)

    def pytest_internalerror(self, excrepr: Any) -> None:
        """What broke the run."""
        errors = [line[1:].strip() for line in str(excrepr).splitlines() if line.startswith("E ")]
        why = " | ".join(error for error in errors if error not in {"", "assert False"}) or str(excrepr)
        self._add(f"the run broke in {', '.join(self._begun) or 'no test'}", why[-WIDTH:])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A process that ran tests and is gone."""
        if error:
            self._add(f"worker {node.gateway.id} is gone", str(error))

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Tell."""
        if self._lines:
            more = [f"and {len(self._lines) - MOST} more"] if len(self._lines) > MOST else []
            sys.stdout.write("\n".join(["--- what failed", *self._lines[:MOST], *more, _machine(), ""]))

    def _reported(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._add(f"{report.nodeid} ({report.when})", str(crash.message if crash else report.longrepr))

    def _add(self, what: str, why: str) -> None:
        self._lines.append(f"{what}: {' '.join(why.split())}"[: 2 * WIDTH])
