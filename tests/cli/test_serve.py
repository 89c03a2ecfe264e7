"""`headgate serve`: which Envoy is asked about changes, and how a bad start is told."""

import pytest

from headgate.cli.serve import gate_of
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.dataplane.validate import EnvoyValidator
from headgate.kit.controls.faults import FailedPrecondition
from headgate.testing.envoy import require_envoy
from tests.scenarios.running import run


def none_here(_path=None):
    """Find no Envoy."""
    raise FailedPrecondition("there is no Envoy on this machine", code="envoy_not_found")


@pytest.mark.parametrize("preflight", ["auto", "on"])
def test_envoy_is_asked(preflight):
    """Changes are shown to the Envoy that is found, unless nobody wants it."""
    require_envoy()
    assert isinstance(gate_of(ControlPlaneSettings(preflight=preflight), DataplaneSettings()), EnvoyValidator)
    assert gate_of(ControlPlaneSettings(preflight="off"), DataplaneSettings()) is None


def test_without_an_envoy(monkeypatch):
    """Without an Envoy nothing is asked, unless it was demanded or one was named."""
    monkeypatch.setattr("headgate.dataplane.binary.find_envoy", none_here)
    assert gate_of(ControlPlaneSettings(preflight="auto"), DataplaneSettings()) is None
    with pytest.raises(FailedPrecondition):
        gate_of(ControlPlaneSettings(preflight="on"), DataplaneSettings())
    with pytest.raises(FailedPrecondition):
        gate_of(ControlPlaneSettings(preflight="auto"), DataplaneSettings(envoy_path="nowhere"))


def test_a_taken_port_is_one_line(control_plane, tmp_path):
    """A control plane that cannot start says why in one line, names the setting, and leaves with 1."""
    result = run(tmp_path, "serve", f"--api-port={control_plane.ports['api_port']}", "--preflight=off")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0].startswith("error: api_port: 127.0.0.1:")
    assert "Traceback" not in result.stderr


def test_a_bad_setting_is_usage(headgate, tmp_path, monkeypatch):
    """A setting that is not allowed is wrong usage, and its flag is named."""
    monkeypatch.chdir(tmp_path)
    result = headgate("serve", "--api-port=many")
    assert result.code == 2
    assert "--api-port" in result.err
