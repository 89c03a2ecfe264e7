"""Knobs of an application of services, besides all of the kit's.

    settings = ServiceSettings.load()               # REGISTRY=consul://127.0.0.1:8500, .env, headgate.toml
    app = App(Orders(), settings=settings)

The machinery is `headgate.kit.settings`: flags, environment, file and `.env`, each value with its origin.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from headgate.kit.hardening import HardeningSettings, Positive, Seconds, Words

WIRES = ("http", "socket", "grpc", "nats")
"""What services are served over; `nats` only with `nats_url`."""

LONGEST_TEXT = 253


def _wires(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        if each not in WIRES:
            raise ValueError(f"'{each}' is no wire; there are {', '.join(WIRES)}")
    return value


class ServiceSettings(HardeningSettings):
    """Where services are found, and over what."""

    wires: Annotated[Words, AfterValidator(_wires)] = WIRES
    """What services are served over: `http`, `socket` (WebSocket), `grpc`, and `nats` when there is a `nats_url`."""
    registry: SecretStr | None = None
    """Registry in which instances are told and found, such as `consul://127.0.0.1:8500`; without one nobody is told."""
    broker: SecretStr | None = None
    """Broker that events travel by, such as `nats://127.0.0.1:4222`; without one they stay in the process."""
    nats_url: SecretStr | None = None
    """NATS that methods are answered over, such as `nats://127.0.0.1:4222`."""
    advertise: str = Field(default="", max_length=LONGEST_TEXT)
    """Host at which others reach this process; "" is `host`, or the machine's address where that means all."""
    zone: str = Field(default="", max_length=LONGEST_TEXT)
    """Where this runs; clients that know zones prefer their own."""
    instance_id: str = Field(default="", pattern=r"^$|^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=100)
    """Name of this process in the registry; "" makes one of the machine's name and chance."""
    weight: float = Field(default=1.0, ge=0, le=1_000)
    """Share of the calls it takes beside other instances."""
    socket_path: str = Field(default="/rpc", pattern=r"^/[A-Za-z0-9_./-]*$")
    """Path of the WebSocket over which calls are made."""
    docs: bool = True
    """Whether documentation of the services is made: OpenAPI, AsyncAPI and a page; shown as `docs_public` says."""
    docs_paths: Words = ("/docs", "/openapi.json", "/asyncapi.json", "/contract.json")
    """Paths, and all below them, that hold documentation."""
    mcp: bool = False
    """Whether methods are offered as tools to language models (MCP)."""
    mcp_path: str = Field(default="/mcp", pattern=r"^/[A-Za-z0-9_./-]*[A-Za-z0-9_.-]$")
    """Where those are offered."""
    contracts: Path = Path("contracts")
    """Directory of the lock files that keep the numbers of fields for gRPC."""
    keys_kept: Positive = 86_400.0
    """How long the outcome of a call is kept by its idempotency key."""
    keys_max: int = Field(default=100_000, ge=1, le=10_000_000)
    """Most outcomes that one process keeps; the longest unused is forgotten first."""
    heartbeat: Seconds = 15.0
    """How often a stream over HTTP that has nothing to say shows that it lives; 0 never."""
