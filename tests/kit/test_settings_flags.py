"""Settings on a command line."""

from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.flags import flag_names
from headgate.kit.hardening import HardeningSettings
from headgate.kit.settings import Settings

pytestmark = pytest.mark.usefixtures("bare")


class Place(Settings):
    """Where."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="SHOP_")
    port: int = 80
    """Port the shop is on; at most 100 % of them."""


class Shop(Place):
    """A shop."""

    open_late: bool = False
    """Whether it is open at night."""
    mode: Literal["cash", "card"] = "cash"
    """How to pay."""
    api_key: SecretStr | None = None
    """Opens the till."""


def refused(*argv: str) -> InvalidArgument:
    """The fault of a command line."""
    with pytest.raises(InvalidArgument) as caught:
        Shop.from_command_line(argv, prog="shop")
    return caught.value


def test_flags_are_the_strongest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag beats the environment and is named as where the value came from."""
    monkeypatch.setenv("SHOP_PORT", "2")
    monkeypatch.setenv("SHOP_MODE", "card")
    shop = Shop.from_command_line(["--port", "1"])
    assert (shop.port, shop.mode, str(shop.origins()["port"])) == (1, "card", "flag --port")


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--open-late"], True),
        (["--open-late=true"], True),
        (["--open-late", "false"], False),
        (["--open-late", "--port", "3"], True),
        ([], False),
    ],
)
def test_truth(argv: list[str], value: bool) -> None:
    """A flag of true or false means true when it stands alone."""
    assert Shop.from_command_line(argv).open_late is value


def test_the_process_s_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments given, those of the process are read."""
    monkeypatch.setattr("sys.argv", ["shop", "--port", "9"])
    assert Shop.from_command_line().port == 9


def test_the_file_of_settings(tmp_path: Path) -> None:
    """`--config` names the file, which a flag beats."""
    file = tmp_path / "shop.toml"
    file.write_text("port = 3\nmode = 'card'\n")
    shop = Shop.from_command_line(["--config", str(file), "--port", "4"])
    assert (shop.port, shop.mode) == (4, "card")
    assert "--config names none.toml" in refused("--config", "none.toml").message


def test_secrets_come_from_a_file(tmp_path: Path) -> None:
    """A secret is not written on a command line: its flag names the file that holds it."""
    file = tmp_path / "key"
    file.write_text("sesame\n")
    shop = Shop.from_command_line(["--api-key-file", str(file)])
    assert shop.api_key is not None
    assert shop.api_key.get_secret_value() == "sesame"
    assert "cannot be read: No such file" in refused("--api-key-file", "none").message
    fault = refused("--api-key=sesame")
    assert (fault.code, fault.hint) == ("unknown_flag", "did you mean --api-key-file?")
    assert "sesame" not in repr((fault.message, fault.hint, fault.violations))


def test_unknown_flags() -> None:
    """A flag that is none is refused, with the nearest; all of them at once."""
    fault = refused("--prot", "1", "--opne-late", "-x")
    assert fault.message == "unknown flag --prot; unknown flag --opne-late; unknown flag -x"
    assert (fault.code, fault.hint) == ("unknown_flag", "did you mean --port?; did you mean --open-late?")


def test_no_shortcuts() -> None:
    """The beginning of a flag is not taken for it."""
    assert refused("--por", "1").code == "unknown_flag"


def test_what_belongs_to_no_flag() -> None:
    """A word alone is refused and not repeated: it may be a secret."""
    fault = refused("sesame")
    assert (fault.code, fault.hint) == ("unknown_flag", "shop --help lists the flags")
    assert "sesame" not in fault.message


def test_a_flag_without_its_value() -> None:
    """A flag that lacks its value is named."""
    fault = refused("--port")
    assert (fault.code, "--port" in fault.message) == ("invalid_flag", True)


def test_bad_values_name_the_flag() -> None:
    """A value that is not allowed is told with its flag and what is."""
    fault = refused("--mode", "barter")
    assert (fault.code, "flag --mode is 'barter'" in fault.message) == ("invalid_setting", True)


def test_help_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists every flag with what it is, its variable and what it takes, by group."""
    with pytest.raises(SystemExit) as ended:
        Shop.from_command_line(["--help"], prog="shop", description="Sells things.")
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "Sells things." in text
    assert "Port the shop is on; at most 100 % of them. [SHOP_PORT; a whole number]" in text
    assert "File that holds api_key: opens the till." in text
    assert "one of cash, card" in text
    assert text.index("Where:") < text.index("--port") < text.index("A shop:") < text.index("--mode")
    assert all(flag in text for flag in flag_names(Shop))


def test_every_setting_of_the_kit_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """No setting of the kit is without a flag and a sentence."""
    with pytest.raises(SystemExit):
        HardeningSettings.from_command_line(["--help"], prog="service")
    text = " ".join(capsys.readouterr().out.split())
    for name, info in HardeningSettings.model_fields.items():
        assert " ".join((info.description or "?").split())[1:40].strip() in text, name
    assert all(flag in text for flag in flag_names(HardeningSettings))
