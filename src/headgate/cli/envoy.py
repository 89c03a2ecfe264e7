"""`headgate envoy`: one supervised Envoy against a control plane."""

import re
import socket
import sys
from pathlib import Path
from typing import Any

import click

from headgate.cli.config import flags_given, load_settings, setting_flags
from headgate.cli.dataplanes import node_options, options_of
from headgate.cli.options import Options
from headgate.dataplane.bootstrap import Address, BootstrapOptions, bootstrap
from headgate.dataplane.settings import DataplaneSettings


@click.command()
@click.option("--id", "node_id", metavar="ID", help="The Envoy's name: unique in its team; unless given, the host's.")
@node_options
@setting_flags(DataplaneSettings)
@click.pass_obj
def envoy(options: Options, /, config_file: Path | None, **given: Any) -> None:
    """Run one supervised Envoy against a control plane.

    Restarts it when it dies, and drains it before it is stopped (SIGTERM or Ctrl-C). Access logs go to
    standard output, all else to standard error.
    """
    control, data = load_settings(flags_given(given), config_file)
    given["node_id"] = given["node_id"] or _host()
    wanted = options_of(given, options, admin=Address("127.0.0.1", data.envoy_admin_port))
    from headgate.kit.observe.logs import configure_logs
    from headgate.kit.serve.loop import run

    configure_logs(control.log_level, control.log_format)
    run(_run(wanted, data, control.state_dir / "envoys" / re.sub(r"[^A-Za-z0-9._-]", "_", wanted.node_id)))


async def _run(wanted: BootstrapOptions, data: DataplaneSettings, directory: Path) -> None:
    import structlog

    from headgate.dataplane.binary import find_envoy
    from headgate.dataplane.envoy import Envoy, EnvoyOptions
    from headgate.dataplane.supervise import Status
    from headgate.kit.serve.loop import stop_on_signals
    from headgate.kit.serve.ports import ensure_free

    log = structlog.get_logger("headgate.envoy")
    own = structlog.get_logger("envoy")
    levels = {"trace": own.debug, "debug": own.debug, "info": own.info, "warning": own.warning}

    def on_status(status: Status) -> None:
        say = log.warning if status.state == "backing_off" else log.info
        say(status.state, pid=status.pid, restarts=status.restarts, reason=status.reason, version=status.version)

    def write(piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    if data.envoy_admin_port:
        ensure_free("127.0.0.1", data.envoy_admin_port, "envoy_admin_port")
    supervised = Envoy(
        find_envoy(data.envoy_path),
        bootstrap(wanted),
        directory,
        EnvoyOptions.of(data),
        on_log=lambda level, logger, message: levels.get(level, own.error)(message, part=logger),
        access=write,
        on_status=on_status,
    )
    stop = stop_on_signals()
    await supervised.start()
    await stop.wait()
    await supervised.stop()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("._-") or "envoy"
