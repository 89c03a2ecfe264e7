"""Shared fixtures: a fresh store on SQLite and on PostgreSQL, one only on SQLite; a log that can be read back."""

import asyncio
import io
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from headgate.controlplane.store.store import Store
from headgate.kit.observe.logs import configure_logs
from headgate.testing.postgres import Postgres
from tests import digest

TEMPLATE = "headgate_template"


pytest_configure = digest.register


def _migrate(url: str) -> None:
    async def once() -> None:
        await (await Store.open(url)).close()

    asyncio.run(once())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, with a database `TEMPLATE` whose schema is up to date."""
    try:
        server = Postgres().__enter__()
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs PostgreSQL: {error}")
    try:
        server.psql(f"CREATE DATABASE {TEMPLATE}")
        _migrate(server.url(TEMPLATE))
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file whose schema is up to date."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh SQLite database."""
    return f"sqlite+aiosqlite:///{shutil.copy(sqlite_template, tmp_path / 'headgate.db')}"


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh PostgreSQL database."""
    name = postgres.create_database(TEMPLATE)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store on a fresh database: the test runs once on SQLite and once on PostgreSQL."""
    opened = await Store.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_store(sqlite_url: str) -> AsyncIterator[Store]:
    """A store on a fresh SQLite file, for tests that do not care which database it is."""
    opened = await Store.open(sqlite_url)
    yield opened
    await opened.close()


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Logs of all levels as JSON; call it for the lines so far."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = before[0], before[1]
