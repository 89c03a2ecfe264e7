"""Every knob of the kit can be turned from everywhere."""

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.hardening import HardeningSettings
from headgate.kit.settings import flag_of, is_secret

FIELDS = HardeningSettings.model_fields

SPECIAL: dict[str, str] = {
    "access_rules": "GET /orders=orders:read,POST /orders=orders:write",
    "audit_log": "stderr",
    "mtls_scopes": "spiffe://shop.example/*=orders:read",
    "rate_limit_default": "7/second",
    "rate_limit_tokens": "1000/hour",
    "timeout_header": "x-time",
    "trusted_proxies": "10.0.0.0/8,2001:db8::/32",
}
"""Values of settings whose text has a form of its own."""


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.lower() in {*FIELDS, "config_file"}]:
        monkeypatch.delenv(name)


def another(name: str, info: FieldInfo) -> str:
    """A value that is not the default, as text."""
    if name in SPECIAL:
        return SPECIAL[name]
    default = info.get_default(call_default_factory=True)
    kind = info.annotation
    if kind is bool:
        return str(not default).lower()
    if get_args(kind) and all(isinstance(each, str) for each in get_args(kind)):
        return next(each for each in get_args(kind) if each != default)
    if kind in (int, float):
        return str(next(each for each in _near(default) if _allowed(info, each)))
    if kind is str or is_secret(info):
        return f"/{name}/x"
    if kind in (Path | None, Path):
        return f"{name}.pem"
    return "first,second"


def _near(default: float) -> list[float]:
    return [default + 1, default / 2, default - 1, 0]


def _allowed(info: FieldInfo, value: float) -> bool:
    checked: Any = TypeAdapter(info.rebuild_annotation())
    try:
        checked.validate_python(value)
    except ValidationError:
        return False
    return True


def plain(value: Any) -> Any:
    """A value that can be compared and shown."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def load(name: str, text: str, source: str, monkeypatch: pytest.MonkeyPatch) -> HardeningSettings:
    """Load the settings with one of them given by `source`."""
    match source:
        case "environment":
            monkeypatch.setenv(name.upper(), text)
        case ".env":
            Path(".env").write_text(f"{name.upper()}='{text}'\n")
        case "file":
            Path("headgate.toml").write_text(f"{name} = {json.dumps(_of_toml(name, text))}\n")
        case _ if is_secret(FIELDS[name]):
            Path("secret").write_text(f"{text}\n")
            return HardeningSettings.from_command_line([f"{flag_of(name)}-file", "secret"])
        case _:
            return HardeningSettings.from_command_line([flag_of(name), text])
    return HardeningSettings.from_command_line([])


def _of_toml(name: str, text: str) -> Any:
    """The value as a file would have it: numbers, truth and lists as such."""
    kind = FIELDS[name].annotation
    if kind in (bool, int, float):
        return json.loads(text)
    return text.split(",") if isinstance(FIELDS[name].get_default(call_default_factory=True), tuple) else text


@pytest.mark.parametrize("name", FIELDS)
def test_every_knob_can_be_turned_from_everywhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment, .env, file and flag each set it, to the same value, and are told as where it came from."""
    text, default = another(name, FIELDS[name]), getattr(HardeningSettings(), name)
    values = []
    for source in ("environment", ".env", "file", "flag"):
        with monkeypatch.context() as patched:
            settings = load(name, text, source, patched)
        for left in (".env", "headgate.toml"):
            Path(left).unlink(missing_ok=True)
        assert (
            str(settings.origins()[name])
            == {
                "environment": f"environment {name.upper()}",
                ".env": "file .env",
                "file": "file headgate.toml",
                "flag": f"flag {flag_of(name)}",
            }[source]
        )
        values.append(plain(getattr(settings, name)))
    assert values == [values[0]] * 4
    assert values[0] != plain(default)


@pytest.mark.parametrize("name", FIELDS)
def test_every_knob_says_what_it_is(name: str) -> None:
    """Each has a sentence, a default, and what it takes."""
    info = FIELDS[name]
    assert (info.description or "").rstrip().endswith(".")
    assert not info.is_required()
    explained = {each.name: each for each in HardeningSettings().explain()}[name]
    assert explained.variable == name.upper()


@pytest.mark.parametrize("name", [name for name, info in FIELDS.items() if is_secret(info)])
def test_no_secret_is_shown(name: str) -> None:
    """What explains or represents settings never holds the value of a secret."""
    settings = HardeningSettings(**{name: "open-sesame"})
    assert "sesame" not in repr((settings, settings.explain(), str(settings)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_limit_default", "60/year"),
        ("trusted_proxies", "10.0.0.0/8,everyone"),
        ("profile", "staging"),
        ("max_body_size", "-1"),
        ("content_filter_threshold", "1.5"),
        ("port", "70000"),
        ("timeout_header", "X Time"),
        ("metrics_path", "metrics"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_given(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is not allowed is refused when settings are loaded, naming the variable it came from."""
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(InvalidArgument) as refused:
        HardeningSettings.load()
    assert [violation.pointer for violation in refused.value.violations] == [f"/{name}"]
    assert f"environment {name.upper()} is '{value}'" in refused.value.message
