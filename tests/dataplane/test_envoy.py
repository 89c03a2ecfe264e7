"""The supervisor of Envoy, with a real one."""

import asyncio
import os
import signal

import httpx
import psutil
import pytest

from headgate.dataplane.admin import Admin
from headgate.dataplane.binary import envoy_version
from headgate.dataplane.bootstrap import Address
from headgate.dataplane.envoy import Envoy, EnvoyOptions
from headgate.dataplane.supervise import BackOff
from headgate.kit.controls.faults import Unavailable
from headgate.testing.envoy import eventually, require_envoy
from headgate.testing.server import free_port

pytestmark = pytest.mark.envoy

OPTIONS = EnvoyOptions(concurrency=1, log_level="info", back_off=BackOff(first=0.05, longest=0.2))


_TYPES = "type.googleapis.com/envoy.extensions"


def answering(port, *, upstream=0, admin=0):
    """Return a bootstrap of an Envoy that answers "hello", or passes on to a port."""
    action = (
        {"route": {"cluster": "upstream"}}
        if upstream
        else {"direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    )
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hello",
        "route_config": {
            "virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]
        },
        "access_log": [
            {
                "name": "envoy.access_loggers.stdout",
                "typed_config": {"@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog"},
            }
        ],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(upstream or 1)}}]}
    cluster = {"name": "upstream", "load_assignment": {"cluster_name": "upstream", "endpoints": [endpoint]}}
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


async def test_serves_and_reports(tmp_path):
    """A supervised Envoy becomes live, tells its version, answers requests and is gone when stopped."""
    port, seen, access, log = free_port(), [], [], []
    envoy = Envoy(
        require_envoy(),
        answering(port),
        tmp_path,
        OPTIONS,
        on_status=seen.append,
        access=access.append,
        on_log=lambda *line: log.append(line),
    )
    await envoy.start()
    await envoy.wait_live(20)
    pid = envoy.status.pid
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
    info = await envoy.admin.server_info()
    assert (info.state, info.version) == ("LIVE", (await envoy_version(require_envoy())).number)
    assert envoy.status.version == info.version
    await envoy.stop()
    assert not psutil.pid_exists(pid)
    assert [status.state for status in seen if status.state != "live"] == ["starting", "starting", "stopped"]
    assert b"GET / HTTP/1.1" in b"".join(access)
    assert ("info", "main", "starting main dispatch loop") in log


async def test_restarts_after_a_kill(tmp_path):
    """A killed Envoy is back, on the same port, without anybody doing anything."""
    port = free_port()
    envoy = Envoy(require_envoy(), answering(port, admin=free_port()), tmp_path, OPTIONS)
    await envoy.start()
    await envoy.wait_live(20)
    os.kill(envoy.status.pid, signal.SIGKILL)
    await eventually(lambda: _restarted(envoy))
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    await envoy.stop()


async def test_finishes_requests_when_stopped(tmp_path):
    """A request under way when Envoy is told to stop gets its whole answer."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        await writer.drain()
        writer.close()

    upstream = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = free_port()
    bootstrap = answering(port, upstream=upstream.sockets[0].getsockname()[1])
    log = []
    options = EnvoyOptions(concurrency=1, drain=20, log_level="debug")
    envoy = Envoy(require_envoy(), bootstrap, tmp_path, options, on_log=lambda *line: log.append(line))
    await envoy.start()
    await envoy.wait_live(20)
    async with httpx.AsyncClient(timeout=30) as client:
        asked = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await arrived.wait()
        stopping = asyncio.create_task(envoy.stop())
        await eventually(lambda: _asked(log, "/drain_listeners"))
        release.set()
        assert (await asked).text == "done"
    await stopping
    upstream.close()


async def test_bad_bootstrap(tmp_path):
    """An Envoy that refuses its bootstrap is reported with Envoy's own words."""
    bootstrap = {**answering(free_port()), "nonsense": 1}
    envoy = Envoy(require_envoy(), bootstrap, tmp_path, OPTIONS)
    await envoy.start()
    with pytest.raises(Unavailable, match="envoy does not start"):
        await envoy.wait_live(20, lives=1)
    assert "nonsense" in "\n".join(envoy.tail)
    await envoy.stop()


async def test_two_on_one_machine(tmp_path):
    """Two supervised Envoys do not meet in shared memory."""
    envoys = [Envoy(require_envoy(), answering(free_port()), tmp_path / str(n), OPTIONS) for n in range(2)]
    for envoy in envoys:
        await envoy.start()
    for envoy in envoys:
        await envoy.wait_live(20)
        await envoy.stop()


async def test_admin_address():
    """A silent admin is a fault, and no readiness."""
    admin = Admin(Address("127.0.0.1", free_port()))
    assert not await admin.ready()
    with pytest.raises(Unavailable):
        await admin.server_info()


async def _restarted(envoy):
    return envoy.status.restarts == 1 and envoy.status.state == "live"


async def _asked(log, path):
    return any(f"request complete: path: {path}" in message for _, _, message in log)
