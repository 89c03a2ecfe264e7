"""The wires of an application, each made from the hosted services and the kit; asked for by name in `wires`.

assembly = assemble(kit, hosted, settings)
assembly.shell                          # the ASGI application, hardened: HTTP, WebSockets, gRPC-Web, Connect, docs, MCP
assembly.rpc                            # the gRPC server, None without
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Pipeline
from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.kit import Kit
from headgate.kit.serve.lifecycle import Part
from headgate.service.contract import Contract
from headgate.service.host import Hosted
from headgate.service.lock import locks_in
from headgate.service.settings import ServiceSettings
from headgate.service.transports.http import HttpWire
from headgate.service.transports.socket import SocketWire

if TYPE_CHECKING:
    from headgate.kit.grpc.server import GrpcServer

_EXTRAS: Final = {"grpc": "grpc", "nats": "nats"}


@dataclass(frozen=True, slots=True)
class Assembly:
    """What is served over ports."""

    shell: Shell
    rpc: "GrpcServer | None"


def assemble(
    kit: Kit,
    hosted: Sequence[Hosted],
    settings: ServiceSettings,
    *,
    extra: Mapping[str, ASGIApp] | None = None,
    **rpc_options: Any,
) -> Assembly:
    """The wires that settings ask for. `extra` are applications by the prefix of their paths.

    Raises InvalidArgument (`route_conflict`, `invalid_binding`, and what protocol buffers cannot say), and
    FailedPrecondition (`extra_missing`).
    """
    rpc = _rpc(kit, hosted, settings, rpc_options) if "grpc" in settings.wires else None
    size = settings.max_body_size
    inside: ASGIApp = HttpWire(
        hosted if "http" in settings.wires else (),
        extra={**_pages(hosted, settings), **(extra or {})},
        max_body_size=size,
        max_message_size=size,
        heartbeat=settings.heartbeat,
    )
    if "socket" in settings.wires:
        inside = SocketWire(
            hosted,
            pipeline=Pipeline(kit.controls, frozenset(("socket",))),
            path=settings.socket_path,
            inside=inside,
            most_message=size,
        )
    return Assembly(kit.harden(inside, rpc=rpc, same_paths=True), rpc)


def public_paths(contracts: Iterable[Contract], settings: ServiceSettings) -> tuple[str, ...]:
    """The paths at which strangers must not be refused, because a method there is for everybody.

    What they may call is decided by the guards of the methods; a socket, or the tools' one path, leads to all.
    """
    found: list[str] = []
    for contract in contracts:
        for method in contract.methods.values():
            if method.guard is None or not method.guard.public:
                continue
            found.append(contract.path(method))
            if method.binding is not None:
                found.append(f"{method.binding.verb} {method.binding.path}")
    if found:
        found.append(settings.socket_path)
        if settings.mcp:
            found.append(settings.mcp_path)
    if settings.docs_public:
        found += [path for each in settings.docs_paths for path in (each, f"{each}/")]
    return tuple(dict.fromkeys(found))


def _pages(hosted: Sequence[Hosted], settings: ServiceSettings) -> dict[str, ASGIApp]:
    """What is served besides the methods."""
    found: dict[str, ASGIApp] = {}
    if settings.docs:
        from headgate.service.docs import docs_routes

        docs = docs_routes([each.contract for each in hosted])
        found.update(dict.fromkeys(docs.prefixes, docs))
    if settings.mcp:
        from headgate.service.docs.mcp_wire import McpWire

        found[settings.mcp_path] = McpWire(hosted, max_body_size=settings.max_body_size)
    return found


def _rpc(
    kit: Kit, hosted: Sequence[Hosted], settings: ServiceSettings, options: Mapping[str, Any]
) -> "GrpcServer | None":
    if not any(each.contract.methods for each in hosted):
        return None
    try:
        from headgate.service.transports.grpc import grpc_services

        return kit.grpc_server(*grpc_services(hosted, locks_in(settings.contracts)), **options)
    except ModuleNotFoundError as error:
        raise missing("grpc", error) from error


def nats_wire(kit: Kit, hosted: Sequence[Hosted], settings: ServiceSettings) -> Part | None:
    """The methods over NATS, as a part; None when they are not asked for. Raises FailedPrecondition."""
    if "nats" not in settings.wires or settings.nats_url is None:
        return None
    try:
        from headgate.service.transports.nats import NatsWire

        return NatsWire(
            hosted,
            settings.nats_url.get_secret_value(),
            pipeline=Pipeline(kit.controls, frozenset(("nats",))),
            max_message=settings.max_body_size,
        )
    except ModuleNotFoundError as error:
        raise missing("nats", error) from error


def missing(wire: str, error: ModuleNotFoundError) -> FailedPrecondition:
    """The fault of a wire whose library is not installed."""
    return FailedPrecondition(
        f"the wire {wire} needs {error.name}, which is not installed",
        code="extra_missing",
        hint=f"pip install 'headgate[{_EXTRAS.get(wire, wire)}]', or leave {wire} out of `wires`",
    )
