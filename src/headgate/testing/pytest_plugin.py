"""The pytest plugin: `pytest --headgate-conformance MODULE:APP` adds a test for each rule."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("headgate").addoption(
        "--headgate-conformance",
        metavar="MODULE:APP",
        default="",
        help="check this ASGI application, or the service at this URL, against the rules of a hardened service",
    )


def pytest_collection(session: pytest.Session) -> None:
    """Collect the rules beside what the session was asked for."""
    target = session.config.getoption("--headgate-conformance")
    if target:
        session.config.pluginmanager.register(_Collected(str(target)))


class _Collected:
    """Adds the rules to the items of a session."""

    def __init__(self, target: str) -> None:
        self._target = target

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Put them behind the project's own tests."""
        items.extend(Rules.from_parent(session, name="conformance", path=Path(), target=self._target).collect())


class Rules(pytest.Collector):
    """All rules that hold for any service."""

    def __init__(self, *, target: str, **given: Any) -> None:
        given.pop("path", None)
        super().__init__(**given)
        self._target = target

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each."""
        from headgate.testing.conformance.suite import CHECKS

        for check in CHECKS.values():
            if check.group == "any":
                yield Rule.from_parent(self, name=check.name, check=check, target=self._target)


class Rule(pytest.Item):
    """One rule of the suite."""

    def __init__(self, *, check: Any, target: str, **given: Any) -> None:
        super().__init__(**given)
        self._check = check
        self._target = target

    def runtest(self) -> None:
        """Start the application if it is one, and hold it to the rule."""
        outcome = asyncio.run(self._run())
        if not outcome.passed:
            pytest.fail(f"{self._check.rule}\n{outcome.why}", pytrace=False)

    async def _run(self) -> Any:
        from headgate.testing.conformance.running import running
        from headgate.testing.conformance.suite import Target, run_check

        if self._target.startswith(("http://", "https://")):
            return await run_check(self._check, Target(self._target))
        async with running(self._target) as target:
            return await run_check(self._check, target)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands, for reports."""
        return Path(self._target), None, f"conformance: {self.name}"
