"""The server under test: the real hub and the real gRPC server, over a source that the test changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from headgate.controlplane.settings import ControlPlaneSettings
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from headgate.controlplane.xds.hub import Hub, HubSettings
from headgate.controlplane.xds.metrics import XdsMetrics
from headgate.controlplane.xds.server import XdsServer
from headgate.testing.envoy import eventually
from headgate.testing.xds import Mode, XdsClient, node
from tests.scenarios.xds.world import TEAM, Ledger, Source

SOTW = [Mode(delta=False, aggregated=True), Mode(delta=False, aggregated=False)]
DELTA = [Mode(delta=True, aggregated=True), Mode(delta=True, aggregated=False)]
MODES = SOTW + DELTA
ADS = [mode for mode in MODES if mode.aggregated]
SEPARATE = [mode for mode in MODES if not mode.aggregated]

WILDCARD_KINDS = [CLUSTER, LISTENER]
KINDS = [CLUSTER, ENDPOINT, LISTENER, ROUTE]


class Rig:
    """A server, what it serves, and what it noted."""

    def __init__(self, settings: ControlPlaneSettings, *, source: Any = None, ledger: Any = None, **hub: Any) -> None:
        self.source: Any = source or Source(TEAM, "blue")
        self.ledger: Any = ledger or Ledger()
        self.registry = CollectorRegistry()
        times = {"debounce": 0.002, "grace": 0.02, **hub}
        self.hub = Hub(self.source, self.ledger, HubSettings(**times), metrics=XdsMetrics(self.registry))
        self.denied: list[tuple[str, str]] = []
        self.server = XdsServer(self.hub, settings, denied=self._note)

    async def _note(self, who: Any, reason: str) -> None:
        self.denied.append((who.key, reason))

    def client(
        self,
        mode: Mode,
        node_id: str = "test",
        *,
        team: str = TEAM,
        credentials: grpc.ChannelCredentials | None = None,
        **who: Any,
    ) -> XdsClient:
        """A dataplane of a team; it is not connected before it says something."""
        target = f"127.0.0.1:{self.server.port}"
        return XdsClient(target, mode, node(node_id, team=team, **who), credentials=credentials)

    async def caught_up(self) -> None:
        """Wait until every stream has the newest snapshot of its team; what it sends of that is another matter."""

        async def newest() -> bool:
            return all(
                session.stream.view.revision == self.source.current(session.node.team).revision
                for session in self.hub.sessions()
            )

        await eventually(newest, 5.0, "a stream has an old view")

    def metric(self, name: str, **labels: str) -> float:
        """What the server counted; 0 when it never did."""
        return self.registry.get_sample_value(name, labels) or 0.0

    @property
    def streams(self) -> float:
        """Streams that are open, as the gauge has it."""
        return sum(self.metric("headgate_xds_streams", mode=mode) for mode in ("sotw", "delta"))


@asynccontextmanager
async def serving(settings: ControlPlaneSettings, **rig: Any) -> AsyncIterator[Rig]:
    """Run a server; `rig` are arguments of Rig, or fields of HubSettings."""
    made = Rig(settings, **rig)
    await made.server.start()
    try:
        yield made
    finally:
        if not made.hub.closing:
            await made.server.drain(0.1)
        await made.server.stop()
