"""One of several worker processes: started by `headgate.kit.serve.workers`, never by hand.

Its parent talks to it over one socket: the plan comes in, "ready" goes out, and its end tells that the parent is gone.
Then the worker stops as if it were asked to, and is ended for certain a while later.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, Final

import structlog

from headgate.kit.controls.faults import Fault
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import NOT_STARTED, Serving, grpc_part
from headgate.kit.serve.loop import run
from headgate.kit.serve.plan import Plan, from_json, imported, made
from headgate.kit.tls.rotation import Certificates

READY: Final = b"ready"
MARGIN_SECONDS: Final = 10.0
"""How much longer than delay and grace a worker may take to stop before it is killed."""

_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG

_log = structlog.get_logger("headgate.serve")


def main() -> int:
    """Serve what the parent says. Returns the exit code."""
    control = socket.socket(fileno=int(sys.argv[1]))
    told = _die_with(int(sys.argv[2]))
    lines = control.makefile("rb")
    said: dict[str, Any] = json.loads(lines.readline())
    plan = from_json(said["plan"])
    sys.path[:] = said["path"]
    configure_logs(plan.log_level, plan.log_format)
    structlog.contextvars.bind_contextvars(worker=said["number"])
    threading.Thread(target=_outlive, args=(control, plan, told), name="parent", daemon=True).start()
    listener = socket.socket(fileno=said["listener"])
    try:
        return run(_serve(plan, listener, control))
    except Fault as fault:
        _log.error("not started", code=fault.code, reason=fault.message, hint=fault.hint, detail=fault.internal)
    except Exception:  # noqa: BLE001 - the application's module may raise anything
        _log.exception("not started")
    return NOT_STARTED


async def _serve(plan: Plan, listener: socket.socket, control: socket.socket) -> int:
    app = made(plan.app) if plan.factory else imported(plan.app)
    certificates = Certificates(plan.tls, every=plan.tls_reload) if plan.tls is not None else None
    serving = Serving(
        health=imported(plan.health) if plan.health else None,
        shutdown_delay=plan.shutdown_delay,
        shutdown_grace=plan.shutdown_grace,
        on_ready=lambda: control.sendall(READY),
    )
    if plan.grpc:
        rpc = made(plan.grpc)
        if hasattr(rpc, "port"):
            rpc.port = plan.grpc_port
        serving.add(grpc_part(rpc, host=plan.host, port=plan.grpc_port, tls=certificates, shared=True))
    serving.add(
        HttpServer(
            app,
            host=plan.host,
            port=plan.port,
            setting=plan.setting,
            server=plan.server,
            tls=certificates,
            limits=plan.limits,
            listener=listener,
        )
    )
    return await serving.run()


def _die_with(parent: int) -> bool:
    """Have the system ask this process to stop when its parent ends, however that ends. Returns whether it will."""
    told = False
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        told = ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0) == 0
    if os.getppid() != parent:
        sys.exit(NOT_STARTED)
    return told


def _outlive(control: socket.socket, plan: Plan, told: bool) -> None:
    """Wait for the parent's end, then give this process its time, and no more."""
    with contextlib.suppress(OSError):
        while control.recv(64):
            pass
    if not told:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(plan.shutdown_delay + plan.shutdown_grace + MARGIN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
