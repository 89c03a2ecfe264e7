"""What listeners do besides routing: upgrades, plain TCP, a limit of connections."""

import asyncio

import pytest

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.listener import listener
from headgate.controlplane.translate.static import bootstrap, static_cluster, static_listener
from headgate.testing.echo import Echo
from headgate.testing.envoy import RealEnvoy, eventually
from headgate.testing.server import free_port
from tests.envoy.gateway import gateway

pytestmark = pytest.mark.envoy

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def routed(**forward):
    """A route config with a route that may upgrade, and one that may not."""
    open_, shut = (
        {"name": name, "match": {"path": {"exact": f"/{name}"}}, "forward": {"cluster": "echo", **more}}
        for name, more in (("open", {"upgrades": ["websocket"], **forward}), ("shut", forward))
    )
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [open_, shut]}]}


async def shake(port, path):
    """The status of a WebSocket handshake, and what comes back of a frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE.format(path=path).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    status = head.split(b" ")[1].decode()
    back = b""
    if status == "101":
        writer.write(b"\x81\x85\0\0\0\0bytes")
        back = await asyncio.wait_for(reader.readexactly(7), 10)
    writer.close()
    return status, back


@pytest.mark.parametrize(("everywhere", "shut"), [([], ("403", b"")), (["websocket"], ("101", b"\x81\x05bytes"))])
async def test_websockets(tmp_path, everywhere, shut):
    """A route that allows WebSocket passes it both ways, another does not, unless the listener allows it to all."""
    port = free_port()
    async with Echo() as echo:
        config = gateway(port, routed(timeout_ms=1000), upstream=echo.port, upgrades=everywhere)
        async with RealEnvoy(config, tmp_path) as envoy:
            await envoy.wait_live()
            assert await shake(port, "/open") == ("101", b"\x81\x05bytes")
            assert await shake(port, "/shut") == shut


async def reply(port):
    """What a connection gets for a request; nothing when it is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    try:
        return (await asyncio.wait_for(reader.readline(), 10)).decode(), writer
    except ConnectionError:
        return "", writer


async def test_tcp_with_a_limit(tmp_path):
    """Bytes go through to the clusters with a weight; beyond the limit a connection is cut off, until one goes."""
    port = free_port()
    targets = [{"cluster": "echo", "weight": 1}, {"cluster": "nowhere", "weight": 0}]
    chain = {"name": "tcp", "tcp": {"weighted_clusters": targets}}
    spec = Listener.model_validate({"port": port, "max_connections": 1, "filter_chains": [chain]})
    async with Echo() as echo:
        upstream = Cluster.model_validate({"endpoints": [{"address": "127.0.0.1", "port": echo.port}]})
        config = bootstrap(
            clusters=[static_cluster(cluster("team", "echo", upstream), assignment("team", "echo", upstream))],
            listeners=[static_listener(listener("team", "l", spec))],
        )
        config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
        async with RealEnvoy(config, tmp_path) as envoy:
            await envoy.wait_live()
            line, first = await reply(port)
            assert line.startswith("HTTP/1.1 200")
            cut, second = await reply(port)
            assert cut == ""
            first.close()
            second.close()

            async def free_again() -> bool:
                line, writer = await reply(port)
                writer.close()
                return line.startswith("HTTP/1.1 200")

            await eventually(free_again)
