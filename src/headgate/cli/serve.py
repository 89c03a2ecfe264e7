"""`headgate serve`: the control plane alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.config import flags_given, load_settings, setting_flags
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.controls.faults import FailedPrecondition

if TYPE_CHECKING:
    from headgate.dataplane.validate import EnvoyValidator

_OF_ENVOY = [name for name in DataplaneSettings.model_fields if name != "envoy_path"]


@click.command()
@setting_flags(ControlPlaneSettings, DataplaneSettings, without=_OF_ENVOY)
def serve(config_file: Path | None, **arguments: Any) -> None:
    """Run the control plane alone.

    Serves the API and, over gRPC, the configuration of Envoys, until SIGTERM or Ctrl-C.
    """
    control, data = load_settings(flags_given(arguments), config_file)
    from headgate.controlplane import app
    from headgate.kit.observe.logs import configure_logs
    from headgate.kit.serve.loop import run

    configure_logs(control.log_level, control.log_format)
    run(app.serve(control, gate=gate_of(control, data)))


def gate_of(control: ControlPlaneSettings, data: DataplaneSettings) -> "EnvoyValidator | None":
    """What shows each change to Envoy before it is stored; None when there is no Envoy or nobody wants it.

    Raises FailedPrecondition when the setting `preflight` is on and there is no Envoy.
    """
    if control.preflight == "off":
        return None
    from headgate.dataplane.binary import find_envoy
    from headgate.dataplane.validate import EnvoyValidator

    try:
        binary = find_envoy(data.envoy_path)
    except FailedPrecondition:
        if control.preflight == "on" or data.envoy_path:
            raise
        return None
    return EnvoyValidator(binary)
