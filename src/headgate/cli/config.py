"""`headgate config`: every setting, its value, and where it came from. Also: settings as flags of any command."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from headgate.cli.options import VARIABLES, Options
from headgate.cli.output import show
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.settings import Explained, Settings, flag_of, is_secret

F = TypeVar("F", bound=Callable[..., Any])

CLASSES: tuple[type[Settings], ...] = (ControlPlaneSettings, DataplaneSettings)
"""All settings of the platform, in the order they are shown. Their names do not collide."""

_SHORTER = {"envoy_admin_port": ["--admin-port"]}
"""Flags a setting has besides its own."""


def load_settings(
    flags: Mapping[str, Any] | None = None, config_file: Path | None = None
) -> tuple[ControlPlaneSettings, DataplaneSettings]:
    """Load the settings of every room, from one file and one environment. Raises what `Settings.load` does."""
    return (
        ControlPlaneSettings.load(flags, config=config_file, beside=CLASSES, other_variables=VARIABLES),
        DataplaneSettings.load(flags, config=config_file, beside=CLASSES, other_variables=VARIABLES),
    )


def setting_flags(*classes: type[Settings], without: Sequence[str] = ()) -> Callable[[F], F]:
    """Give a command `--config` and a flag for each setting of `classes`, secrets excepted.

    The command receives `config_file: Path | None` and one keyword argument per setting, None when the flag was
    not given; `flags_given` picks them out. Values stay text: the settings validate them and name the flag.
    """

    def add(command: F) -> F:
        for settings in reversed(classes):
            for name in reversed([name for name in settings.model_fields if name not in without]):
                if not is_secret(settings.model_fields[name]):
                    command = _option(settings, name)(command)
        return click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="File of settings in TOML; unless given, HEADGATE_CONFIG_FILE, else headgate.toml if it is here.",
        )(command)

    return add


def flags_given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's keyword arguments that were given as flags."""
    names = {name for settings in CLASSES for name in settings.model_fields}
    return {name: value for name, value in arguments.items() if name in names and value is not None}


def _option(settings: type[Settings], name: str) -> Callable[[F], F]:
    info = settings.model_fields[name]
    summary = " ".join((info.description or "").split())
    return click.option(flag_of(name), *_SHORTER.get(name, ()), name, default=None, metavar="VALUE", help=summary)


@click.command()
@setting_flags(*CLASSES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the same as `headgate --output json config`.")
@click.pass_context
def config(ctx: click.Context, /, config_file: Path | None, as_json: bool, **arguments: Any) -> None:
    """Show every setting: its value, and where it came from.

    Strongest first: flags, HEADGATE_* variables, the file, .env, the default. Secrets are masked.
    """
    options = Options(output="json") if as_json else ctx.find_object(Options) or Options()
    loaded = load_settings(flags_given(arguments), config_file)
    explained = [each for settings in loaded for each in settings.explain()]
    show(
        options,
        {each.name: _document(each) for each in explained},
        ("setting", "value", "from", "what it is"),
        [(each.name, _cell(each), str(each.origin), each.description) for each in explained],
    )


def _document(each: Explained) -> dict[str, Any]:
    return {
        "value": each.value,
        "origin": str(each.origin),
        "description": each.description,
        "allowed": each.allowed,
        "variable": each.variable,
        "flag": each.flag,
    }


def _cell(each: Explained) -> str:
    if each.value is None:
        return "(not set)"
    return str(each.value).lower() if isinstance(each.value, bool) else str(each.value)
