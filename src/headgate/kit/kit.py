"""The kit of a process: settings turned into controls, and the parts that its protocols share.

    kit = Kit()                                             # settings from the environment, .env and a file
    app = kit.harden(app)                                   # FastAPI, Litestar, Quart, Starlette, any ASGI
    rpc = kit.grpc_server(lambda server: add_OrdersServicer_to_server(Orders(), server))
    sys.exit(kit.run(app, rpc))                             # until SIGTERM

One limiter, one set of keys, one registry of metrics: a caller's budget is the same over HTTP and gRPC.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Context, copy_context
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from starlette.types import ASGIApp

from headgate.kit import policies
from headgate.kit.asgi.health import Health
from headgate.kit.asgi.problems import problem_response
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.access import parse_rules
from headgate.kit.controls.call import OVER_HTTP, Control, Pipeline
from headgate.kit.controls.certificates import certificate_of_scope
from headgate.kit.controls.faults import FailedPrecondition, NotFound
from headgate.kit.controls.identity import Authenticator
from headgate.kit.current import CURRENT, current_call, outgoing_headers, remaining_time
from headgate.kit.hardening import (
    MEBIBYTE,
    HardeningSettings,
    IdentitySettings,
    ObserveSettings,
    ResilienceSettings,
    SafetySettings,
    ServeSettings,
    WebSettings,
)
from headgate.kit.observe.endpoint import MetricsEndpoint
from headgate.kit.observe.logs import watch_lost_lines
from headgate.kit.observe.metrics import Metrics
from headgate.kit.opening import open_audit, open_gate, open_limits, open_logs, open_metrics, open_traces
from headgate.kit.profile import refuse_unsafe
from headgate.kit.resilience.breaker import Breakers
from headgate.kit.resilience.cache import FlowCache
from headgate.kit.resilience.http import HttpClients
from headgate.kit.resilience.shared import SharedStore
from headgate.kit.resilience.stream_cache import StreamCache
from headgate.kit.safety.configure import content_interceptor, content_safety
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Serving, grpc_part
from headgate.kit.serve.ports import PortSetting
from headgate.kit.settings import Settings
from headgate.kit.table import Parts, controls
from headgate.kit.tls.rotation import Certificates

if TYPE_CHECKING:
    from headgate.kit.grpc.registry import Register
    from headgate.kit.grpc.server import GrpcServer

C = TypeVar("C", FlowCache, StreamCache)

_log = structlog.get_logger("headgate.kit")


class Kit:
    """The parts of one process.

    Settings without a group leave out what that group is about. `authenticators` are asked besides those of the
    settings; `rules` are scopes by path or RPC, `public` paths without identity, `more` controls of one's own
    behind the kit's. Nothing is connected or listened to before the first use. Raises InvalidArgument for
    settings that cannot be.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        authenticators: Iterable[Authenticator] = (),
        rules: Mapping[str, str | Iterable[str]] | None = None,
        public: Iterable[str] = (),
        health: Health | None = None,
        metrics: Metrics | None = None,
        more: Iterable[Control] = (),
    ) -> None:
        self.settings = settings = settings if settings is not None else HardeningSettings.load()
        self.health = health or Health()
        self.metrics = metrics or open_metrics(settings)
        watch_lost_lines(self.metrics.lost_lines)
        for warning in refuse_unsafe(settings):
            _log.warning("unwise in production", setting=warning.pointer[1:], reason=warning.message, hint=warning.hint)
        self.store = open_limits(settings, self.metrics)
        self.audit = open_audit(settings, self.metrics)
        self.traces = open_traces(settings)
        self.gate = open_gate(settings, self.metrics)
        parts = self._parts(tuple(authenticators), rules or {}, tuple(public))
        self._authenticators = parts.authenticators
        self.controls = controls(settings, parts, more)
        self._clients: HttpClients | None = None
        self._breakers: Breakers | None = None
        self._caches: list[Callable[[], Awaitable[None]]] = []
        self._users = 0

    def harden(self, app: ASGIApp, *, rpc: "GrpcServer | None" = None, same_paths: bool = False) -> Shell:
        """`app` with every control round it. With `rpc`, its services also answer gRPC-Web and Connect here.

        `same_paths` says that `app` answers at their paths, too, whatever is no RPC.
        """
        settings = self.settings
        size = settings.max_body_size if isinstance(settings, WebSettings) else 0
        return Shell(
            self._inside(app, rpc, same_paths),
            Pipeline(self.controls, OVER_HTTP),
            max_body_size=size,
            max_message_size=size,
            gzip_min_size=settings.gzip_min_size if isinstance(settings, WebSettings) else 0,
            lifespan=self,
            certificate_of=certificate_of_scope if _mtls(settings) else None,
        )

    def grpc_server(self, *services: "Register", **options: Any) -> "GrpcServer":
        """A gRPC server whose calls pass the same controls. `options` are those of `headgate.kit.grpc`'s."""
        from headgate.kit.grpc.server import Transport, grpc_server

        settings = self.settings
        serve = settings if isinstance(settings, ServeSettings) else None
        given: dict[str, Any] = {
            "services": services,
            "health": self.health,
            "transport": Transport(
                max_receive=settings.max_body_size if isinstance(settings, WebSettings) else 0,
                keepalive=serve.grpc_keepalive if serve else 60.0,
                reuse_port=bool(serve and serve.workers > 1),
            ),
            "reflection": isinstance(settings, WebSettings) and settings.debug,
        }
        if self.gate is not None and isinstance(settings, SafetySettings):
            given["interceptors"] = [content_interceptor(settings, self.gate)]
        if serve:
            setting = PortSetting("grpc_port", type(settings))
            given |= {"host": serve.host, "port": serve.grpc_port, "setting": setting}
        if self.certificates is not None:
            from headgate.kit.tls.grpc import server_credentials

            given["credentials"] = server_credentials(self.certificates)
        return grpc_server(Pipeline(self.controls, frozenset(("grpc",))), **(given | options))

    @cached_property
    def certificates(self) -> Certificates | None:
        """What is shown over TLS, by all servers of this kit. Raises what is wrong with the files."""
        settings = self.settings
        files = policies.tls_files(settings) if isinstance(settings, ServeSettings) else None
        return (
            None
            if files is None or not isinstance(settings, ServeSettings)
            else Certificates(files, every=settings.tls_reload)
        )

    def breakers(self) -> Breakers:
        """A breaker for each target that is called. With `cb_enabled` off they never open."""
        if self._breakers is None:
            policy = policies.breaker_policy(self._resilience())
            self._breakers = Breakers(policy, observer=self.metrics.breakers)
        return self._breakers

    def http(self) -> HttpClients:
        """The shared HTTP client: `kit.http().client()`, with pool, breakers, retries and the caller's deadline."""
        if self._clients is None:
            settings = self._resilience()
            self._clients = HttpClients(
                policies.http_policy(settings),
                breaker=policies.breaker_policy(settings) if settings.cb_enabled else None,
                retry=policies.retry_policy(settings),
                headers=outgoing_headers,
                remaining=remaining_time,
                breaker_observer=self.metrics.breakers,
                retry_observer=self.metrics.retries,
                spans=self.traces.client if self.traces is not None else None,
            )
        return self._clients

    def cache(self) -> FlowCache:
        """A new cache for results, shared with other replicas when `cache_redis_url` is set."""
        return self._kept(FlowCache, policies.cache_policy(self._resilience()))

    def stream_cache(self) -> StreamCache:
        """A new cache for streams: callers at the same time share one, later ones hear it again."""
        return self._kept(StreamCache, policies.stream_policy(self._resilience()))

    def _kept(self, kind: Callable[..., C], policy: Any) -> C:
        shared: SharedStore | None = policies.shared_store(self._resilience())
        cache = kind(policy, shared=shared, observer=self.metrics.cache_event, context=undated_context)
        self._caches += [cache.aclose, *([shared.aclose] if shared is not None else [])]
        return cache

    def serving(self, app: ASGIApp | None = None, rpc: "GrpcServer | None" = None) -> Serving:
        """Everything that is served, ready to be started: HTTP, gRPC, and metrics on a port of their own.

        `app` is hardened first, if it is not. Raises what is wrong with the files of TLS.
        """
        settings = self.settings if isinstance(self.settings, ServeSettings) else HardeningSettings()
        limits = http_limits(settings)
        serving = Serving(
            health=self.health, shutdown_delay=settings.shutdown_delay, shutdown_grace=settings.shutdown_grace
        )
        if rpc is not None:
            serving.add(grpc_part(rpc, host=rpc.host, port=rpc.port, tls=None))
        if isinstance(settings, ObserveSettings) and settings.metrics_port:
            endpoint = MetricsEndpoint(self.metrics, public=True)
            setting = PortSetting("metrics_port", type(settings))
            serving.add(HttpServer(endpoint, host=settings.host, port=settings.metrics_port, setting=setting))
        hardened = app if isinstance(app, Shell) else self.harden(app or nothing, rpc=rpc)
        serving.add(
            HttpServer(
                hardened,
                server=settings.server,
                host=settings.host,
                port=settings.port,
                setting=PortSetting("port", type(settings)),
                tls=self.certificates,
                limits=limits,
            )
        )
        return serving

    async def serve(self, app: ASGIApp | None = None, rpc: "GrpcServer | None" = None) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit code."""
        return await self.serving(app, rpc).run()

    def run(self, app: ASGIApp | None = None, rpc: "GrpcServer | None" = None) -> int:
        """`serve` in an event loop of its own, with logs as the settings say."""
        from headgate.kit.serve.loop import run

        if isinstance(self.settings, ServeSettings) and self.settings.workers > 1:
            raise FailedPrecondition(
                "several workers import the application themselves: they need its name, not the application",
                code="workers_need_a_name",
                hint=f"python -m headgate.kit MODULE:APP --workers {self.settings.workers}",
            )
        open_logs(self.settings)
        return run(self.serve(app, rpc))

    async def on_startup(self) -> None:
        """An application of this kit starts, in a server of ours or of somebody else who may have set up no logs."""
        if not structlog.is_configured() and not logging.getLogger().handlers:
            open_logs(self.settings)
        self._users += 1

    async def on_shutdown(self) -> None:
        """It has stopped; with the last one connections to others are closed."""
        self._users -= 1
        if self._users <= 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Close connections to others, and write out spans and audit records that wait."""
        closing = list(self._caches)
        if self._clients is not None:
            closing.append(self._clients.aclose)
        held = (self.store, self.gate, *self._authenticators)
        closing += [close for each in held if (close := getattr(each, "aclose", None)) is not None]
        for each in closing:
            await each()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.flush)
        if self.audit is not None:
            await asyncio.to_thread(self.audit.flush)

    def _parts(
        self,
        authenticators: tuple[Authenticator, ...],
        rules: Mapping[str, str | Iterable[str]],
        public: tuple[str, ...],
    ) -> Parts:
        settings = self.settings
        if isinstance(settings, IdentitySettings):
            authenticators += policies.known_authenticators(settings, mtls=_mtls(settings))
            rules = {**parse_rules(settings.access_rules), **rules}
            public += settings.public_paths
        return Parts(
            health=self.health,
            metrics=self.metrics,
            store=self.store,
            audit=self.audit,
            traces=self.traces,
            authenticators=authenticators,
            rules=rules,
            public=public,
        )

    def _resilience(self) -> ResilienceSettings:
        return self.settings if isinstance(self.settings, ResilienceSettings) else HardeningSettings()

    def _inside(self, app: ASGIApp, rpc: "GrpcServer | None", same_paths: bool) -> ASGIApp:
        settings = self.settings
        if isinstance(settings, SafetySettings):
            app = content_safety(app, settings, self.gate)
        if rpc is None or (isinstance(settings, ServeSettings) and not settings.grpc_web):
            return app
        from headgate.kit.grpc.dispatch import RpcOverHttp

        return RpcOverHttp(rpc.registry, app, same_paths=same_paths)


