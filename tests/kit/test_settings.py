"""Settings: which source wins, what is refused, and what is told of each value."""

import json
import logging
from pathlib import Path
from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from headgate.kit import settings as module
from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.settings import Origin, Settings, flag_of, variable_of

pytestmark = pytest.mark.usefixtures("bare")


class Shop(Settings):
    """Settings of a shop."""

    port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Port the shop
    is served on."""
    place: Path = Path("shop")
    """Where it is."""
    mode: Literal["open", "closed"] = "open"
    """Whether it is open."""
    tables: int | None = None
    """How many tables."""
    password: SecretStr | None = None
    """Opens the till."""
    database: str = Field(default_factory=lambda data: f"sqlite:///{data['place']}/db")
    """Where sales are kept."""

    @model_validator(mode="after")
    def _closed_shops_have_no_tables(self) -> Self:
        if self.mode == "closed" and self.tables:
            raise ValueError("tables needs mode 'open'")
        return self


class Kitchen(Settings):
    """Settings beside those of the shop, in the same file."""

    ovens: int = 1
    """How many ovens."""


@pytest.fixture(autouse=True)
def _warn_afresh():
    module._warn_once.cache_clear()


def refused(flags=None, **kwargs) -> InvalidArgument:
    """The fault that loading raises."""
    with pytest.raises(InvalidArgument) as caught:
        Shop.load(flags, **kwargs)
    return caught.value


def test_defaults():
    """With nothing said, every value is its default and is said to be."""
    shop = Shop.load()
    assert (shop.port, shop.mode, shop.database) == (80, "open", "sqlite:///shop/db")
    assert set(shop.origins().values()) == {Origin("default")}


SOURCES = {
    "flag": ("flag --port", "5"),
    "environment": ("environment HEADGATE_PORT", "4"),
    "file": ("file headgate.toml", "3"),
    "dotenv": ("file .env", "2"),
}


@pytest.mark.parametrize("strongest", SOURCES)
def test_the_stronger_source_wins(strongest, monkeypatch):
    """A flag beats the environment, which beats the file, which beats .env, which beats the default."""
    given = list(SOURCES)[list(SOURCES).index(strongest) :]
    flags = {"port": SOURCES["flag"][1]} if "flag" in given else {}
    if "environment" in given:
        monkeypatch.setenv("HEADGATE_PORT", SOURCES["environment"][1])
    if "file" in given:
        Path("headgate.toml").write_text(f"port = {SOURCES['file'][1]}\n")
    if "dotenv" in given:
        Path(".env").write_text(f"HEADGATE_PORT={SOURCES['dotenv'][1]}\nOTHER=1\n")
    shop = Shop.load(flags)
    assert str(shop.origins()["port"]) == SOURCES[strongest][0]
    assert shop.port == int(SOURCES[strongest][1])


def test_sources_mix():
    """Each value comes from the strongest source that has it, and derived defaults follow it."""
    Path("headgate.toml").write_text('place = "there"\n')
    shop = Shop.load({"port": 1, "tables": None})
    assert (shop.port, shop.tables, shop.database) == (1, None, "sqlite:///there/db")
    assert shop.origins()["tables"] == Origin("default")


def test_the_constructor_reads_nothing(monkeypatch):
    """Constructed in code, settings look at nothing around them."""
    monkeypatch.setenv("HEADGATE_PORT", "4")
    Path("headgate.toml").write_text("port = 3\n")
    assert Shop().port == 80
    assert str(Shop(port=7).origins()["port"]) == "flag --port"


def test_settings_do_not_change():
    """A value cannot be assigned after loading."""
    with pytest.raises(ValidationError):
        Shop().port = 5  # type: ignore[misc]


def test_an_empty_variable_is_not_set(monkeypatch):
    """An empty variable counts as absent."""
    monkeypatch.setenv("HEADGATE_PORT", "")
    assert Shop.load().port == 80


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_another_file(how, monkeypatch, tmp_path):
    """The file is the one that --config names, else HEADGATE_CONFIG_FILE."""
    file = tmp_path / "other.toml"
    file.write_text("port = 9\n")
    Path("headgate.toml").write_text("port = 3\n")
    monkeypatch.setenv("HEADGATE_CONFIG_FILE", str(file) if how == "variable" else "absent.toml")
    shop = Shop.load(config=file if how == "argument" else None)
    assert str(shop.origins()["port"]) == f"file {file}"
    assert shop.port == 9


def test_a_named_file_must_exist(tmp_path, monkeypatch):
    """A file that was named and is not there is refused, saying who named it."""
    fault = refused(config=tmp_path / "none.toml")
    assert (fault.code, "--config names" in fault.message) == ("config_file_unreadable", True)
    monkeypatch.setenv("HEADGATE_CONFIG_FILE", "none.toml")
    assert refused().message == "HEADGATE_CONFIG_FILE names none.toml, which does not exist"


def test_a_file_that_cannot_be_read(tmp_path):
    """A directory in place of the file is refused with the system's reason."""
    assert "Is a directory" in refused(config=tmp_path).message


@pytest.mark.parametrize("content", [b"port: 80\n", b"port = = 1", b"\xff\xfe"])
def test_a_file_that_is_not_toml(content):
    """A malformed file is refused, naming it."""
    Path("headgate.toml").write_bytes(content)
    fault = refused()
    assert fault.code == "config_file_malformed"
    assert fault.message.startswith("headgate.toml is not TOML: ")


