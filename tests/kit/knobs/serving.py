"""Knobs of where and how a service listens, and how it ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.runner import REFUSED, main
from headgate.kit.serve import http as http_room
from headgate.kit.serve import lifecycle
from headgate.testing.certificates import Authority
from headgate.testing.server import free_port
from tests.kit.knobs import Place, Service, application, knob

LOOPBACK = "127.0.0.1"


async def get(
    port: int, path: str = "/orders", host: str = LOOPBACK, verify: ssl.SSLContext | None = None
) -> httpx.Response:
    """One request to a port, on a connection of its own."""
    async with httpx.AsyncClient(verify=verify or True, trust_env=False, timeout=30) as client:
        return await client.get(f"{'https' if verify else 'http'}://{host}:{port}{path}")


async def reachable(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


class Listening:
    """A kit that serves; `stop` is set to end it."""

    def __init__(self, kit: Kit, stop: asyncio.Event) -> None:
        self.kit, self.stop = kit, stop
        self.port: int = kit.settings.port  # type: ignore[attr-defined]
        self.serving = asyncio.create_task(kit.serve(application()))


@asynccontextmanager
async def listening(place: Place, **settings: Any) -> AsyncIterator[Listening]:
    """A kit that serves the application on free ports, until the block ends."""
    stop = asyncio.Event()
    place.monkeypatch.setattr(lifecycle, "stop_on_signals", lambda: stop)
    place.monkeypatch.setattr(lifecycle, "on_hangup", lambda _reload: None)
    running = Listening(Kit(HardeningSettings(**({"port": free_port()} | settings))), stop)
    async with asyncio.timeout(60):
        while not await reachable(running.port, settings.get("host", LOOPBACK)):
            assert not running.serving.done(), running.serving
            await asyncio.sleep(0.01)
        try:
            yield running
        finally:
            stop.set()
            await running.serving


@knob("port")
async def port_of_http(place: Place) -> None:
    """HTTP answers on the port."""
    port = free_port()
    async with listening(place, port=port):
        assert (await get(port)).status_code == 200
    assert not await reachable(port)


@knob("host")
async def address(place: Place) -> None:
    """Nothing answers on other addresses."""
    async with listening(place, host="127.0.0.2") as running:
        assert (await get(running.port, host="127.0.0.2")).status_code == 200
        assert not await reachable(running.port)


@knob("server")
async def engine(place: Place) -> None:
    """The server that is named serves."""
    chosen = []
    original = http_room.engine_of
    place.monkeypatch.setattr(http_room, "engine_of", lambda name: chosen.append(name) or original(name))
    for name in ("uvicorn", "hypercorn"):
        async with listening(place, server=name) as running:
            assert (await get(running.port)).status_code == 200
    assert chosen == ["uvicorn", "hypercorn"]


@knob("grpc_port")
async def port_of_grpc(_place: Place) -> None:
    """RPCs answer on the port."""
    port = free_port()
    kit = Kit(HardeningSettings(grpc_port=port))
    server = kit.grpc_server()
    await server.start()
    assert await reachable(port)
    await server.stop()
    await kit.aclose()


@knob("grpc_keepalive")
async def pings(place: Place) -> None:
    """Idle connections are asked whether they live as often as that."""
    told: list[Any] = []
    original = grpc.aio.server

    def server(*arguments: Any, **given: Any) -> Any:
        told.extend(given.get("options") or ())
        return original(*arguments, **given)

    place.monkeypatch.setattr(grpc.aio, "server", server)
    made = Kit(HardeningSettings(grpc_keepalive=7, grpc_port=free_port())).grpc_server()
    await made.start()
    await made.stop()
    assert ("grpc.keepalive_time_ms", 7_000) in told


@knob("grpc_web")
async def rpcs_over_http(_place: Place) -> None:
    """RPCs answer on the HTTP port, unless that is switched off."""
    headers = {"content-type": "application/grpc-web+proto"}
    for served in (True, False):
        made = Service(grpc_web=served)
        made.app = made.kit.harden(application(), rpc=made.kit.grpc_server())
        answer = await made.ask("/grpc.health.v1.Health/Check", method="POST", headers=headers, content=b"\0" * 5)
        assert ("grpc-web" in answer.headers.get("content-type", "")) is served
        await made.kit.aclose()


@knob("workers")
async def processes(_place: Place) -> None:
    """Several processes need the application's name, which a kit in one process does not have; see the runner."""
    with pytest.raises(FailedPrecondition):
        Kit(HardeningSettings(workers=2)).run(application())
    assert main(["no_such_module:app", "--workers", "1"]) == REFUSED


