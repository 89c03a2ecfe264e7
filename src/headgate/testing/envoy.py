"""A real Envoy for a test: started on free ports, waited for, asked, and stopped by its pid.

    async with RealEnvoy(bootstrap_for(xds_port), tmp_path) as envoy:
        await envoy.wait_live()
        ...
        assert (await envoy.admin.stats("update_rejected"))["listener_manager.lds.update_rejected"] == 0

Envoy dies with the test process, whatever happens to it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from headgate.dataplane.admin import Admin
from headgate.dataplane.binary import find_envoy
from headgate.dataplane.bootstrap import Address, BootstrapOptions, Mode, bootstrap
from headgate.dataplane.leash import leashed
from headgate.kit.controls.faults import Fault

_POLL = 0.02


def require_envoy() -> Path:
    """Return the Envoy to test with; without one the test is skipped, and fails where `CI` is set."""
    import pytest

    try:
        return find_envoy()
    except Fault as fault:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Envoy: {fault.message}")


def bootstrap_for(xds_port: int, *, node_id: str = "test-envoy", team: str = "default", mode: Mode = "delta") -> Any:
    """Return our bootstrap of an Envoy that takes the configuration of a team from 127.0.0.1:`xds_port`."""
    return bootstrap(
        BootstrapOptions(node_id=node_id, team=team, mode=mode, xds=(Address("127.0.0.1", xds_port),), admin=None)
    )


async def eventually(what: Callable[[], Awaitable[bool]], within: float = 20.0, why: str = "it did not happen") -> None:
    """Ask until the answer is yes; AssertionError when it is not within that many seconds."""
    try:
        async with asyncio.timeout(within):
            while not await what():  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise AssertionError(f"{why} within {within:g} s") from None


class RealEnvoy:
    """An Envoy process. Its admin is on a free port, whatever the bootstrap says; its log is kept.

    `directory` takes bootstrap and log. Unlike `headgate.dataplane.envoy.Envoy` it is not restarted.
    """

    def __init__(
        self,
        bootstrap: Mapping[str, Any],
        directory: Path,
        *,
        concurrency: int = 1,
        log_level: str = "info",
        arguments: tuple[str, ...] = (),
    ) -> None:
        port = {"address": "127.0.0.1", "port_value": 0}
        self.bootstrap = {**bootstrap, "admin": {"address": {"socket_address": port}}}
        self.directory = directory
        self._arguments = ("--concurrency", str(concurrency), "--log-level", log_level, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process, "Envoy is not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.returncode if self._process else None

    @property
    def log(self) -> str:
        """All it logged."""
        with suppress(FileNotFoundError):
            return self._file("envoy.log").read_text(encoding="utf-8", errors="replace")
        return ""

    @property
    def admin(self) -> Admin:
        """Its administration."""
        return Admin(Address.parse(self._file("admin-address").read_text(encoding="ascii").strip()), timeout=10.0)

    async def start(self) -> None:
        """Start it and wait until its admin answers; AssertionError with its log when it dies instead."""
        binary = require_envoy()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._file("admin-address").unlink(missing_ok=True)
        self._file("bootstrap.json").write_text(json.dumps(self.bootstrap), encoding="utf-8")
        command = [str(binary), "-c", str(self._file("bootstrap.json")), "--use-dynamic-base-id"]
        command += ["--admin-address-path", str(self._file("admin-address")), *self._arguments]
        with self._file("envoy.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(command), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        await eventually(self._answers, why=f"Envoy's admin did not answer; {self.directory}/envoy.log")

    async def wait_live(self, within: float = 20.0) -> None:
        """Wait until Envoy has a configuration and serves it."""
        await eventually(self._live, within, "Envoy was not LIVE")

    async def stop(self) -> None:
        """Stop it, if it runs, and wait until it is gone."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _file(self, name: str) -> Path:
        return self.directory / name

    async def _answers(self) -> bool:
        assert self.exit_code is None, f"Envoy left with exit code {self.exit_code}:\n{self.log[-4000:]}"
        with suppress(OSError, Fault):
            await self.admin.server_info()
            return True
        return False

    async def _live(self) -> bool:
        assert self.exit_code is None, f"Envoy left with exit code {self.exit_code}:\n{self.log[-4000:]}"
        return await self.admin.ready()

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        try:
            async with asyncio.timeout(10.0):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
