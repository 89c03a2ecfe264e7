"""The reference pages that are made from the code. Write them anew with `python -m tests.architecture.pages`."""

from collections.abc import Callable
from pathlib import Path

import headgate
from headgate.controlplane.app import reference
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.reference import controls_page, errors_page, kit_settings_page, settings_page

PACKAGE = Path(headgate.__file__).parent
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

SECTIONS = [("Control plane", ControlPlaneSettings), ("Dataplane", DataplaneSettings)]

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": lambda: settings_page(SECTIONS),
    "kit-settings.md": kit_settings_page,
    "controls.md": controls_page,
    "errors.md": lambda: errors_page(PACKAGE),
    "openapi.json": reference,
}


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
