"""Settings: one typed class per process, and where each value came from.

Strongest first: a flag, the environment (`HEADGATE_API_PORT`), a TOML file (`api_port = 8080` in the
file named by `--config` or `HEADGATE_CONFIG_FILE`, else `headgate.toml` in the working directory), `.env`
in the working directory, the default.

`Settings.load` reads all of these; the constructor reads none, its arguments count as flags. A key of
the file that no class knows is refused; a `HEADGATE_*` variable that none knows is warned about. A class may set
another prefix in its `model_config`; one whose prefix is "" cannot tell a misspelt variable from anybody else's.

    settings = ShopSettings.from_command_line(prog="shop")    # python -m shop --port 8081 --config shop.toml

    InvalidArgument
    ├── config_file_unreadable   the file named is not there, or cannot be read
    ├── config_file_malformed    it is not TOML
    ├── unknown_setting          it holds a key that is no setting
    ├── invalid_setting          a value is not allowed; says which, from where, and what is
    ├── unknown_flag             the command line holds what is no flag
    └── invalid_flag             a flag lacks its value, or its file cannot be read
"""

import logging
import os
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.redaction import MASK, redact_text
from headgate.kit.controls.validation import allowed_values, did_you_mean, nearest, violations_of

PREFIX: Final = "HEADGATE_"
DEFAULT_CONFIG_FILE: Final = "headgate.toml"
DOTENV_FILE: Final = ".env"

_log = logging.getLogger("headgate.settings")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `name` is the variable, the file or the flag; "" for a default."""

    kind: Literal["default", "environment", "file", "flag"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


DEFAULT: Final = Origin("default")


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting: its value as it may be shown (secrets masked), where it came from, how to change it."""

    name: str
    value: str | int | float | bool | None
    origin: Origin
    description: str
    allowed: str
    variable: str
    flag: str


def variable_of(name: str, settings: type["Settings"] | None = None) -> str:
    """The environment variable of a setting, with the prefix of its class."""
    return (PREFIX if settings is None else prefix_of(settings)) + name.upper()


def prefix_of(settings: type["Settings"]) -> str:
    """What the variables of a class begin with, in upper case."""
    return (settings.model_config.get("env_prefix") or "").upper()


def flag_of(name: str) -> str:
    """The command line flag of a setting."""
    return "--" + name.replace("_", "-")


class Settings(BaseSettings):
    """Base of all settings classes. Fields are flat scalars or lists of words, each with a docstring and a default.

    Put `json_schema_extra={"default_text": "..."}` on a field whose default depends on the machine.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but the arguments: only `load` looks at its surroundings, and it remembers origins."""
        return (init_settings,)

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        *,
        config: Path | None = None,
        beside: Sequence[type["Settings"]] = (),
        other_variables: Collection[str] = (),
    ) -> Self:
        """Read every source. Flags whose value is None were not given.

        `beside` are the other classes that share the file and the prefix; `other_variables` are variables
        with our prefix that are no settings. Raises InvalidArgument (codes in the module docstring).
        """
        known: list[type[Settings]] = [cls, *beside]
        file, content = _read_file(config, variable_of("config_file", cls))
        _refuse_unknown(file, content, known)
        values: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        for name, value, origin in (
            *_from_dotenv(cls, known, other_variables),
            *((name, value, Origin("file", str(file))) for name, value in content.items()),
            *_from_environment(cls, known, other_variables),
            *((name, value, Origin("flag", flag_of(name))) for name, value in (flags or {}).items()),
        ):
            if name in cls.model_fields and value is not None:
                values[name], origins[name] = value, origin
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise _refusal(cls, error, values, origins) from None
        settings._origins = origins
        return settings

    @classmethod
    def from_command_line(
        cls, argv: Sequence[str] | None = None, *, prog: str | None = None, description: str | None = None
    ) -> Self:
        """`load`, with flags from `argv` (the process's own unless given) and the file from its `--config`.

        Each setting has a flag; a secret has one that names a file which holds it, since other users can see a
        command's flags. Raises InvalidArgument; `--help` prints all flags and raises SystemExit.
        """
        from headgate.kit.flags import parse_flags

        flags, config = parse_flags(cls, argv, prog=prog, description=description)
        return cls.load(flags, config=config)

    def origins(self) -> dict[str, Origin]:
        """Where each setting's value came from."""
        given = {name: Origin("flag", flag_of(name)) for name in self.model_fields_set}
        return {name: (self._origins or given).get(name, DEFAULT) for name in type(self).model_fields}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return ((name, _shown(getattr(self, name))) for name in type(self).model_fields)

    def explain(self) -> list[Explained]:
        """Every setting in the order of the class, ready to be shown."""
        origins = self.origins()
        return [
            Explained(
                name=name,
                value=_shown(getattr(self, name)),
                origin=origins[name],
                description=" ".join((info.description or "").split()),
                allowed=allowed_here(type(self), name),
                variable=variable_of(name, type(self)),
                flag=flag_of(name),
            )
            for name, info in type(self).model_fields.items()
        ]


def is_secret(info: FieldInfo) -> bool:
    """Whether a field holds a value that must never be shown."""
    return info.annotation is SecretStr or SecretStr in getattr(info.annotation, "__args__", ())


