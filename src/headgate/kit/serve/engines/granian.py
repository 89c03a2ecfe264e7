"""granian, inside the running event loop: HTTP/1.1, HTTP/2 and WebSockets, parsed outside Python.

Evened out: ports in the scope are numbers, an error of the application does not name the server, WebSockets go on
while serving ends, and a rotated certificate is taken by a second worker on the same listener.

What it cannot do: leave out the Server header, which is sent empty; tell the application who a TLS client is, so
that client certificates are refused at start; ping WebSockets; close a connection over which nothing at all was
sent, or a quiet one of HTTP/2.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Final

import structlog
from granian._futures import _future_watcher_wrapper, _new_cbscheduler
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.http import HTTP1Settings, HTTP2Settings
from starlette.types import Message, Scope

from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.serve.calls import Calls
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.serve.engines.rest import Rest, has_body
from headgate.kit.tls.rotation import Certificates

_CONNECTIONS: Final = 1_000_000
_LEAST_HEAD: Final = 8192
_CLOSE_SECONDS: Final = 1.0
_THREADS_SECONDS: Final = 0.5
_LAST_FRAME_SECONDS: Final = 0.25
"""How long granian is given to send a WebSocket's last frame once the application has ended; it does not tell when."""
_POLL_SECONDS: Final = 0.002
_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER of Linux
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_OUR_NAME: Final = Path("/proc/self/comm").read_bytes() if Path("/proc/self/comm").exists() else b""

_log = structlog.get_logger("headgate.serve")


class GranianEngine:
    """One granian server: a worker, and while certificates change the ones before it."""

    def __init__(self, calls: Calls, limits: HttpLimits, certificates: Certificates | None) -> None:
        if certificates is not None and certificates.files.client_ca is not None:
            raise FailedPrecondition(
                "granian does not tell the application which client certificate it verified",
                code="mtls_not_supported_by_server",
                hint="serve with uvicorn or hypercorn, or without client authorities",
            )
        calls.headers.append((b"server", b""))
        self._app = calls
        self._limits = limits
        self._certificates = certificates
        self._listener: socket.socket | None = None
        self._workers: list[_Worker] = []
        self._changes: set[asyncio.Task[None]] = set()
        self._threads_before = _foreign_threads()
        self._loop = asyncio.get_running_loop()
        if certificates is not None:
            certificates.on_change(self._changed)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections."""
        self._listener = listener
        self._workers.append(self._worker(listener))

    async def wait(self) -> None:
        """Never return: it does not stop by itself."""
        await asyncio.Event().wait()

    async def refuse(self) -> None:
        """Take no new connections, close idle ones."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for worker in self._workers:
            self._do(worker.retire())

    async def finish(self, seconds: float) -> None:
        """Wait until all connections are closed."""
        if self._workers:
            await asyncio.wait([asyncio.create_task(worker.gone.wait()) for worker in self._workers], timeout=seconds)

    async def close(self) -> None:
        """Drop what is left."""
        await self.refuse()
        for task in self._changes:
            task.cancel()
        for worker in self._workers:
            worker.end()
        await self.finish(_CLOSE_SECONDS)
        await self._threads_end()

    async def _threads_end(self) -> None:
        """Wait for granian's threads, which say that all is over just before they are.

        One that still lives when the interpreter ends aborts the process.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_THREADS_SECONDS):
                while _foreign_threads() - self._threads_before:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_POLL_SECONDS)

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self._rotate)

    def _rotate(self) -> None:
        """Serve new connections with the new certificate; those that are open stay with their worker."""
        if self._listener is None:
            return
        try:
            worker = self._worker(self._listener)
        except Exception:  # noqa: BLE001 - whatever granian dislikes: the old certificate is served on
            _log.exception("certificates not changed; the old ones stay")
            return
        before, self._workers = self._workers, [*(each for each in self._workers if not each.gone.is_set()), worker]
        for old in before:
            self._do(old.retire())

    def _worker(self, listener: socket.socket) -> "_Worker":
        return _Worker(self._app, listener, self._limits, _tls(self._certificates))

    def _do(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)


class _Worker:
    """One of granian's workers, with a descriptor of the listener of its own."""

    def __init__(self, app: Calls, listener: socket.socket, limits: HttpLimits, tls: dict[str, Any]) -> None:
        self.gone = asyncio.Event()
        self._app = app
        self._most = limits.websocket_bytes
        self._sockets = 0
        self._no_sockets = asyncio.Event()
        self._no_sockets.set()
        self._last_frame = 0.0
        """When the last frame of all WebSockets is out, by the loop's clock."""
        self._signal = WorkerSignal()
        self._retired = False
        loop = asyncio.get_running_loop()
        own = os.dup(listener.fileno())
        try:
            self._worker = _asgi_worker(own, limits, tls)
            self._signal.add_cb(lambda: loop.call_soon_threadsafe(self.gone.set))
            scheduler = _new_cbscheduler(loop, _future_watcher_wrapper(self._serve), impl_asyncio=True)
            self._worker.serve_async(scheduler, loop, self._signal)
        except BaseException:
            os.close(own)
            raise
        self._descriptor = own

    async def retire(self) -> None:
        """Accept nothing more, and end when the WebSockets have: granian would cut them off at once."""
        if self._retired:
            return
        self._retired = True
        _deafen(self._descriptor)
        await self._no_sockets.wait()
        await asyncio.sleep(self._last_frame - asyncio.get_running_loop().time())
        self.end()

    def end(self) -> None:
        """Finish requests under way, and stop. The descriptor may soon be another's: it is not touched any more."""
        self._retired = True
        with contextlib.suppress(Exception):
            self._signal.set()

    async def _serve(self, scope: Scope, protocol: Any) -> None:
        scope["root_path"] = ""
        for side in ("client", "server"):
            host, port = scope[side]
            scope[side] = (host, int(port))
        if scope["type"] != "websocket":
            if scope["type"] == "http" and has_body(scope):
                await Rest(protocol.receive, protocol.send, eager=True).run(self._app, scope)
            else:
                await self._app(scope, protocol.receive, protocol.send)
            return
        self._sockets += 1
        self._no_sockets.clear()
        try:
            await self._app(scope, _Bounded(protocol, self._most).receive, protocol.send)
        finally:
            self._sockets -= 1
            self._last_frame = asyncio.get_running_loop().time() + _LAST_FRAME_SECONDS
            if not self._sockets:
                self._no_sockets.set()


