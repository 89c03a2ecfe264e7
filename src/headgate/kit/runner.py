"""An application, hardened and served from the command line, with every setting as a flag.

    python -m headgate.kit shop:app --port 8081 --workers 4
    python -m headgate.kit shop:app --rpc shop:add_services --debug

`shop:app` is a plain ASGI application, or a function without arguments that makes one; `--rpc` names a function
that adds gRPC services to the server it is given. With several workers each of them makes both for itself, from the
same settings, which it finds in its environment.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headgate.kit import policies
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.faults import Fault, InvalidArgument, Violation
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit, http_limits
from headgate.kit.opening import open_logs
from headgate.kit.serve.loop import run
from headgate.kit.serve.plan import Plan, imported, made
from headgate.kit.serve.ports import PortSetting
from headgate.kit.serve.workers import Workers
from headgate.kit.settings import variable_of

APP: Final = "HEADGATE_KIT_APP"
RPC: Final = "HEADGATE_KIT_RPC"
REFUSED: Final = 2
"""Exit code: what was asked for cannot be."""

_USAGE: Final = "usage: python -m headgate.kit MODULE:APP [--rpc MODULE:ADD] [--SETTING VALUE ...]   (--help for all)\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        names, flags = _names(arguments)
        settings = HardeningSettings.from_command_line(
            flags, prog="python -m headgate.kit MODULE:APP [--rpc MODULE:ADD]"
        )
        if not names.get(APP):
            sys.stderr.write(_USAGE)
            return REFUSED
        os.environ.update(names)
        return _serve(settings)
    except Fault as fault:
        sys.stderr.write(f"{fault.message}\n{fault.hint}\n" if fault.hint else f"{fault.message}\n")
        return REFUSED


def _names(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """What is to be served, and the flags that are settings."""
    names = {}
    if arguments and not arguments[0].startswith("-"):
        names[APP] = arguments.pop(0)
    for position, argument in enumerate(arguments):
        if argument == "--rpc" or argument.startswith("--rpc="):
            taken = arguments[position : position + (1 if "=" in argument else 2)]
            value = argument.partition("=")[2] or (taken[1] if len(taken) > 1 else "")
            if not value:
                raise InvalidArgument("--rpc needs MODULE:ADD", code="invalid_flag")
            names[RPC] = value
            return names, arguments[:position] + arguments[position + len(taken) :]
    return names, arguments


def _serve(settings: HardeningSettings) -> int:
    if settings.workers == 1:
        kit, rpc = _kit(settings)
        return kit.run(made(os.environ[APP]), rpc)
    if settings.metrics_port:
        raise InvalidArgument(
            "several workers cannot share a port for metrics alone",
            code="invalid_settings",
            violations=[Violation("/metrics_port", "is for one process")],
            hint="scrape /metrics at the HTTP port: any worker tells the figures of all",
        )
    open_logs(settings)
    plan = Plan(
        app="headgate.kit.runner:worker.app",
        grpc="headgate.kit.runner:worker.rpc" if os.environ.get(RPC) else "",
        health="headgate.kit.runner:worker.health",
        server=settings.server,
        host=settings.host,
        port=settings.port,
        setting=PortSetting("port", type(settings)),
        grpc_port=settings.grpc_port,
        grpc_setting=PortSetting("grpc_port", type(settings)),
        tls=policies.tls_files(settings),
        tls_reload=settings.tls_reload,
        limits=http_limits(settings),
        shutdown_delay=settings.shutdown_delay,
        shutdown_grace=settings.shutdown_grace,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    os.environ.update(_environment(settings))
    return run(Workers(plan, count=settings.workers).run())


def _environment(settings: HardeningSettings) -> Mapping[str, str]:
    """The settings that were given, as variables: workers are started with this process's environment."""
    found = {}
    for name in settings.origins():
        if settings.origins()[name].kind == "default":
            continue
        value: Any = getattr(settings, name)
        reveal = getattr(value, "get_secret_value", None)
        text = reveal() if reveal else ",".join(value) if isinstance(value, tuple) else str(value)
        found[variable_of(name, type(settings))] = text
    return found


def _kit(settings: HardeningSettings) -> tuple[Kit, Any]:
    kit = Kit(settings)
    add = os.environ.get(RPC)
    return kit, kit.grpc_server(imported(add)) if add else None


class _Worker:
    """What one of several workers serves, made when it is first asked for."""

    def __init__(self) -> None:
        self._made: tuple[Kit, Any, Shell] | None = None

    def _make(self) -> tuple[Kit, Any, Shell]:
        if self._made is None:
            kit, rpc = _kit(HardeningSettings.load())
            app = made(os.environ[APP])
            self._made = kit, rpc, app if isinstance(app, Shell) else kit.harden(app, rpc=rpc)
        return self._made

    @property
    def app(self) -> Shell:
        """The application."""
        return self._make()[2]

    @property
    def rpc(self) -> Any:
        """The gRPC server."""
        return self._make()[1]

    @property
    def health(self) -> Any:
        """What `/ready` asks."""
        return self._make()[0].health


worker: Final = _Worker()