def harden(app: ASGIApp, settings: Settings | None = None, **choices: Any) -> Shell:
    """`app` with every control round it: the kit in one line. `choices` are those of `Kit`."""
    return Kit(settings, **choices).harden(app)


_SOCKET_ROOM: Final = 4
"""Times that a server reads more of a WebSocket message than it may have: so its end is told by whoever refuses it."""


def http_limits(settings: ServeSettings) -> HttpLimits:
    """How much one HTTP connection may take."""
    size = settings.max_body_size if isinstance(settings, WebSettings) else 0
    return HttpLimits(keep_alive_seconds=settings.keep_alive_timeout, websocket_bytes=_SOCKET_ROOM * (size or MEBIBYTE))


def undated_context() -> Context:
    """A context for work that others share: as the caller's, without its deadline."""
    context, call = copy_context(), current_call()
    if call is not None and call.deadline is not None:
        shared = copy(call)
        shared.deadline = None
        context.run(CURRENT.set, shared)
    return context


def _mtls(settings: Settings) -> bool:
    return isinstance(settings, ServeSettings) and settings.tls_client_ca is not None


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application of no routes, for services that only speak gRPC."""
    if scope["type"] == "http":
        await problem_response(NotFound(f"there is nothing at {scope['path']}", code="path_not_found"), scope)(
            scope, receive, send
        )