@knob("keep_alive_timeout")
async def idle_connections(place: Place) -> None:
    """An idle connection is closed after that time."""
    for seconds, closed in ((0.2, True), (60, False)):
        async with listening(place, keep_alive_timeout=seconds) as running:
            reader, writer = await asyncio.open_connection(LOOPBACK, running.port)
            writer.write(b"GET /orders HTTP/1.1\r\nhost: a\r\n\r\n")
            assert await reader.readuntil(b"}")
            end = asyncio.create_task(reader.read())
            assert bool((await asyncio.wait({end}, timeout=20 if closed else 1))[0]) is closed
            end.cancel()
            writer.close()


@knob("shutdown_delay")
async def served_while_balancers_turn_away(place: Place) -> None:
    """For that time it is served as before, while readiness refuses."""
    async with listening(place, shutdown_delay=1.5) as running:
        assert (await get(running.port, "/ready")).status_code == 200
        running.stop.set()
        while (await get(running.port, "/ready")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (await get(running.port)).status_code == 200
    async with listening(place, shutdown_delay=0) as running:
        running.stop.set()
        while await reachable(running.port):
            await asyncio.sleep(0.01)


@knob("shutdown_grace")
async def calls_may_finish(place: Place) -> None:
    """A call under way may finish in that time, and is cut off after it."""
    for seconds, finished in ((60, True), (0.01, False)):
        async with listening(place, shutdown_grace=seconds) as running:
            asked = asyncio.create_task(get(running.port, "/stream"))
            await asyncio.sleep(0.4)
            running.stop.set()
            (answer,) = await asyncio.gather(asked, return_exceptions=True)
            assert (isinstance(answer, httpx.Response) and answer.text.endswith("end")) is finished


class Tls:
    """Files of a server's certificate, and what trusts it."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority()
        self._directory = directory
        self.context = ssl.create_default_context(cadata=self.authority.pem.decode())
        self.rotate()

    def rotate(self) -> None:
        """Write a new certificate."""
        certificate, key = self.authority.issue(LOOPBACK).write(self._directory, "server")
        self.files = {"tls_certificate": certificate, "tls_key": key}

    async def shown(self, port: int) -> int:
        """The serial number of the certificate that is served now."""
        _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=self.context)
        serial = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        writer.close()
        return int(serial, 16)


@knob("tls_certificate", "tls_key")
async def https(place: Place) -> None:
    """With a certificate and its key, HTTPS is served and HTTP is not."""
    tls = Tls(place.directory)
    async with listening(place, **tls.files) as running:
        assert (await get(running.port, verify=tls.context)).status_code == 200
        with pytest.raises(httpx.HTTPError):
            await get(running.port)


@knob("tls_reload")
async def rotation(place: Place) -> None:
    """A rotated certificate is served without being told, as often as files are looked at."""
    tls = Tls(place.directory)
    async with listening(place, **tls.files, tls_reload=0.05) as running:
        first = await tls.shown(running.port)
        tls.rotate()
        async with asyncio.timeout(5):
            while await tls.shown(running.port) == first:
                await asyncio.sleep(0.05)
    async with listening(place, **tls.files, tls_reload=0) as running:
        first = await tls.shown(running.port)
        tls.rotate()
        await asyncio.sleep(0.5)
        assert await tls.shown(running.port) == first
