"""The pages of settings: those of products, and every knob of the kit."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydantic.fields import FieldInfo

from headgate.kit.controls.redaction import MASK
from headgate.kit.hardening import HardeningSettings
from headgate.kit.profile import RULES
from headgate.kit.reference.markdown import GENERATED, cell, table
from headgate.kit.settings import Settings, allowed_here, flag_of, groups_of, is_secret, variable_of

_HEAD: Final = ("setting", "variable, flag", "default", "allowed", "what it is")


def settings_page(sections: Sequence[tuple[str, type[Settings]]]) -> str:
    """The page of all settings; `sections` are titles and classes."""
    tables = "\n".join(f"## {title}\n\n{_table(settings, settings.model_fields)}" for title, settings in sections)
    return f"""{GENERATED}
# Settings

A setting is given, strongest first, by a flag (`--api-port 8081`), a variable (`HEADGATE_API_PORT=8081`), a line
of a TOML file (`api_port = 8081`), the same variable in `.env`, or its default. The file is the one that
`--config` or `HEADGATE_CONFIG_FILE` names, else `headgate.toml` in the working directory. `headgate config` shows
every value and where it came from.

A key of the file that is no setting is an error that names the nearest one. A variable `HEADGATE_*` that is
none is warned about. An empty variable counts as not set. Secrets have no flag: other users can see a command's flags.

{tables}"""


def kit_settings_page() -> str:
    """The page of every knob of the kit, by group, with what is refused of it."""
    tables = "\n".join(_group(group, names) for group, names in groups_of(HardeningSettings))
    return f"""{GENERATED}
# Settings of the kit

What a hardened service can be told, `HardeningSettings.load()` or `python -m headgate.kit`. A setting is given,
strongest first, by a flag (`--port 8081`), a variable (`PORT=8081`), a line of a TOML file (`port = 8081`), the same
variable in `.env`, or its default. The file is the one that `--config` or `CONFIG_FILE` names, else `headgate.toml` in
the working directory. Lists are separated by commas; in the file they may be lists. Durations are seconds, sizes bytes.

A flag, or a key of the file, that is no setting is an error that names the nearest one; so is a value that is not
allowed. Variables have no prefix, so a misspelt one cannot be told from anybody else's. An empty variable counts as
not set. Other users can see a command's flags: the flag of a secret names a file that holds it.

What is unsafe does not start, all of it told at once, with code `unsafe_settings`; some of it is refused only with
`profile=production`, and some is a warning there. The last column says when.

A process with settings of its own inherits the groups it needs, as the control plane does:
`class ShopSettings(WebSettings, LimitSettings)`. Its variables begin with `HEADGATE_`, or with the `env_prefix` of its
`model_config`. Whoever gets settings without a group leaves that group's controls out.

{tables}"""


def added_settings_page(title: str, told: str, settings: type[HardeningSettings]) -> str:
    """The page of what `settings` adds to the kit's; `told` is what stands above its table, in Markdown."""
    return f"""{GENERATED}
# {title}

{told.strip()}

{_table(settings, dict(groups_of(settings))[settings])}"""


def _group(group: type[Settings], names: Iterable[str]) -> str:
    return f"""## {(group.__doc__ or "").strip().rstrip(".")}

`headgate.kit.hardening.{group.__name__}`

{_table(HardeningSettings, names)}"""


def _table(settings: type[Settings], names: Iterable[str]) -> str:
    return table(_HEAD, (_row(settings, name, settings.model_fields[name]) for name in names))


def _row(settings: type[Settings], name: str, info: FieldInfo) -> tuple[str, ...]:
    told = [cell(info.description or "")]
    if issubclass(settings, HardeningSettings):
        told += _refusals(name)
    return (
        f"`{name}`",
        "<br>".join(f"`{way}`" for way in _ways(settings, name, info)),
        _default(info),
        cell(allowed_here(settings, name)),
        "<br>".join(told),
    )


def _ways(settings: type[Settings], name: str, info: FieldInfo) -> Iterator[str]:
    yield variable_of(name, settings)
    if not is_secret(info):
        yield flag_of(name)
    elif issubclass(settings, HardeningSettings):
        yield f"{flag_of(name)}-file"


def _refusals(name: str) -> Iterator[str]:
    for rule in RULES:
        if name in rule.settings:
            yield f"**{rule.told[0].upper()}{rule.told[1:]}**: {rule.when}."


def _default(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "default_text" in extra:
        return f"`{extra['default_text']}`"
    if info.default is None:
        return "(not set)"
    if info.default in {"", ()}:
        return "(none)"
    if isinstance(info.default, tuple):
        return f"`{','.join(info.default)}`"
    if is_secret(info):
        return MASK
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"
