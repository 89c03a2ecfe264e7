"""The control plane put together: store, use cases, snapshots, xDS server and HTTP API in one process.

    await serve(settings)                           until SIGTERM or SIGINT
    async with control_plane(settings) as plane:    inside another program, or a test

Importing this starts nothing.
"""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import certifi
import orjson
import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from headgate.controlplane.core.audit import AuditLog
from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.dataplane_state import Node
from headgate.controlplane.core.dataplanes import Dataplanes
from headgate.controlplane.core.expose import Expose
from headgate.controlplane.core.feed_lag import FeedLag
from headgate.controlplane.core.gateway import GatewayAddress
from headgate.controlplane.core.imports import ImportLimits, Imports
from headgate.controlplane.core.preflight import Gate, Preflight
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.route_list import RouteList
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.snapshots import Snapshots
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.native import TAGS as NATIVE_TAGS
from headgate.controlplane.native import UseCases, native_routers
from headgate.controlplane.native.authorise import Authority, DatabaseTokens
from headgate.controlplane.native.document import openapi_document
from headgate.controlplane.native.swagger import DOCUMENT, PAGE, swagger_routes
from headgate.controlplane.platform import TAGS as PLATFORM_TAGS
from headgate.controlplane.platform import platform_routers
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.controlplane.store.store import Store
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.web.refusals import Refusals
from headgate.controlplane.xds.hub import Hub, HubSettings
from headgate.controlplane.xds.metrics import XdsMetrics
from headgate.controlplane.xds.server import XdsServer
from headgate.kit.asgi.health import Health
from headgate.kit.controls.call import Control
from headgate.kit.controls.faults import Unavailable
from headgate.kit.kit import Kit
from headgate.kit.observe.endpoint import MetricsEndpoint
from headgate.kit.observe.metrics import Metrics
from headgate.kit.opening import open_logs, open_metrics
from headgate.kit.profile import refuse_unsafe
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Serving
from headgate.kit.serve.loop import on_hangup, stop_on_signals
from headgate.kit.serve.ports import ensure_free
from headgate.kit.tasks import end

PRUNE_EVERY_S: Final = 3_600.0

_log = structlog.get_logger("headgate.controlplane")


