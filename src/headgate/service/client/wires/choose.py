"""Which wire a call takes, and who opens it. A new wire is one file beside this one and one line in `_OPENERS`.

    opening = opener(contract, WIRES, MSGPACK, ClientPolicy(), hosted=(), lock=None, tls=None)
    wire = opening(instance)

Without a wish it is the first that the instance lists. Where that is HTTP, methods that stream both ways take the
next that is not: over HTTP one side would have to finish before the other begins.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.service.client.options import ClientPolicy
from headgate.service.client.wires import ClientWire
from headgate.service.codecs import Codec
from headgate.service.contract import Contract
from headgate.service.host import Hosted
from headgate.service.registry.instance import Instance

if TYPE_CHECKING:
    from headgate.service.lock import Lock

SOCKET_PATH: Final = "/rpc"
"""Where the socket of a service is unless its address says so: what `socket_path` is unless it is set."""

_ALIASES: Final = {"ws": "socket", "websocket": "socket"}
_SCHEMES: Final = {
    "http": "http",
    "https": "http",
    "grpc": "grpc",
    "grpcs": "grpc",
    "ws": "socket",
    "wss": "socket",
    "nats": "nats",
    "tls": "nats",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """What wires are opened with; `metadata` is that of all calls, for wires that say who calls only once."""

    contract: Contract
    codec: Codec
    policy: ClientPolicy
    hosted: tuple[Hosted, ...] = ()
    lock: "Lock | None" = None
    tls: ssl.SSLContext | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def placed(instance: Instance, wires: Sequence[str]) -> tuple[str, str]:
    """The first wire of an instance that is among these, and its address; "" and "" without one."""
    for name, address in instance.endpoints.items():
        wire = _ALIASES.get(name, name)
        if wire in wires:
            return wire, address
    return "", ""


def chosen(address: str, wire: str | None) -> str:
    """The wire of an address, which its scheme names unless the caller does."""
    if wire is not None:
        return wire
    scheme, separator, _ = address.partition("://")
    found = _SCHEMES.get(scheme) if separator else None
    if found is None:
        raise InvalidArgument(
            "the address does not say which wire it is of",
            code="invalid_address",
            hint="begin it with http://, https://, grpc://, ws:// or nats://, or name the wire",
        )
    return found


def opener(
    contract: Contract,
    wires: Sequence[str],
    codec: Codec,
    policy: ClientPolicy,
    hosted: tuple[Hosted, ...],
    lock: "Lock | None",
    tls: ssl.SSLContext | None,
    metadata: Mapping[str, str] | None = None,
) -> Callable[[Instance], ClientWire]:
    """Opens instances on the first of `wires` that they have. What it lacks is FailedPrecondition (`extra_missing`)."""
    opening = Opening(contract, codec, policy, hosted, lock, tls, metadata or {})

    def one(wire: str, address: str) -> ClientWire:
        try:
            return _OPENERS[wire](address, opening)
        except ImportError as error:
            raise FailedPrecondition(
                f"calls over {wire} need {error.name}, which is not installed",
                code="extra_missing",
                hint=f'pip install "headgate[{_EXTRAS.get(wire, wire)}]"',
            ) from error

    def open_wire(instance: Instance) -> ClientWire:
        wire, address = placed(instance, wires)
        found = one(wire, address)
        duplex = placed(instance, [each for each in wires if each != "http"])
        if wire == "http" and duplex[0]:
            from headgate.service.client.wires.paired import Paired

            return Paired(found, partial(one, *duplex))
        return found

    return open_wire


def _http(address: str, opening: Opening) -> ClientWire:
    from headgate.service.client.wires.http import HttpWire

    return HttpWire(address, opening.codec, opening.policy, opening.tls)


def _grpc(address: str, opening: Opening) -> ClientWire:
    from headgate.service.client.wires.grpc import GrpcWire

    return GrpcWire(address, opening.contract, opening.policy, lock=opening.lock)


def _socket(address: str, opening: Opening) -> ClientWire:
    import websockets  # noqa: F401 - the wire looks for it only once it connects

    from headgate.service.transports.socket.client import SocketClient

    policy = opening.policy
    if not urlsplit(address).path.strip("/"):  # registries that know only a port do not know the path
        address = address.rstrip("/") + SOCKET_PATH
    tls = opening.tls if address.startswith("wss:") else None
    return SocketClient(
        address,
        opening.codec,
        ssl=tls,
        headers=opening.metadata,
        connect_timeout=policy.connect_timeout,
        most_message=policy.max_message,
    )


def _nats(address: str, opening: Opening) -> ClientWire:
    import nats  # noqa: F401 - the wire looks for it only once it connects

    from headgate.service.transports.nats.client import NatsClient

    policy = opening.policy
    return NatsClient(
        address,
        opening.codec,
        service=opening.contract.name,
        connect_timeout=policy.connect_timeout,
        max_message=policy.max_message,
    )


def _local(address: str, opening: Opening) -> ClientWire:
    from headgate.service.client.wires.local import LocalWire

    here = [each for each in opening.hosted if each.contract.name == opening.contract.name]
    if not (address.isdecimal() and int(address) < len(here)):
        raise InvalidArgument(
            f"there is no {opening.contract.name} '{address}' in this process",
            code="invalid_address",
            hint="Client(..., local=host([...]))",
        )
    return LocalWire(here[int(address)], opening.codec)


_OPENERS: Final[dict[str, Callable[[str, Opening], ClientWire]]] = {
    "http": _http,
    "grpc": _grpc,
    "socket": _socket,
    "nats": _nats,
    "local": _local,
}
_EXTRAS: Final = {"http": "http", "grpc": "grpc"}

WIRES: Final = tuple(_OPENERS)
