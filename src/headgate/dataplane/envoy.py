"""Envoy, supervised: started from a bootstrap, restarted when it dies, drained before it is stopped."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.dataplane.admin import Admin
from headgate.dataplane.bootstrap import Address
from headgate.dataplane.settings import DataplaneSettings
from headgate.dataplane.supervise import BackOff, Child, Lines, Sink, Status, Supervisor
from headgate.kit.controls.faults import Unavailable

LogLine = Callable[[str, str, str], None]
"""Takes a line of Envoy's log: level (`trace` to `critical`), logger (`upstream`, `config`, ...), message."""

_LOG_FORMAT = '{"level":"%l","logger":"%n","message":"%j"}'
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """How to run Envoy. `concurrency` None is one worker per processor; `base_id` None takes a free one.

    Seconds: `drain` is the longest to wait for requests under way when stopping, `grace` the time between
    SIGTERM and SIGKILL, `listener_drain` how long connections of a replaced listener may stay.
    """

    concurrency: int | None = None
    log_level: str = "warning"
    base_id: int | None = None
    drain: float = 5.0
    grace: float = 3.0
    listener_drain: int = 60
    back_off: BackOff = field(default_factory=BackOff)

    @classmethod
    def of(cls, settings: DataplaneSettings, *, drain: float = 5.0) -> "EnvoyOptions":
        """The options that settings ask for."""
        return cls(
            concurrency=settings.envoy_concurrency,
            log_level=settings.envoy_log_level,
            base_id=settings.envoy_base_id,
            drain=drain,
            back_off=BackOff(settings.envoy_restart_min_ms / 1000, settings.envoy_restart_max_ms / 1000),
        )


class Envoy:
    """One supervised Envoy.

    `directory` takes its bootstrap and the address of its admin. `on_log` takes its log, `access` what it
    writes to its standard output (access logs), `on_status` each change of state.
    """

    def __init__(
        self,
        binary: Path,
        bootstrap: Mapping[str, Any],
        directory: Path,
        options: EnvoyOptions | None = None,
        *,
        on_log: LogLine | None = None,
        access: Sink | None = None,
        on_status: Callable[[Status], None] | None = None,
    ) -> None:
        self.binary = binary
        self._bootstrap = bootstrap
        self._directory = directory
        self._options = options or EnvoyOptions()
        self._on_log = on_log
        child = Child(
            name="envoy",
            command=self._command(),
            ready=self._ready,
            drain=self._drain,
            grace=self._options.grace,
            back_off=self._options.back_off,
        )
        self._supervisor = Supervisor(child, out=access, err=Lines(self._take_line), on_status=on_status)

    @property
    def status(self) -> Status:
        """How it is now; `version` is known from the first time it was live."""
        return self._supervisor.status

    @property
    def tail(self) -> list[str]:
        """The last lines of its log, as Envoy wrote them."""
        return self._supervisor.tail

    @property
    def admin(self) -> Admin | None:
        """Its administration; None when the bootstrap has none, or it is not open yet."""
        address = self._bootstrap.get("admin", {}).get("address", {}).get("socket_address")
        if not address:
            return None
        if address["port_value"]:
            return Admin(Address(address["address"], address["port_value"]))
        with suppress(OSError):
            if text := self._admin_file.read_text(encoding="ascii").strip():
                return Admin(Address.parse(text))
        return None

    async def start(self) -> None:
        """Write the bootstrap and start supervising; returns at once."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._admin_file.unlink(missing_ok=True)
        self._bootstrap_file.write_text(json.dumps(self._bootstrap), encoding="utf-8")
        await self._supervisor.start()

    async def wait_live(self, timeout: float, *, lives: int = 0) -> None:
        """Return when Envoy has a configuration and serves it; see `Supervisor.wait_live`."""
        await self._supervisor.wait_live(timeout, lives=lives)

    async def stop(self) -> None:
        """Let requests under way finish, then stop it."""
        await self._supervisor.stop()

    @property
    def _bootstrap_file(self) -> Path:
        return self._directory / "bootstrap.json"

    @property
    def _admin_file(self) -> Path:
        return self._directory / "admin-address"

    def _command(self) -> list[str]:
        options = self._options
        command = [str(self.binary), "--config-path", str(self._bootstrap_file)]
        command += ["--admin-address-path", str(self._admin_file)]
        command += ["--use-dynamic-base-id"] if options.base_id is None else ["--base-id", str(options.base_id)]
        command += ["--log-level", options.log_level, "--log-format", _LOG_FORMAT]
        command += ["--drain-time-s", str(options.listener_drain)]
        return command + (["--concurrency", str(options.concurrency)] if options.concurrency else [])

    async def _ready(self) -> bool:
        if "admin" not in self._bootstrap:
            return True
        admin = self.admin
        if admin is None or not await admin.ready():
            return False
        with suppress(Unavailable):
            self._supervisor.describe((await admin.server_info()).version)
        return True

    async def _drain(self) -> None:
        admin = self.admin
        if admin is None or not self._options.drain:
            return
        with suppress(Unavailable, TimeoutError):
            await admin.drain_listeners()
            async with asyncio.timeout(self._options.drain):
                while await _under_way(admin):  # noqa: ASYNC110 - Envoy sets no event
                    await asyncio.sleep(_POLL)

    def _take_line(self, line: str) -> None:
        if not self._on_log or not line.strip():
            return
        try:
            entry = json.loads(line)
            level, logger, message = entry["level"], entry["logger"], entry["message"]
        except (ValueError, TypeError, KeyError):
            level, logger, message = "info", "stderr", line  # what comes before Envoy's logger, or a crash
        self._on_log(str(level), str(logger), str(message))


async def _under_way(admin: Admin) -> int:
    """How many requests and TCP connections Envoy is serving now, those of its admin left out."""
    stats = await admin.stats(r"^(http\..*downstream_rq_active|tcp\..*downstream_cx_active)$")
    return sum(value for name, value in stats.items() if not name.startswith("http.admin."))