@dataclass(frozen=True, slots=True)
class Cases(UseCases):
    """The use cases of every surface."""

    imports: Imports
    expose: Expose


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running replica. `first_token` is the admin token when the database was new, else None."""

    settings: ControlPlaneSettings
    store: Store
    cases: Cases
    snapshots: Snapshots
    xds: XdsServer
    http: HttpServer
    serving: Serving
    first_token: str | None

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.http.url


async def serve(settings: ControlPlaneSettings, *, gate: Gate | None = None) -> None:
    """Run until SIGTERM or SIGINT, then finish what is under way. Raises the fault that kept it from starting.

    The admin token of a new database is written to `admin_token_file`, or else shown on standard output, once.
    """
    stop = stop_on_signals()
    open_logs(settings)
    async with control_plane(settings, gate=gate, on_first_token=partial(_hand_over, settings)) as plane:
        # What lives until now lives on: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        if plane.xds.certificates is not None:
            on_hangup(plane.serving.reload)
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(plane.serving.wait())
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        await asyncio.gather(ended) if ended.done() else ended.cancel()


class _Started:
    """Whether all is up and the first token, if one was made, is with whoever is to have it."""

    def __init__(self, token: str | None, give: Callable[[str], None] | None) -> None:
        self._token = token
        self._give = give
        self._done = False

    def __call__(self) -> None:
        """Hand the token over, once."""
        self._done = True
        token, self._token = self._token, None
        if token is not None and self._give is not None:
            self._give(token)

    async def check(self) -> None:
        """Raise until then: whoever waits for readiness may look for the token right after."""
        if not self._done:
            raise Unavailable("not everything has been started", code="starting")


@asynccontextmanager
async def control_plane(
    settings: ControlPlaneSettings, *, gate: Gate | None = None, on_first_token: Callable[[str], None] | None = None
) -> AsyncIterator[ControlPlane]:
    """Open the store, start everything, and stop it in reverse order.

    `on_first_token` is given the admin token of a new database, when all is up, or when that fails: the token is
    made only once. Raises InvalidArgument (`unsafe_settings`) for what the profile forbids.
    """
    refuse_unsafe(settings)  # before anything is made; what is only unwise the kit tells
    _ensure_free_ports(settings)
    async with AsyncExitStack() as stack:
        store = await Store.open(settings.database_url, poll_interval=settings.poll_interval_ms / 1000)
        stack.push_async_callback(store.close)
        box = SecretBox(settings.encryption_key())
        cases = use_cases(store, box, settings, gate=gate)
        first_token = await cases.tokens.first_start()
        started = _Started(first_token, on_first_token)
        stack.callback(started)
        metrics, health = open_metrics(settings), Health()
        snapshots = Snapshots(store, box.reveal, _compiler, poll=settings.poll_interval_ms / 1000)
        await snapshots.start()
        stack.push_async_callback(snapshots.stop)
        await cases.dataplanes.start()
        stack.push_async_callback(cases.dataplanes.stop)
        refusals = Refusals(cases.audit, metrics.registry)
        await refusals.start()
        stack.push_async_callback(refusals.stop)
        kit = kit_of(settings, cases, metrics=metrics, health=health, more=[refusals])
        xds = _xds_server(settings, snapshots, cases, kit)
        _watch(health, store, snapshots, xds)
        health.add("start", started.check)
        http = _http_server(settings, kit, build_app(settings, cases))
        serving = Serving(
            health=health,
            shutdown_delay=settings.shutdown_delay,
            shutdown_grace=settings.shutdown_grace,
            on_ready=started,
        )
        serving.add(xds)
        for server in (*_metrics_server(settings, metrics), http):
            serving.add(server)
        await serving.start()
        stack.push_async_callback(serving.stop)
        pruning = asyncio.create_task(_prune_for_ever(store, settings), name="prune")
        stack.push_async_callback(end, pruning)
        yield ControlPlane(settings, store, cases, snapshots, xds, http, serving, first_token)


def _ensure_free_ports(settings: ControlPlaneSettings) -> None:
    """Raise for a taken port before anything is made."""
    for host, port, setting in (
        (settings.api_host, settings.api_port, "api_port"),
        (settings.xds_host, settings.xds_port, "xds_port"),
        (settings.api_host, settings.metrics_port, "metrics_port"),
    ):
        if port:
            ensure_free(host, port, setting)


def _http_server(settings: ControlPlaneSettings, kit: Kit, app: FastAPI) -> HttpServer:
    return HttpServer(
        kit.harden(app),
        host=settings.api_host,
        port=settings.api_port,
        setting="api_port",
        limits=HttpLimits(keep_alive_seconds=settings.keep_alive_timeout),
    )


def _metrics_server(settings: ControlPlaneSettings, metrics: Metrics) -> list[HttpServer]:
    """The metrics on a port of their own, if there is to be one."""
    if not settings.metrics_port:
        return []
    endpoint = MetricsEndpoint(metrics, public=True)
    return [HttpServer(endpoint, host=settings.api_host, port=settings.metrics_port, setting="metrics_port")]


def use_cases(store: Store, box: SecretBox, settings: ControlPlaneSettings, *, gate: Gate | None = None) -> Cases:
    """The use cases over a store. Nothing is started."""
    resources = Resources(store, preflight=Preflight(gate) if gate else None, secrets=box)
    address = GatewayAddress(settings.gateway_host, settings.gateway_port)
    limits = ImportLimits(document_bytes=settings.import_max_document_bytes, operations=settings.import_max_operations)
    return Cases(
        resources=resources,
        route_list=RouteList(store),
        dataplanes=Dataplanes(store, replica=settings.replica_id),
        audit=AuditLog(store),
        tokens=Tokens(store),
        teams=Teams(store),
        imports=Imports(store, resources, address=address, limits=limits),
        expose=Expose(store, resources, address=address),
    )


def build_app(settings: ControlPlaneSettings, cases: Cases) -> FastAPI:
    """The HTTP application over the use cases, to be hardened with `kit_of`."""
    app = FastAPI(title="Headgate API", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.page_limit_max = settings.page_limit_max
    native, platform = (
        Authority(teams=cases.teams, audit=cases.audit, surface=surface) for surface in ("native", "platform")
    )
    for router in (
        *platform_routers(cases.imports, cases.expose, platform),
        *native_routers(cases, native),
    ):
        # Not include_router: it would keep a second copy of every operation.
        app.router.routes.extend(router.routes)
    app.router.routes.extend(swagger_routes(_document_endpoint(app)))
    return app


def kit_of(
    settings: ControlPlaneSettings,
    cases: Cases,
    *,
    metrics: Metrics,
    health: Health,
    more: Iterable[Control] = (),
) -> Kit:
    """The controls round everything that is served. Who may do what is `Authority`'s: it depends on the team."""
    shown = settings.docs_paths if settings.docs_public or settings.debug else ()
    return Kit(
        settings,
        authenticators=[DatabaseTokens(cases.tokens)],
        public=[path for path in (DOCUMENT, PAGE, f"{PAGE}/") if path.rstrip("/") in shown],
        health=health,
        metrics=metrics,
        more=more,
    )


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an application made by `build_app`."""
    if not app.openapi_schema:
        app.openapi_schema = openapi_document(app.router.routes, [*PLATFORM_TAGS, *NATIVE_TAGS])
    return app.openapi_schema


def reference() -> str:
    """The OpenAPI document of this version as it is checked in. Opens nothing."""
    never_asked = Store.__new__(Store)
    settings = ControlPlaneSettings()
    app = build_app(settings, use_cases(never_asked, SecretBox(bytes(32)), settings))
    return orjson.dumps(openapi(app), option=orjson.OPT_INDENT_2).decode() + "\n"


def _document_endpoint(app: FastAPI) -> Any:
    encoded: list[bytes] = []

    async def document(_request: Request) -> Response:
        if not encoded:
            encoded.append(orjson.dumps(await asyncio.to_thread(openapi, app)))
            app.openapi_schema = None
        return Response(encoded[0], media_type="application/json")

    return document


def _compiler(team: str) -> TeamCompiler:
    return TeamCompiler(team, system_ca=certifi.contents())


def _xds_server(settings: ControlPlaneSettings, snapshots: Snapshots, cases: Cases, kit: Kit) -> XdsServer:
    hub = Hub(
        snapshots,
        cases.dataplanes,
        HubSettings(
            identifier=settings.replica_id,
            debounce=settings.debounce_ms / 1000,
            grace=settings.break_grace_ms / 1000,
            max_bytes=settings.max_response_bytes,
            max_streams=settings.max_streams,
        ),
        metrics=XdsMetrics(kit.metrics.registry),
    )

    async def denied(node: Node, reason: str) -> None:
        await cases.audit.refused(Actor(node.id, "xds"), "connect", team=node.team, target=node.id, reason=reason)

    return XdsServer(hub, settings, controls=kit.controls, denied=denied)


def _watch(health: Health, store: Store, snapshots: Snapshots, xds: XdsServer) -> None:
    """What must hold for this replica to be ready."""
    lag = FeedLag(store, snapshots)

    async def loaded() -> None:
        if not snapshots.loaded:
            raise Unavailable("the teams are still being read", code="snapshots_not_loaded")

    async def listening() -> None:
        if not xds.listening:
            raise Unavailable("the xDS server does not listen", code="xds_not_listening")

    health.add("store", store.ping)
    health.add("snapshots", loaded)
    health.add("feed", lag.check)
    health.add("xds", listening)


async def _prune_for_ever(store: Store, settings: ControlPlaneSettings) -> None:
    while True:
        await asyncio.sleep(PRUNE_EVERY_S)
        try:
            gone = await store.prune(audit_days=settings.audit_days, revisions_keep=settings.revisions_kept)
        except Exception:  # noqa: BLE001 - what is too old now is deleted an hour later
            _log.exception("history not pruned")
        else:
            _log.info("history pruned", **gone)


def _hand_over(settings: ControlPlaneSettings, token: str) -> None:
    """Give the first admin token to whoever started this. It is kept nowhere else."""
    file = settings.admin_token_file
    if file is not None:
        try:
            _write_private(file, token + "\n")
        except OSError as error:
            _log.warning("admin token not written; it is shown instead", file=str(file), reason=error.strerror)
        else:
            _log.info("admin token written", file=str(file))
            return
    sys.stdout.write(f"Admin token, shown this once: {token}\n")
    sys.stdout.flush()


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(text)
