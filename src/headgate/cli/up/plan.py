"""What `headgate up` is going to run, decided and checked before anything is started."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import headgate
from headgate.cli.failures import USAGE, Failure
from headgate.cli.options import TOKEN_FILE
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.bootstrap import Address, BootstrapOptions, bootstrap
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.serve.ports import ensure_free, shown
from headgate.kit.settings import DEFAULT, flag_of

NODE_ID = "local"
_DRAIN = 2.0
"""Seconds the control plane waits for requests under way: somebody waits at the terminal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was decided. `flags` were given on the command line and go on to `headgate serve`."""

    control: ControlPlaneSettings
    data: DataplaneSettings
    flags: Mapping[str, Any]
    config_file: Path | None
    demo: bool
    demo_port: int

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.control.state_dir

    @property
    def api(self) -> str:
        """The API, as reached from this machine."""
        return f"http://{shown(_reachable(self.control.api_host), self.control.api_port)}"

    @property
    def gateway(self) -> str:
        """The default listener, as reached from this machine."""
        return f"http://{shown(_reachable(self.control.gateway_host), self.control.gateway_port)}"

    @property
    def xds(self) -> Address:
        """Where Envoys of this machine find the control plane."""
        return Address(_reachable(self.control.xds_host), self.control.xds_port)

    @property
    def upstream(self) -> str:
        """The bookshop."""
        return f"http://127.0.0.1:{self.demo_port}"

    @property
    def token_file(self) -> Path:
        """Where the first admin token is written to."""
        return self.control.admin_token_file or self.state / TOKEN_FILE

    def serve_command(self) -> list[str]:
        """The command of the control plane."""
        given = {
            **{name: value for name, value in self.flags.items() if name in ControlPlaneSettings.model_fields},
            "admin_token_file": self.token_file,
            "log_format": "json",
            **({"shutdown_grace": _DRAIN} if self.control.origins()["shutdown_grace"] == DEFAULT else {}),
            **({"config": self.config_file} if self.config_file else {}),
        }
        python = [sys.executable, "-m", "headgate.cli", "serve"]
        return python + [f"{flag_of(name)}={value}" for name, value in given.items()]

    def demo_command(self) -> list[str]:
        """The command of the bookshop."""
        options = {"host": "127.0.0.1", "port": self.demo_port, "log-level": "warning", "timeout-graceful-shutdown": 1}
        python = [sys.executable, "-m", "uvicorn", "--app-dir", str(examples()), "bookshop.app:app"]
        return python + [f"--{name}={value}" for name, value in options.items()]

    def bootstrap(self) -> dict[str, Any]:
        """The bootstrap of Envoy."""
        return bootstrap(
            BootstrapOptions(
                node_id=NODE_ID,
                xds=(self.xds,),
                admin=Address("127.0.0.1", self.data.envoy_admin_port),
            )
        )

    def check(self) -> None:
        """Raise a Fault or a Failure for what cannot work: a taken port, first of all."""
        if self.control.xds_tls:
            raise Failure(
                "xds_tls_certificate is set, and `headgate up` runs its Envoy without a certificate",
                exit_code=USAGE,
                hint="run `headgate serve` and `headgate envoy --tls-ca ...` instead",
            )
        ports = {
            "api_port": (self.control.api_host, self.control.api_port),
            "xds_port": (self.control.xds_host, self.control.xds_port),
            "gateway_port": (self.control.gateway_host, self.control.gateway_port),
            "envoy_admin_port": ("127.0.0.1", self.data.envoy_admin_port),
            **({"demo_port": ("127.0.0.1", self.demo_port)} if self.demo else {}),
        }
        taken: dict[int, str] = {}
        for setting, (host, port) in ports.items():
            if not port and setting != "envoy_admin_port":
                raise Failure(f"{setting} is 0, and `headgate up` needs to know it", exit_code=USAGE)
            if port in taken:
                raise Failure(f"{taken[port]} and {setting} are both {port}", exit_code=USAGE)
            if port:
                taken[port] = setting
                ensure_free(host, port, setting)


def examples() -> Path:
    """The directory that holds `bookshop`: beside the package in a wheel, at the top of the repository otherwise."""
    package = Path(headgate.__file__).parent
    for directory in (package / "examples", package.parents[1] / "examples"):
        if (directory / "bookshop" / "app.py").is_file():
            return directory
    raise Failure("the bookshop is not installed", hint="add --no-demo")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
