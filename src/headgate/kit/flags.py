"""Settings as flags of a command: one for each, `--config` and `--help`.

    flags, config = parse_flags(ShopSettings, ["--port", "8081", "--debug"])

Values stay text: the settings validate them and name the flag. A flag that takes true or false means true when
it stands alone. A secret is read from a file: `--api-key-file PATH`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import nearest
from headgate.kit.settings import Settings, allowed_here, flag_of, groups_of, is_secret, variable_of

_IN_FILE: Final = "-file"
_CONFIG: Final = "--config"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message, code="invalid_flag", hint=f"{self.prog} --help lists the flags")


def parse_flags(
    settings: type[Settings],
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    description: str | None = None,
) -> tuple[dict[str, Any], Path | None]:
    """The settings given as flags, and the file of `--config`.

    Raises InvalidArgument (`unknown_flag`, `invalid_flag`), and SystemExit after `--help`.
    """
    parser = _parser(settings, prog, description)
    given, unknown = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    if unknown:
        raise _unknown(settings, unknown, parser.prog)
    flags = vars(given)
    config = flags.pop(_CONFIG)
    return {
        name: _secret(flag_of(name) + _IN_FILE, value) if is_secret(settings.model_fields[name]) else value
        for name, value in flags.items()
    }, None if config is None else Path(config)


def flag_names(settings: type[Settings]) -> list[str]:
    """Every flag there is."""
    names = (flag_of(name) + (_IN_FILE if is_secret(info) else "") for name, info in settings.model_fields.items())
    return ["--help", _CONFIG, *names]


def _parser(settings: type[Settings], prog: str | None, description: str | None) -> _Parser:
    parser = _Parser(
        prog=prog,
        usage="%(prog)s [--help] [--config FILE] [--SETTING VALUE ...]",
        description=description or " ".join((settings.__doc__ or "").split()),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    variable = variable_of("config_file", settings)
    parser.add_argument(
        _CONFIG, dest=_CONFIG, default=None, metavar="FILE", help=f"File of settings in TOML; unless given, {variable}."
    )
    for group, names in groups_of(settings):
        section = parser.add_argument_group((group.__doc__ or group.__name__).strip().rstrip("."))
        for name in names:
            _add(section, settings, name)
    return parser


def _add(section: Any, settings: type[Settings], name: str) -> None:
    info = settings.model_fields[name]
    summary = " ".join((info.description or "").split())
    if is_secret(info):
        told = f"File that holds {name}: {summary[:1].lower()}{summary[1:]}"
        section.add_argument(flag_of(name) + _IN_FILE, dest=name, metavar="FILE", help=_escaped(told, settings, name))
        return
    truth: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
    metavar = "true|false" if truth else "VALUE"
    section.add_argument(flag_of(name), dest=name, metavar=metavar, help=_escaped(summary, settings, name), **truth)


def _escaped(summary: str, settings: type[Settings], name: str) -> str:
    return f"{summary} [{variable_of(name, settings)}; {allowed_here(settings, name) or 'text'}]".replace("%", "%%")


def _secret(flag: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidArgument(f"{flag} {file} cannot be read: {reason}", code="invalid_flag") from None


def _unknown(settings: type[Settings], unknown: Sequence[str], prog: str) -> InvalidArgument:
    violations = []
    names = flag_names(settings)
    for argument in unknown:
        # The value of an unknown flag may be a secret.
        flag = argument.partition("=")[0]
        if argument.startswith("-"):
            near = _nearest(flag, names)
            violations.append(Violation(f"/{flag}", f"unknown flag {flag}", f"did you mean {near}?" if near else ""))
    if not violations:
        violations = [Violation("", "there is an argument that belongs to no flag")]
    return InvalidArgument(
        "; ".join(violation.message for violation in violations),
        code="unknown_flag",
        hint="; ".join(violation.hint for violation in violations if violation.hint)
        or f"{prog} --help lists the flags",
        violations=violations,
    )


def _nearest(flag: str, names: Sequence[str]) -> str:
    if flag + _IN_FILE in names:
        return flag + _IN_FILE
    found = nearest(flag.lstrip("-"), [name.lstrip("-").replace("-", "_") for name in names])
    return flag_of(found) if found else ""
