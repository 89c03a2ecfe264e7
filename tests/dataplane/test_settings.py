"""The settings of the dataplane."""

import pytest
from pydantic import ValidationError

from headgate.dataplane.settings import DataplaneSettings


def test_defaults():
    """Out of the box Envoy is looked for, and its administration is on its usual port."""
    settings = DataplaneSettings()
    assert (settings.envoy_path, settings.envoy_admin_port, settings.envoy_concurrency) == (None, 9901, None)


@pytest.mark.parametrize(
    "bad",
    [
        {"envoy_restart_min_ms": 5000, "envoy_restart_max_ms": 1000},
        {"envoy_concurrency": 0},
        {"envoy_log_level": "loud"},
        {"envoy_base_id": -1},
    ],
)
def test_bounds(bad):
    """Values outside of their bounds, and a back-off that shrinks, are refused."""
    with pytest.raises(ValidationError):
        DataplaneSettings(**bad)
