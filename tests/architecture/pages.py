"""The reference pages that are made from the code. Write them anew with `python -m tests.architecture.pages`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

import headgate
from headgate.controlplane.app import reference
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.controlplane.web.refusals import Refusals
from headgate.controlplane.xds.metrics import XdsMetrics
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.reference import (
    added_settings_page,
    controls_page,
    errors_page,
    kit_settings_page,
    metrics_page,
    registry_of_kit,
    settings_page,
)
from headgate.service.settings import ServiceSettings

PACKAGE = Path(headgate.__file__).parent
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

SECTIONS = [("Control plane", ControlPlaneSettings), ("Dataplane", DataplaneSettings)]

SERVICES = """
What an `App` of services is told, besides [all of the kit](kit-settings.md) and in the same ways: flags, variables,
`headgate.toml`, `.env`. The guide to [services](../guides/services.md) shows them in use.
"""


def control_plane_metrics() -> CollectorRegistry:
    """A registry with what the control plane counts besides the kit."""
    registry = CollectorRegistry()
    XdsMetrics(registry)
    nobody: Any = None
    Refusals(nobody, registry)
    return registry


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": lambda: settings_page(SECTIONS),
    "kit-settings.md": kit_settings_page,
    "service-settings.md": lambda: added_settings_page("Settings of services", SERVICES, ServiceSettings),
    "controls.md": controls_page,
    "metrics.md": lambda: metrics_page(
        [("Services hardened with the kit", registry_of_kit()), ("The control plane, besides", control_plane_metrics())]
    ),
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
