"""What an application tells registries of itself: one instance for each service, with the addresses of its wires.

instances_of(hosted, settings, {"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"})
"""

import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from headgate.service.host import Hosted
from headgate.service.registry.instance import Instance
from headgate.service.settings import ServiceSettings

_NOWHERE: Final = ("192.0.2.1", 9)
"""An address of documentation (RFC 5737): what leads there tells which of ours is the way out. Nothing is sent."""

_CHANCE_BYTES: Final = 4


def instances_of(
    hosted: Iterable[Hosted], settings: ServiceSettings, endpoints: Mapping[str, str], process: str
) -> list[Instance]:
    """One for each service that has methods. `process` is what the ids begin with."""
    return [
        Instance(
            id=f"{process}-{each.contract.name}",
            service=each.contract.name,
            version=each.contract.version,
            endpoints=dict(endpoints),
            zone=settings.zone,
            weight=settings.weight,
            metadata=dict(each.contract.metadata),
            contract=each.contract.hash,
            started=time.time(),
        )
        for each in hosted
        if each.contract.methods
    ]


def process_name(settings: ServiceSettings) -> str:
    """The name of this process among others: as it was given, or the machine's and chance."""
    if settings.instance_id:
        return settings.instance_id
    machine = "".join(each if each.isalnum() or each in ".-" else "-" for each in socket.gethostname()).strip(".-")
    return f"{machine[:60] or 'process'}-{secrets.token_hex(_CHANCE_BYTES)}"


def advertised_host(settings: ServiceSettings) -> str:
    """The host at which others reach what listens on `host`."""
    if settings.advertise:
        return settings.advertise
    try:
        everywhere = ip_address(settings.host).is_unspecified
    except ValueError:
        everywhere = False
    return own_address() if everywhere else settings.host


def own_address() -> str:
    """The address of this machine that others are likely to reach; loopback when it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_NOWHERE)
            found: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
        return found
