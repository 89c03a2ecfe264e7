"""What the reference service needs besides itself: a NATS server, registries, brokers."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.service.broker import broker_from
from headgate.service.registry import ConsulRegistry, FileRegistry, KubernetesRegistry, MemoryRegistry
from headgate.service.registry.consul_api import ConsulOptions
from headgate.testing.consul import FakeConsul
from headgate.testing.kubernetes import FakeKubernetes
from headgate.testing.nats import nats_or_skip
from headgate.testing.service_conformance import Site, Way, reference
from tests.service.registry.conftest import quick

FOUND = ("address", "memory", "file", "consul", "kubernetes")
BROKERS = ("memory", "nats", "jetstream")


@pytest.fixture(scope="session")
def nats() -> Iterator[str]:
    """The URL of one server for all."""
    with nats_or_skip() as server:
        yield server.url


@asynccontextmanager
async def brokered(name: str, nats: str) -> AsyncIterator[Any]:
    """A broker of that sort, on a stream of its own."""
    url = "memory://"
    if name != "memory":
        url = f"{name}://{nats.partition('://')[2]}"
    if name == "jetstream":
        url += f"?stream=c{secrets.token_hex(4)}&subjects=conformance.>"
    broker = broker_from(url)
    yield broker
    if name == "jetstream":
        await _forget(broker.stream, nats)
    await broker.aclose()


async def _forget(stream: str, nats: str) -> None:
    """Remove the stream: no two may hold the same subjects."""
    import nats as nats_py

    client = await nats_py.connect(nats)
    await client.jetstream().delete_stream(stream)
    await client.close()


@asynccontextmanager
async def placed(way: Way, found: str, path: Path, nats: str, broker: str = "memory") -> AsyncIterator[Site]:
    """The reference service over a way, found in a registry of that sort, with a broker of that sort.

    `nats` is the broker's. The wire has a server of its own: sites that share one answer each other's calls.
    """
    with own_server(way) as wire:
        async with brokered(broker, nats) as events:
            told: dict[str, Any] = {"broker": events, "nats": wire}
            if found == "address":
                async with reference(way, **told) as site:
                    yield site
            elif found == "kubernetes":
                async with FakeKubernetes(token="secret") as fake, reference(way, **told) as site:
                    registry = _pods(fake, site)
                    yield Site(site.app, site.running, way, site.watch, {"registry": registry})
                    await registry.aclose()
            else:
                async with _registry(found, path) as known, reference(way, registry=known, **told) as site:
                    yield site


@contextmanager
def own_server(way: Way) -> Iterator[str]:
    """The URL of a NATS server for one site, "" where it needs none."""
    if way.wire != "nats":
        yield ""
        return
    with nats_or_skip() as server:
        yield server.url


def _pods(fake: FakeKubernetes, site: Site) -> KubernetesRegistry:
    ports = {"http": int(site.running.url.rpartition(":")[2])}
    ports["grpc"] = int(site.running.grpc_address.rpartition(":")[2])
    ports["socket"] = ports["http"]
    for name in ("reference", "relay"):
        fake.put_service(name)
        fake.put_slice(name, {"pod-1": "127.0.0.1"}, ports=ports)
    return KubernetesRegistry(access=fake.access(), policy=quick())


@asynccontextmanager
async def _registry(found: str, path: Path) -> AsyncIterator[Any]:
    if found == "consul":
        async with FakeConsul(token="secret") as fake:
            made: Any = ConsulRegistry(
                fake.url, ConsulOptions(token="secret", ttl=5.0, wait=1.0, least_pause=0.01), policy=quick()
            )
            yield made
            await made.aclose()
        return
    if found == "file":
        file = path / f"{secrets.token_hex(4)}.json"
        file.write_text('{"services": {}}')
        made = FileRegistry(file, interval=0.02, policy=quick())
    else:
        made = MemoryRegistry()
    yield made
    await made.aclose()
