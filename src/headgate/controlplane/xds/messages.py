"""What goes into a stream and what comes out of it, as plain data: requests, responses, refusals. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.controlplane.translate.resource import Resource


@dataclass(frozen=True, slots=True)
class Request:
    """A discovery request of either kind. `names` is for state of the world, the last three for delta."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    version: str = ""
    names: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A discovery response of either kind; `removed` is for delta."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: what the client said, and which resources it is known to be about (none while that is found out)."""

    type_url: str
    nonce: str
    message: str
    resources: tuple[Resource, ...]
    last_good: Mapping[str, Resource]


@dataclass(slots=True)
class Counters:
    """What happened on a stream."""

    responses: int = 0
    acks: int = 0
    nacks: int = 0
    stale: int = 0