def groups_of(settings: type[Settings]) -> Iterator[tuple[type[Settings], list[str]]]:
    """The classes that declare the fields, what is common to most of them first, each with its own fields.

    A field that a class below declares anew, with another default, stays where it was declared first.
    """
    groups = [group for group in settings.__mro__ if issubclass(group, Settings)]
    listed: set[str] = set()
    for group in sorted(groups, key=lambda each: len(each.__mro__)):
        declared = get_annotations(group)
        mine = [name for name in settings.model_fields if name in declared and name not in listed]
        listed.update(mine)
        if mine:
            yield group, mine


def allowed_here(settings: type[Settings], name: str) -> str:
    """What a setting takes, in words."""
    allowed = allowed_values(settings, name)
    return f"{allowed}, separated by commas" if allowed.startswith("a list") else allowed


def _shown(value: Any) -> str | int | float | bool | None:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple | list):
        return redact_text(",".join(map(str, value)))
    return value if value is None or isinstance(value, bool | int | float) else redact_text(str(value))


def _read_file(config: Path | None, variable: str) -> tuple[Path, Mapping[str, Any]]:
    """The configuration file and what it holds; the default one need not be there."""
    named = config or (Path(text) if (text := os.environ.get(variable)) else None)
    file = named or Path(DEFAULT_CONFIG_FILE)
    by = "--config" if config else variable
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return file, {}
        raise InvalidArgument(
            f"{by} names {file}, which does not exist", code="config_file_unreadable", hint=f"create it or drop {by}"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"{file} cannot be read: {error.strerror}", code="config_file_unreadable") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"{file} is not TOML: {error}",
            code="config_file_malformed",
            hint='write one setting per line, such as: api_port = 8080, or: log_level = "debug"',
        ) from None


def _names(classes: Iterable[type[Settings]]) -> list[str]:
    return [name for settings in classes for name in settings.model_fields]


def _refuse_unknown(file: Path, content: Mapping[str, Any], known: Sequence[type[Settings]]) -> None:
    names = _names(known)
    violations = [
        Violation(f"/{key}", f"unknown setting '{key}'", _nearest_hint(key, names))
        for key in content
        if key not in names
    ]
    if violations:
        listed = ", ".join(f"'{violation.pointer[1:]}'" for violation in violations)
        raise InvalidArgument(
            f"{file}: unknown setting {listed}",
            code="unknown_setting",
            hint="; ".join(dict.fromkeys(violation.hint for violation in violations)),
            violations=violations,
        )


def _nearest_hint(key: str, names: Sequence[str]) -> str:
    return did_you_mean(key, names) or "`headgate config` lists every setting"


def _from_environment(
    cls: type[Settings], known: Sequence[type[Settings]], others: Collection[str]
) -> Iterable[tuple[str, Any, Origin]]:
    _warn_about_unknown(os.environ, known, others, "")
    for name, value in EnvSettingsSource(cls)().items():
        yield name, value, Origin("environment", variable_of(name, cls))


def _from_dotenv(
    cls: type[Settings], known: Sequence[type[Settings]], others: Collection[str]
) -> Iterable[tuple[str, Any, Origin]]:
    source = DotEnvSettingsSource(cls, env_file=DOTENV_FILE, dotenv_filtering="only_existing")
    _warn_about_unknown([name.upper() for name in source.env_vars], known, others, f" in {DOTENV_FILE}")
    for name, value in source().items():
        yield name, value, Origin("file", DOTENV_FILE)


def _warn_about_unknown(
    variables: Iterable[str], known: Sequence[type[Settings]], others: Collection[str], where: str
) -> None:
    prefix = prefix_of(known[0])
    names = {variable_of(name, settings) for settings in known for name in (*settings.model_fields, "config_file")}
    names.update(others)
    for variable in variables:
        if prefix and variable.startswith(prefix) and variable not in names:
            # The prefix that all of them have makes none of them nearer.
            near = nearest(variable.removeprefix(prefix), [name.removeprefix(prefix) for name in names])
            _warn_once(variable, prefix + near if near else "", where)


@cache
def _warn_once(variable: str, near: str, where: str) -> None:
    _log.warning("%s%s is no setting and is ignored%s", variable, where, f"; did you mean {near}?" if near else "")


def _refusal(
    cls: type[Settings], error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, Origin]
) -> InvalidArgument:
    violations = []
    for violation in violations_of(error, model=cls):
        name = violation.pointer[1:].partition("/")[0]
        info = cls.model_fields.get(name)
        if info is None:
            violations.append(violation)
            continue
        origin = origins.get(name, DEFAULT)
        held = "a secret" if is_secret(info) else f"'{_shown(values.get(name, info.default))}'"
        violations.append(
            Violation(violation.pointer, f"{name}: {origin} is {held}, but it {violation.message}", violation.hint)
        )
    return InvalidArgument(
        "; ".join(violation.message for violation in violations),
        code="invalid_setting",
        hint="; ".join(dict.fromkeys(violation.hint for violation in violations if violation.hint)),
        violations=violations,
    )