class _Bounded:
    """The incoming side of a WebSocket, with a bound to the size of a message."""

    __slots__ = ("_most", "_protocol")

    def __init__(self, protocol: Any, most: int) -> None:
        self._protocol = protocol
        self._most = most

    async def receive(self) -> Message:
        message: Message = await self._protocol.receive()
        size = len(message.get("bytes") or message.get("text") or b"")
        if size <= self._most:
            return message
        await self._protocol.send({"type": "websocket.close", "code": 1009, "reason": "message too big"})
        return {"type": "websocket.disconnect", "code": 1009, "reason": "message too big"}


def _asgi_worker(descriptor: int, limits: HttpLimits, tls: dict[str, Any]) -> Any:
    worker: Any = ASGIWorker  # its stubs are of another version
    holder: Any = SocketHolder
    return worker(
        worker_id=1,
        sock=(None, holder(descriptor, False, limits.backlog)),
        ipc=None,
        backpressure=_CONNECTIONS,
        http_mode="auto",
        http1_opts=HTTP1Settings(
            header_read_timeout=max(1, round(limits.keep_alive_seconds * 1000)),
            max_buffer_size=max(_LEAST_HEAD, limits.head_bytes),
        ),
        http2_opts=HTTP2Settings(max_headers_size=limits.head_bytes),
        websockets_enabled=True,
        metrics=(None, None),
        **tls,
    )


def _tls(certificates: Certificates | None) -> dict[str, Any]:
    if certificates is None:
        return {"ssl_enabled": False}
    files = certificates.files
    return {
        "ssl_enabled": True,
        "ssl_cert": str(files.certificate),
        "ssl_key": str(files.key),
        "ssl_protocol_min": f"tls{files.least}",
    }


def _foreign_threads() -> set[int]:
    """Threads of this process that Python has not started and nobody has named."""
    known = {thread.native_id for thread in threading.enumerate()}
    foreign = set()
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            if int(task.name) not in known and (task / "comm").read_bytes() == _OUR_NAME:
                foreign.add(int(task.name))
    return foreign


def _deafen(descriptor: int) -> None:
    """Put a listener that nobody can reach in the place of the one that granian holds.

    granian stops accepting only by ending, and would spin on a listener that is shut down. It may be about to look
    at the listener for the first time, so the other one is of its kind, with a filter that drops every packet.
    """
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(drop_all)))
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        deaf.setblocking(False)
        os.dup2(deaf.fileno(), descriptor, inheritable=False)