def test_unknown_keys_of_the_file():
    """A key no class knows is refused by name, with the nearest that is known; all of them at once."""
    Path("headgate.toml").write_text("prot = 1\nmoed = 'open'\novens = 2\n[table]\nx = 1\n")
    fault = refused(beside=[Kitchen])
    assert fault.message == "headgate.toml: unknown setting 'prot', 'moed', 'table'"
    assert fault.code == "unknown_setting"
    assert [(v.pointer, v.hint) for v in fault.violations] == [
        ("/prot", "did you mean 'port'?"),
        ("/moed", "did you mean 'mode'?"),
        ("/table", "did you mean 'tables'?"),
    ]


def test_one_file_for_several_classes(monkeypatch):
    """Each class takes its own keys of a shared file and a shared prefix."""
    Path("headgate.toml").write_text("port = 3\novens = 2\n")
    monkeypatch.setenv("HEADGATE_OVENS", "4")
    assert Shop.load(beside=[Kitchen]).port == 3
    assert Kitchen.load(beside=[Shop]).ovens == 4


def test_unknown_variables_are_warned_about_once(monkeypatch, caplog):
    """A variable with our prefix that is no setting is warned about once, with the nearest name."""
    monkeypatch.setenv("HEADGATE_PROT", "1")
    monkeypatch.setenv("HEADGATE_OVENS", "1")
    monkeypatch.setenv("HEADGATE_URL", "1")
    Path(".env").write_text("HEADGATE_MOED=open\nUNRELATED=1\n")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            Shop.load(beside=[Kitchen], other_variables=["HEADGATE_URL"])
    assert caplog.messages == [
        "HEADGATE_MOED in .env is no setting and is ignored; did you mean HEADGATE_MODE?",
        "HEADGATE_PROT is no setting and is ignored; did you mean HEADGATE_PORT?",
    ]


def test_the_prefix_makes_no_name_nearer(monkeypatch, caplog):
    """A variable that is like no setting but for the prefix is warned about without a guess."""
    monkeypatch.setenv("HEADGATE_QUIET", "1")
    with caplog.at_level(logging.WARNING):
        Shop.load()
    assert caplog.messages == ["HEADGATE_QUIET is no setting and is ignored"]


def test_bad_values_say_where_they_came_from(monkeypatch):
    """A refused value is told with its setting, its source, what it is and what is allowed."""
    monkeypatch.setenv("HEADGATE_PORT", "eighty")
    assert refused().message == "port: environment HEADGATE_PORT is 'eighty', but it must be a whole number"
    assert refused().hint == "allowed: a whole number from 1 to 65535"
    monkeypatch.delenv("HEADGATE_PORT")
    Path("headgate.toml").write_text("mode = 'opened'\ntables = 'x'\n")
    fault = refused({"port": 0})
    assert [violation.pointer for violation in fault.violations] == ["/port", "/mode", "/tables"]
    assert "port: flag --port is '0', but it must be greater than or equal to 1" in fault.message
    assert "mode: file headgate.toml is 'opened', but it must be 'open' or 'closed'" in fault.message
    assert (fault.code, "did you mean 'open'?" in fault.hint) == ("invalid_setting", True)


def test_settings_that_contradict_each_other():
    """A rule over several settings is refused in its own words."""
    assert refused({"mode": "closed", "tables": 3}).message == "tables needs mode 'open'"


def test_a_default_derived_from_a_bad_value_is_not_blamed():
    """Only the value that is wrong is named, not the default that was to follow from it."""
    fault = refused({"place": 7})
    assert [violation.pointer for violation in fault.violations] == ["/place"]


@pytest.mark.parametrize("value", [["sesame"], {"a": "sesame"}])
def test_a_refused_secret_is_not_repeated(value):
    """The fault for a bad secret does not hold it, nor does the exception's chain."""
    fault = refused({"password": value})
    assert "sesame" not in repr((fault.message, fault.hint, fault.violations, fault.__cause__))
    assert "is a secret" in fault.message
    assert fault.__suppress_context__


def test_explain():
    """Every setting is explained: value, origin, description, what is allowed, how to set it; secrets masked."""
    shop = Shop.load({"password": "sesame", "port": 8, "database": "postgresql://u:sesame@h/db"})
    explained = {each.name: each for each in shop.explain()}
    assert list(explained) == ["port", "place", "mode", "tables", "password", "database"]
    port = explained["port"]
    assert (port.value, str(port.origin), port.description) == (8, "flag --port", "Port the shop is served on.")
    assert (port.allowed, port.variable, port.flag) == ("a whole number from 1 to 65535", "HEADGATE_PORT", "--port")
    assert explained["place"].value == "shop"
    assert explained["tables"].value is None
    assert explained["database"].value == "postgresql://u:***@h/db"
    assert "sesame" not in repr((list(explained.values()), shop))
    json.dumps([each.value for each in explained.values()])


def test_names():
    """A setting's variable and flag follow from its name."""
    assert (variable_of("api_port"), flag_of("api_port")) == ("HEADGATE_API_PORT", "--api-port")
