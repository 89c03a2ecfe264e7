"""`headgate config`, and settings as flags."""

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from headgate.cli.config import CLASSES, config, flags_given, load_settings, setting_flags
from headgate.cli.options import Options
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.controls.faults import InvalidArgument


@pytest.fixture(autouse=True)
def _bare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HEADGATE_")]:
        monkeypatch.delenv(name)


def run(*arguments: str, **kwargs: Any) -> Result:
    """Run the command."""
    return CliRunner().invoke(config, list(arguments), **kwargs)


def shown(*arguments: str) -> dict[str, dict[str, Any]]:
    """What the command prints as JSON."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    document: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return document


def test_every_setting_is_shown():
    """Each setting of each room is there, in both forms, with its value and where it came from."""
    names = [name for settings in CLASSES for name in settings.model_fields]
    assert list(shown()) == names
    table = run().stdout
    assert all(name in table for name in names)
    assert "default" in table


def test_names_do_not_collide():
    """A name belongs to one room: they share one file and one environment."""
    names = [name for settings in CLASSES for name in settings.model_fields]
    assert len(names) == len(set(names))


def test_where_values_came_from(monkeypatch):
    """Flags, variables and the file are told apart."""
    monkeypatch.setenv("HEADGATE_XDS_PORT", "2")
    Path("headgate.toml").write_text("gateway_port = 3\nenvoy_admin_port = 4\n")
    found = shown("--api-port", "1")
    assert [(found[name]["value"], found[name]["origin"]) for name in ("api_port", "xds_port", "gateway_port")] == [
        (1, "flag --api-port"),
        (2, "environment HEADGATE_XDS_PORT"),
        (3, "file headgate.toml"),
    ]
    assert found["envoy_admin_port"]["value"] == 4
    assert found["api_host"]["origin"] == "default"


def test_another_file(tmp_path):
    """--config names the file."""
    file = tmp_path / "other.toml"
    file.write_text("api_port = 5\n")
    assert shown("--config", str(file))["api_port"]["origin"] == f"file {file}"


def test_secrets_are_masked(monkeypatch):
    """The key and the database's password are not shown, and the key has no flag: others see a command's flags."""
    monkeypatch.setenv("HEADGATE_SECRET_KEY", "A" * 43 + "=")
    monkeypatch.setenv("HEADGATE_DATABASE_URL", "postgresql+asyncpg://u:sesame@h/db")
    for result in (run(), run("--json")):
        assert "A" * 40 not in result.stdout
        assert "sesame" not in result.stdout
    assert shown()["secret_key"]["value"] == "***"
    assert run("--secret-key", "x").exit_code == 2


def test_a_bad_value_names_the_flag():
    """A flag whose value is refused is named, with what is allowed."""
    result = run("--api-port", "eighty")
    assert isinstance(result.exception, InvalidArgument)
    assert result.exception.message == "api_port: flag --api-port is 'eighty', but it must be a whole number"


def test_the_global_output_option():
    """`headgate --output yaml config` is obeyed."""
    result = run(obj=Options(output="yaml"))
    assert "api_port:\n  value: 8080\n" in result.stdout


def test_settings_as_flags_of_a_command():
    """A command takes the settings of the rooms it runs as flags, and only those that were given count."""

    @click.command()
    @setting_flags(DataplaneSettings, without=["envoy_base_id"])
    def command(config_file: Path | None, **arguments: Any) -> None:
        control_plane, dataplane = load_settings(flags_given(arguments), config_file)
        click.echo(f"{dataplane.envoy_concurrency} {control_plane.api_port} {len(flags_given(arguments))}")

    runner = CliRunner()
    assert runner.invoke(command, ["--envoy-concurrency", "3"]).output == "3 8080 1\n"
    assert runner.invoke(command, ["--admin-port", "4"]).output == "None 8080 1\n"
    assert runner.invoke(command, ["--envoy-base-id", "3"]).exit_code == 2
    assert runner.invoke(command, ["--api-port", "3"]).exit_code == 2
    text = runner.invoke(command, ["--help"]).output
    assert "Worker threads of Envoy" in text


def test_settings_are_loaded_together():
    """One call loads every room's settings."""
    control_plane, dataplane = load_settings({"api_port": "1", "envoy_admin_port": "2"})
    assert isinstance(control_plane, ControlPlaneSettings)
    assert (control_plane.api_port, dataplane.envoy_admin_port) == (1, 2)
