"""Every knob of the kit changes how a service behaves."""

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from headgate.kit.hardening import HardeningSettings
from headgate.testing.valkey import Valkey, valkey_or_skip
from tests.kit.knobs import KNOBS, Place

for room in ("web", "limits", "identity", "resilience", "observe", "traces", "serving", "safety"):
    import_module(f"tests.kit.knobs.{room}")

WITHOUT_EFFECT: Final = frozenset[str]()
"""Knobs that nothing reads; whoever connects one takes it out here."""


def _parameter(name: str) -> Any:
    mark = pytest.mark.xfail(strict=True, reason="has no effect")
    return pytest.param(name, marks=mark) if name in WITHOUT_EFFECT else name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A directory to work in, and a Valkey for those who ask for it."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def start() -> Valkey:
            return stack.enter_context(valkey_or_skip())

        yield Place(tmp_path, monkeypatch, start)


@pytest.mark.parametrize("name", [_parameter(name) for name in KNOBS])
async def test_every_knob_has_an_effect(name: str, place: Place) -> None:
    """Turned one way and the other, a hardened service does something else."""
    result = KNOBS[name](place)
    if result is not None:
        await result


def test_every_knob_is_checked() -> None:
    """There is a check for each setting, and none for what is no setting any more."""
    assert set(KNOBS) == set(HardeningSettings.model_fields)
