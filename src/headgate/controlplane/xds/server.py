"""The xDS server: address, TLS, limits, and who may speak for a node.

With TLS every client shows a certificate, and its SPIFFE id says which node it may speak for:
`spiffe://TRUST_DOMAIN/team/TEAM/dataplane/NODE_ID`. Without TLS the node is believed: loopback only.
"""

from collections.abc import Awaitable, Callable, Sequence

import grpc
import structlog

from headgate.controlplane.core.dataplane_state import Node
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.controlplane.xds.grpc_transport import Context, GrpcTransport
from headgate.controlplane.xds.hub import Hub
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, PermissionDenied

_log = structlog.get_logger("headgate.xds")

Denied = Callable[[Node, str], Awaitable[None]]
"""Records that a peer was denied a node, and why."""

PENDING_STREAMS = 100_000
"""Calls that may wait for admission: gRPC's default cancels most of a reconnect storm."""


def spiffe_id(trust_domain: str, team: str, node_id: str) -> str:
    """The SPIFFE id a dataplane's certificate carries."""
    return f"spiffe://{trust_domain}/team/{team}/dataplane/{node_id}"


class XdsServer:
    """Serves a hub over gRPC. `denied` is told of refused identities."""

    def __init__(self, hub: Hub, settings: ControlPlaneSettings, *, denied: Denied | None = None) -> None:
        self._hub = hub
        self._settings = settings
        self._denied = denied
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port in use, once started."""

    async def start(self) -> None:
        """Listen. Raises FailedPrecondition when the port is taken, InvalidArgument for bad TLS files."""
        settings = self._settings
        server = grpc.aio.server(options=_options(settings))
        server.add_generic_rpc_handlers(GrpcTransport(self._hub, self._identify).handlers())
        host = f"[{settings.xds_host}]" if ":" in settings.xds_host else settings.xds_host
        address = f"{host}:{settings.xds_port}"
        credentials = _credentials(settings)
        try:
            self.port = (
                server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise FailedPrecondition(
                f"xds_port: {address} cannot be used: it is in use or not allowed",
                code="port_in_use",
                hint="set HEADGATE_XDS_PORT or --xds-port to another port",
                internal=str(error),
            ) from error
        await self._hub.start()
        await server.start()
        self._server = server
        _log.info("xDS listening", host=settings.xds_host, port=self.port, tls=settings.xds_tls)

    async def stop(self, grace: float = 5.0) -> None:
        """Tell clients to go elsewhere, end the streams, and stop after `grace` seconds at the latest."""
        await self._hub.stop()
        if self._server:
            await self._server.stop(grace)

    async def _identify(self, context: Context, node: Node) -> None:
        if not self._settings.xds_tls:
            return
        presented = context.auth_context().get("x509_subject_alternative_name", [])
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in presented]
        expected = spiffe_id(self._settings.xds_trust_domain, node.team, node.id)
        if expected in names and node.scope != "all":
            return
        reason = f"the certificate does not carry {expected}"
        if expected in names:
            reason = "scope 'all' is for trusted networks without TLS"
        if self._denied:
            await self._denied(node, reason)
        raise PermissionDenied(
            f"this peer may not speak for node '{node.id}' of team '{node.team}'", code="node_identity"
        )


def _options(settings: ControlPlaneSettings) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", settings.max_request_body_bytes),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.server.max_pending_requests", PENDING_STREAMS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_STREAMS),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    )


def _credentials(settings: ControlPlaneSettings) -> grpc.ServerCredentials | None:
    if not (settings.xds_tls_certificate and settings.xds_tls_key and settings.xds_tls_client_ca):
        return None
    try:
        key, certificate = settings.xds_tls_key.read_bytes(), settings.xds_tls_certificate.read_bytes()
        authorities = settings.xds_tls_client_ca.read_bytes()
    except OSError as error:
        raise InvalidArgument(
            f"an xDS TLS file cannot be read: {error.filename}: {error.strerror}",
            code="tls_file_unreadable",
            hint="check HEADGATE_XDS_TLS_CERTIFICATE, HEADGATE_XDS_TLS_KEY and HEADGATE_XDS_TLS_CLIENT_CA",
        ) from error
    return grpc.ssl_server_credentials([(key, certificate)], root_certificates=authorities, require_client_auth=True)
