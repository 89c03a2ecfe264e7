"""Several processes on the same ports, and a small parent that keeps them alive.

    code = run(Workers(Plan(app="shop:app", server="granian", port=8080), count=4).run())

The parent takes the ports, and imports nothing of the application. HTTP workers share one listening socket: what
one has not accepted another will. gRPC cannot be handed a socket: its workers share the port (SO_REUSEPORT), which
the parent keeps for them, and the system spreads the connections.

A worker that ends is started again, the sooner the longer it lived. SIGTERM and SIGINT are passed on: every worker
drains as it would alone, and is killed when it takes longer than it may. SIGHUP reloads certificates. Workers end
with their parent, however that ends. Their metrics are one (`PROMETHEUS_MULTIPROC_DIR`).
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.observe.workers import SHARED_DIRECTORY, WorkerFiles
from headgate.kit.serve.lifecycle import FAILED, NOT_STARTED, SERVED
from headgate.kit.serve.loop import on_hangup, stop_on_signals
from headgate.kit.serve.plan import Plan, to_json
from headgate.kit.serve.ports import bind, reserve
from headgate.kit.serve.worker import MARGIN_SECONDS
from headgate.kit.tls.files import load

_HEALTHY_SECONDS: Final = 30.0

_log = structlog.get_logger("headgate.serve")


class Workers:
    """`count` processes that serve `plan`.

    A worker that ends is started again after `backoff[0]` seconds, twice as long each time, `backoff[1]` at most;
    one that lived for 30 seconds counts as the first. `on_ready` is called when all have been ready once.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        count: int,
        backoff: tuple[float, float] = (0.5, 30.0),
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.plan = plan
        self._count = count
        self._backoff = backoff
        self._on_ready = on_ready
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._waiting_for = set(range(count))
        self._stop = asyncio.Event()
        self._failed = False
        self._http: socket.socket | None = None
        self._files: WorkerFiles | None = None
        self._environment: dict[str, str] = {}

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that live."""
        return [worker.pid for worker in self._workers.values() if worker.returncode is None]

    async def run(self, stop: asyncio.Event | None = None) -> int:
        """Serve until `stop` is set, or SIGTERM or SIGINT without it. Returns the exit code, as `Serving.run` does.

        `NOT_STARTED` when a worker ends before any was ready: to start it again would change nothing.
        """
        if stop is not None:
            self._stop = stop
        else:
            self._stop = stop_on_signals()
            on_hangup(self.reload)
        try:
            async with self._prepared():
                ends = await asyncio.gather(*map(self._keep, range(self._count)), return_exceptions=True)
                for fault in (end for end in ends if end is not None):
                    raise fault
        except Fault as fault:
            _log.error("not started", code=fault.code, reason=fault.message, hint=fault.hint, detail=fault.internal)
            return NOT_STARTED
        finally:
            for worker in self._workers.values():
                _tell(worker, signal.SIGKILL)
        return FAILED if self._failed else SERVED

    def reload(self) -> None:
        """Have all look for new certificates now."""
        if self.plan.tls is not None:
            for worker in self._workers.values():
                _tell(worker, signal.SIGHUP)

    @contextlib.asynccontextmanager
    async def _prepared(self) -> AsyncIterator[None]:
        """Ports taken, TLS files checked, a directory for metrics; and all of it let go of."""
        plan = self.plan
        if plan.tls is not None:
            load(plan.tls)
        with contextlib.ExitStack() as stack:
            self._http = bind(plan.host, plan.port, plan.setting, backlog=plan.limits.backlog)
            stack.callback(self._close_http)
            self.plan = plan = replace(plan, port=self._http.getsockname()[1])
            if plan.grpc:
                kept = stack.enter_context(reserve(plan.host, plan.grpc_port, plan.grpc_setting))
                self.plan = replace(plan, grpc_port=kept.getsockname()[1])
            if SHARED_DIRECTORY in os.environ:
                directory = Path(os.environ[SHARED_DIRECTORY])
            else:
                directory = Path(tempfile.mkdtemp(prefix="headgate-metrics-"))
                stack.callback(shutil.rmtree, directory, ignore_errors=True)
            self._files = WorkerFiles(directory)
            self._environment = {**os.environ, **self._files.prepare()}
            yield

    async def _keep(self, number: int) -> None:
        """Keep one worker alive until all are to stop."""
        pause = self._backoff[0]
        while not self._stop.is_set():
            began = time.monotonic()
            worker, control = await self._spawn(number)
            with control:
                ready = asyncio.create_task(self._hear(number, control))
                await self._until_ended(worker)
                ready.cancel()
            code = await worker.wait()
            self._forget(worker)
            if self._stop.is_set():
                self._failed = self._failed or code != SERVED
                return
            if code == NOT_STARTED and len(self._waiting_for) == self._count:
                self._stop.set()
                raise Unavailable("a worker could not start; see its log", code="worker_not_started")
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause = self._backoff[0]
            _log.error("a worker ended; another takes its place", worker=number, code=code, seconds=round(pause, 1))
            await self._sleep(pause)
            pause = min(pause * 2, self._backoff[1])

    async def _spawn(self, number: int) -> tuple[asyncio.subprocess.Process, socket.socket]:
        listener = self._http
        if listener is None:
            raise Unavailable("the listener is closed", code="stopping")
        ours, theirs = socket.socketpair()
        with theirs:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "headgate.kit.serve.worker", str(theirs.fileno()), str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), listener.fileno()),
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the parent, which passes it on once
            )
        said = {"number": number, "listener": listener.fileno(), "path": sys.path, "plan": to_json(self.plan)}
        ours.setblocking(False)
        self._workers[worker.pid] = worker
        with contextlib.suppress(OSError):  # it is gone already, which the caller will see
            await asyncio.get_running_loop().sock_sendall(ours, json.dumps(said).encode() + b"\n")
        return worker, ours

    async def _hear(self, number: int, control: socket.socket) -> None:
        """Note that a worker is ready."""
        if not await asyncio.get_running_loop().sock_recv(control, 64):
            return
        _log.info("worker ready", worker=number)
        if number in self._waiting_for:
            self._waiting_for.discard(number)
            if not self._waiting_for and self._on_ready is not None:
                self._on_ready()

    async def _until_ended(self, worker: asyncio.subprocess.Process) -> None:
        """Wait until a worker ends: by itself, or asked to when all are, or killed when it does not."""
        ended = asyncio.create_task(worker.wait())
        asked = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return
            # Nobody accepts from it any more: clients are to be refused, not to wait.
            self._close_http()
            _tell(worker, signal.SIGTERM)
            limit = self.plan.shutdown_delay + self.plan.shutdown_grace + MARGIN_SECONDS
            if not (await asyncio.wait({ended}, timeout=limit))[0]:
                _log.error("a worker does not stop; it is killed", process=worker.pid, seconds=limit)
                _tell(worker, signal.SIGKILL)
        finally:
            asked.cancel()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _forget(self, worker: asyncio.subprocess.Process) -> None:
        self._workers.pop(worker.pid, None)
        if self._files is not None:
            self._files.ended(worker.pid)

    def _close_http(self) -> None:
        listener, self._http = self._http, None
        if listener is not None:
            listener.close()


def _tell(worker: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.send_signal(number)
