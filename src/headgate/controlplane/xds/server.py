"""The xDS server: address, TLS, limits, and who may speak for a node.

    xds = XdsServer(hub, settings, controls=kit.controls, denied=audit)
    serving.add(xds)

With TLS every client shows a certificate, and its SPIFFE id says which node it may speak for:
`spiffe://TRUST_DOMAIN/team/TEAM/dataplane/NODE_ID`. Without TLS the node is believed: loopback only.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import grpc

from headgate.controlplane.core.dataplane_state import Node
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.controlplane.xds.grpc_transport import GrpcTransport
from headgate.controlplane.xds.hub import Hub
from headgate.kit.controls.call import Control, Pipeline
from headgate.kit.controls.certificates import MtlsAuthenticator, certificate_of_peer
from headgate.kit.controls.faults import PermissionDenied, Unauthenticated
from headgate.kit.current import current_call
from headgate.kit.grpc.interceptor import KitInterceptor
from headgate.kit.grpc.server import Transport
from headgate.kit.serve.grpc import GrpcServer
from headgate.kit.tls.files import TlsFiles
from headgate.kit.tls.rotation import Certificates

Denied = Callable[[Node, str], Awaitable[None]]
"""Records that a peer was denied a node, and why."""

PENDING_STREAMS: Final = 100_000
"""Calls that may wait for admission: gRPC's default cancels most of a reconnect storm."""

OBSERVERS: Final = frozenset(("measure", "request_ids", "trace", "audit", "access_log"))
"""The kit's controls that a stream of days may pass: none that limits it, ends it, or asks for a token."""


def spiffe_id(trust_domain: str, team: str, node_id: str) -> str:
    """The SPIFFE id a dataplane's certificate carries."""
    return f"spiffe://{trust_domain}/team/{team}/dataplane/{node_id}"


class XdsServer:
    """Serves a hub over gRPC; a part of `headgate.kit.serve.lifecycle.Serving`.

    Of `controls` those in `OBSERVERS` see each stream. `denied` is told of refused identities. Raises InvalidArgument
    for TLS files that cannot be used. Must be made where an event loop runs.
    """

    def __init__(
        self,
        hub: Hub,
        settings: ControlPlaneSettings,
        *,
        controls: Iterable[Control] = (),
        denied: Denied | None = None,
    ) -> None:
        self._hub = hub
        self._trust_domain = settings.xds_trust_domain
        self._denied = denied
        self.certificates = _certificates(settings)
        self._peers = MtlsAuthenticator(trust_domains=[settings.xds_trust_domain]) if self.certificates else None
        interceptor = KitInterceptor(
            Pipeline([each for each in controls if each.name in OBSERVERS], frozenset(("grpc",))),
            certificate_of=certificate_of_peer if self.certificates else None,
            max_receive=settings.max_body_size,
        )
        server = grpc.aio.server(interceptors=[interceptor], options=_options(settings))
        server.add_generic_rpc_handlers(GrpcTransport(hub, self._identify).handlers())
        self._part = GrpcServer(
            server, host=settings.xds_host, port=settings.xds_port, setting="xds_port", tls=self.certificates
        )
        self.listening = False
        """Whether Envoys are served."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return f"xds {self._part.name}"

    @property
    def port(self) -> int:
        """The port; once bound, the one in use."""
        return self._part.port

    async def bind(self) -> None:
        """Take the port. Raises FailedPrecondition when it is taken."""
        await self._part.bind()

    async def start(self) -> None:
        """Follow the snapshots and serve them."""
        await self._hub.start()
        await self._part.start()
        self.listening = True

    async def wait(self) -> None:
        """Return when it was stopped, or ended by itself."""
        await self._part.wait()

    def leave(self) -> None:
        """Nothing: streams go on until others may take them."""

    async def drain(self, grace: float) -> None:
        """Tell clients to go elsewhere, end the streams, and stop after `grace` seconds at the latest."""
        self.listening = False
        await self._hub.stop()
        await self._part.drain(grace)

    async def stop(self) -> None:
        """Let go of the port."""
        self.listening = False
        await self._hub.stop()
        await self._part.stop()

    async def _identify(self, node: Node) -> None:
        """Raise PermissionDenied (`node_identity`) unless the certificate of the current call is the node's."""
        if self._peers is None:
            return
        reason = self._objection(self._peers, node)
        if not reason:
            return
        if self._denied:
            await self._denied(node, reason)
        raise PermissionDenied(
            f"this peer may not speak for node '{node.id}' of team '{node.team}'", code="node_identity"
        )

    def _objection(self, peers: MtlsAuthenticator, node: Node) -> str:
        """Why the certificate of the current call is not enough to speak for the node; "" when it is."""
        expected = spiffe_id(self._trust_domain, node.team, node.id)
        call = current_call()
        try:
            presented = peers(call) if call is not None else None
        except Unauthenticated as fault:
            return f"the certificate does not carry {expected}: {fault.message}"
        if call is not None and presented is not None:
            call.principal = presented  # for the lines that tell of the stream
        if presented is None or presented.id != expected:
            return f"the certificate does not carry {expected}"
        return "scope 'all' is for trusted networks without TLS" if node.scope == "all" else ""


def _options(settings: ControlPlaneSettings) -> Sequence[tuple[str, int]]:
    transport = Transport(
        max_receive=settings.max_body_size,
        keepalive=30.0,
        keepalive_timeout=10.0,
        min_ping_interval=5.0,
        max_streams=settings.max_streams,
    )
    return (
        *transport.options(),
        ("grpc.server.max_pending_requests", PENDING_STREAMS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_STREAMS),
        ("grpc.http2.max_ping_strikes", 0),
    )


def _certificates(settings: ControlPlaneSettings) -> Certificates | None:
    certificate, key, authorities = settings.xds_tls_certificate, settings.xds_tls_key, settings.xds_tls_client_ca
    if not (certificate and key and authorities):
        return None
    return Certificates(TlsFiles(certificate, key, authorities), every=settings.xds_tls_reload)
