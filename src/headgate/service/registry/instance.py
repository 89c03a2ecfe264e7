"""What a registry tells of: instances of services, and snapshots of all there are of one.

    Instance(
        id="orders-7f9c-x2x1", service="orders", version="1.2.0", zone="eu-1a",
        endpoints={"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"},
    )

`endpoints` are by wire: URLs for HTTP and WebSockets, `host:port` for gRPC, what the wire takes for others.

    InvalidArgument
    └── invalid_instance    all that is wrong, each with a JSON pointer into the instance
"""

import re
from typing import Final

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Violation

LONGEST_TEXT: Final = 512
"""Characters of an id, an address, a metadata value."""
MOST_METADATA: Final = 48
"""Pairs of metadata: what every registry can keep."""
HEAVIEST: Final = 1000.0

_SERVICE: Final = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_ID: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./:\[\]-]*[A-Za-z0-9\]])?")
_WIRE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_KEY: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9])?")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_SECRET: Final = re.compile(r"//[^/?#]*@")


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process that serves `service`. Raises InvalidArgument (`invalid_instance`).

    `weight` is its share of the calls beside others of the same service, 0 for none. `zone` is where it runs.
    `contract` is the hash of the contract it serves. `started` is in seconds since 1970, 0 when unknown.
    `metadata` is text by name, at most 48 pairs.
    """

    id: str
    service: str
    version: str = ""
    endpoints: dict[str, str] = {}
    zone: str = ""
    weight: float = 1.0
    metadata: dict[str, str] = {}
    contract: str = ""
    started: float = 0.0

    def __post_init__(self) -> None:
        wrong = [*_of_texts(self), *_of_endpoints(self.endpoints), *_of_metadata(self.metadata)]
        if not 0 <= self.weight <= HEAVIEST:
            wrong.append(Violation("/weight", f"{self.weight} is no weight", f"from 0 to {HEAVIEST:g}"))
        if wrong:
            raise InvalidArgument(
                f"instance '{self.id[:100]}' of '{self.service[:100]}' cannot be told of: {wrong[0].message}",
                code="invalid_instance",
                violations=wrong,
            )


class Snapshot(msgspec.Struct, frozen=True):
    """All instances of a service, ordered by their ids: never a part of them.

    `generation` grows when the instances change, and only then; it starts at 1, 0 is before the first answer.
    `stale` says that the registry could not be asked since: these are the last that it told. `reason` says why.
    """

    service: str
    generation: int = 0
    instances: tuple[Instance, ...] = ()
    stale: bool = False
    reason: str = ""


def check_service(service: str) -> str:
    """The name. Raises InvalidArgument (`invalid_service_name`)."""
    if len(service) > 128 or not _SERVICE.fullmatch(service):
        raise InvalidArgument(
            f"'{service[:100]}' is no name of a service",
            code="invalid_service_name",
            hint="small letters and digits, joined by '-', '_' or '.'",
        )
    return service


def ordered(instances: "list[Instance] | tuple[Instance, ...]") -> tuple[Instance, ...]:
    """The instances by id, each id once; the last of one id stays."""
    return tuple(instance for _, instance in sorted({each.id: each for each in instances}.items()))


def _of_texts(instance: Instance) -> list[Violation]:
    wrong = []
    if len(instance.id) > LONGEST_TEXT or not _ID.fullmatch(instance.id):
        wrong.append(Violation("/id", "an id is letters, digits and '_./:-'", "such as orders-1"))
    if len(instance.service) > 128 or not _SERVICE.fullmatch(instance.service):
        hint = "small letters and digits, joined by '-', '_' or '.'"
        wrong.append(Violation("/service", f"'{instance.service[:100]}' is no name of a service", hint))
    for name in ("version", "zone", "contract"):
        text = getattr(instance, name)
        if len(text) > LONGEST_TEXT or _BLANK.search(text):
            wrong.append(Violation(f"/{name}", f"at most {LONGEST_TEXT} characters without blanks"))
    return wrong


def _of_endpoints(endpoints: dict[str, str]) -> list[Violation]:
    wrong = []
    for wire, address in endpoints.items():
        if not _WIRE.fullmatch(wire):
            wrong.append(
                Violation("/endpoints", f"'{wire[:100]}' is no name of a wire", "such as http, grpc, socket, nats")
            )
        elif not address or len(address) > LONGEST_TEXT or _BLANK.search(address):
            wrong.append(Violation(f"/endpoints/{wire}", "no address", "such as http://10.0.0.1:8080"))
        elif _SECRET.search(address):
            hint = "everybody who can ask the registry would read it"
            wrong.append(Violation(f"/endpoints/{wire}", "an address carries no user and no password", hint))
    return wrong


def _of_metadata(metadata: dict[str, str]) -> list[Violation]:
    wrong = []
    if len(metadata) > MOST_METADATA:
        wrong.append(Violation("/metadata", f"{len(metadata)} pairs are too many", f"at most {MOST_METADATA}"))
    for name, value in metadata.items():
        if len(name) > 128 or not _KEY.fullmatch(name):
            wrong.append(Violation("/metadata", f"'{name[:100]}' is no name", "letters, digits and '_./-'"))
        elif len(value) > LONGEST_TEXT:
            wrong.append(Violation(f"/metadata/{name.replace('/', '~1')}", f"at most {LONGEST_TEXT} characters"))
    return wrong
