"""Settings whose variables have another prefix, or none; and settings that are lists."""

import logging
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from headgate.kit import settings as module
from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.settings import Settings, variable_of

pytestmark = pytest.mark.usefixtures("bare")

Words = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(lambda v: tuple(v.split(",")) if isinstance(v, str) else v)
]


def _known(value: tuple[str, ...]) -> tuple[str, ...]:
    if "basilisk" in value:
        raise ValueError("must not be dangerous")
    return value


class Zoo(Settings):
    """A zoo."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="ZOO_")

    gates: int = 1
    """How many gates."""
    animals: Annotated[Words, AfterValidator(_known)] = ("ape", "bear")
    """Who lives there."""
    key: SecretStr | None = None
    """Opens the gates."""


class Bare(Zoo):
    """The same with plain names."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="")


@pytest.fixture(autouse=True)
def _warn_afresh() -> None:
    module._warn_once.cache_clear()


def test_a_class_has_its_own_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables begin with the prefix of the class, the one of the file included, and others are not looked at."""
    monkeypatch.setenv("ZOO_GATES", "3")
    monkeypatch.setenv("HEADGATE_GATES", "4")
    monkeypatch.setenv("GATES", "5")
    zoo = Zoo.load()
    assert (zoo.gates, str(zoo.origins()["gates"])) == (3, "environment ZOO_GATES")
    file = Path("other.toml")
    file.write_text("animals = ['yak']\n")
    monkeypatch.setenv("ZOO_CONFIG_FILE", "other.toml")
    assert Zoo.load().animals == ("yak",)
    monkeypatch.setenv("ZOO_CONFIG_FILE", "none.toml")
    with pytest.raises(InvalidArgument, match="ZOO_CONFIG_FILE names none"):
        Zoo.load()


def test_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the prefix "" variables are the names alone."""
    monkeypatch.setenv("GATES", "5")
    Path(".env").write_text("ANIMALS=emu\nUNRELATED=1\n")
    zoo = Bare.load()
    assert (zoo.gates, zoo.animals) == (5, ("emu",))
    assert [str(zoo.origins()[name]) for name in ("gates", "animals")] == ["environment GATES", "file .env"]


def test_unknown_variables_of_the_prefix(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt variable is warned about under the class's own prefix; without one nothing can be told."""
    monkeypatch.setenv("ZOO_GATTES", "3")
    monkeypatch.setenv("GATTES", "3")
    monkeypatch.setenv("HEADGATE_GATTES", "3")
    with caplog.at_level(logging.WARNING):
        Zoo.load()
        Bare.load()
    assert caplog.messages == ["ZOO_GATTES is no setting and is ignored; did you mean ZOO_GATES?"]


def test_variables_are_named_after_the_class() -> None:
    """What explains a setting names its variable with the prefix of its class."""
    assert [each.variable for each in Zoo().explain()][:2] == ["ZOO_GATES", "ZOO_ANIMALS"]
    assert (variable_of("gates", Bare), variable_of("gates")) == ("GATES", "HEADGATE_GATES")


@pytest.mark.parametrize("content", ['animals = ["cat", "dog"]', 'animals = "cat,dog"'])
def test_lists_in_a_file(content: str) -> None:
    """A list in the file may be a list of TOML, or text with commas as everywhere else."""
    Path("headgate.toml").write_text(content)
    assert Zoo.load().animals == ("cat", "dog")


def test_lists_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in a variable or a flag is words with commas between them."""
    monkeypatch.setenv("ZOO_ANIMALS", "cat,dog")
    assert Zoo.load().animals == ("cat", "dog")
    assert Zoo.load({"animals": "eel"}).animals == ("eel",)


def test_a_list_is_explained_as_it_is_written() -> None:
    """A list is shown as words with commas, and what it takes says so."""
    animals = {each.name: each for each in Zoo().explain()}["animals"]
    assert (animals.value, animals.allowed) == ("ape,bear", "a list, separated by commas")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "animals = ['ape', 'basilisk']",
            "animals: file headgate.toml is 'ape,basilisk', but it must not be dangerous",
        ),
        ("animals = ['ape', 7]", "animals: file headgate.toml is 'ape,7', but it must be text"),
        ("animals = 7", "animals: file headgate.toml is '7', but it must be a list"),
    ],
)
def test_a_bad_list(content: str, message: str) -> None:
    """A refused list is told with what it is, as is one of its words."""
    Path("headgate.toml").write_text(content)
    with pytest.raises(InvalidArgument) as refused:
        Zoo.load()
    assert refused.value.message == message
