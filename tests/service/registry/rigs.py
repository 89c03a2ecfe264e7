"""One rig for each registry: how the world changes under it, fails, and comes back. See test_conformance."""

import asyncio
import contextlib
import json
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dns.rcode

from headgate.service.registry import (
    BaseRegistry,
    ConsulRegistry,
    Directory,
    DnsRegistry,
    FileRegistry,
    Instance,
    KubernetesRegistry,
    MemoryRegistry,
)
from headgate.service.registry.consul_api import ConsulOptions
from headgate.service.registry.dns import DnsOptions
from headgate.testing.consul import FakeConsul
from headgate.testing.kubernetes import FakeKubernetes
from tests.service.registry.conftest import quick
from tests.service.registry.nameserver import NameServer


class Rig(ABC):
    """`writes`: instances are registered through it. `lists`: it tells services. `tells`: versions and metadata."""

    writes = True
    lists = True
    tells = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = f"orders-{uuid.uuid4().hex[:8]}"

    @abstractmethod
    def registry(self, **policy: Any) -> BaseRegistry:
        """Another client."""

    @abstractmethod
    async def put(self, name: str) -> None:
        """An instance with that last part of its id, of version 1.2.0, is there, put by somebody else."""

    @abstractmethod
    async def remove(self, name: str) -> None:
        """It is gone."""

    @abstractmethod
    async def down(self) -> None:
        """The registry cannot be asked any more."""

    @abstractmethod
    async def up(self) -> None:
        """It can again."""

    async def forget(self) -> None:  # noqa: B027 - those that write nothing have nothing to lose
        """It lost everything."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For as long as the test runs."""
        yield

    def instance(self, name: str, **changes: Any) -> Instance:
        """One to register."""
        told = {"version": "1.2.0", "endpoints": {"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"}}
        return Instance(id=f"{self.service}-{name}", service=self.service, **{**told, **changes})


class Memory(Rig):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.directory = Directory()
        self.clients: list[MemoryRegistry] = []
        self.reachable = True

    def registry(self, **policy):
        made = MemoryRegistry(self.directory, interval=0.05, policy=quick(**policy))
        made.reachable = self.reachable
        self.clients.append(made)
        return made

    async def put(self, name):
        self.directory.put(self.instance(name))

    async def remove(self, name):
        self.directory.remove(self.instance(name))

    async def down(self):
        self.reach(reachable=False)

    async def up(self):
        self.reach(reachable=True)

    def reach(self, *, reachable: bool) -> None:
        self.reachable = reachable
        for each in self.clients:
            each.reachable = reachable

    async def forget(self):
        self.directory.clear()


class File(Rig):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = path / "services.json"
        self.away = path / "away.json"
        self.kept: dict[str, Any] = {}
        self.write({})

    def write(self, services: dict[str, Any]) -> None:
        file = self.away if self.away.exists() else self.file
        scratch = self.path / "scratch"
        scratch.write_text(json.dumps({"services": services}))
        scratch.replace(file)

    def services(self) -> dict[str, Any]:
        file = self.away if self.away.exists() else self.file
        return json.loads(file.read_text())["services"]

    def registry(self, **policy):
        return FileRegistry(self.file, interval=0.02, ttl=0.6, policy=quick(**policy))

    async def put(self, name):
        services, made = self.services(), self.instance(name)
        entry = {"id": made.id, "version": made.version, "endpoints": made.endpoints}
        self.write({**services, self.service: [*services.get(self.service, []), entry]})

    async def remove(self, name):
        services = self.services()
        left = [each for each in services[self.service] if each["id"] != f"{self.service}-{name}"]
        self.write({**services, self.service: left})

    async def down(self):
        self.file.rename(self.away)
        self.file.mkdir()

    async def up(self):
        self.file.rmdir()
        self.away.rename(self.file)

    async def forget(self):
        self.write({})


class Dns(Rig):
    writes = lists = tells = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.server = NameServer()

    @property
    def key(self) -> tuple[str, str]:
        return f"_http._tcp.{self.service}.test", "SRV"

    def registry(self, **policy):
        options = DnsOptions(server=self.server.server, least_ttl=0.02, most_ttl=0.05)
        return DnsRegistry("test", options, policy=quick(call_timeout=0.4, **policy))

    async def put(self, name):
        self.server.records.setdefault(self.key, []).append(f"0 1 8080 {self.service}-{name}.test.")

    async def remove(self, name):
        self.server.records[self.key].remove(f"0 1 8080 {self.service}-{name}.test.")

    async def down(self):
        self.server.rcode = dns.rcode.SERVFAIL

    async def up(self):
        self.server.rcode = dns.rcode.NOERROR

    async def forget(self):
        self.server.records.clear()

    @contextlib.asynccontextmanager
    async def running(self):
        async with self.server:
            yield


class Consul(Rig):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fake = FakeConsul(token="secret")

    @property
    def url(self) -> str:
        return self.fake.url

    def registry(self, **policy):
        options = ConsulOptions(token="secret", ttl=0.6, wait=1.0, least_pause=0.01)
        return ConsulRegistry(self.url, options, policy=quick(**policy))

    async def put(self, name):
        made = self.instance(name)
        meta = {f"headgate-wire-{wire}": address for wire, address in made.endpoints.items()}
        self.fake.services[made.id] = {
            "ID": made.id, "Name": self.service, "Tags": ["version=1.2.0"], "Meta": meta, "Passing": True,
        }  # fmt: skip
        self.fake.change()

    async def remove(self, name):
        del self.fake.services[f"{self.service}-{name}"]
        self.fake.change()

    async def down(self):
        await self.fake.stop()

    async def up(self):
        await self.fake.start()

    async def forget(self):
        self.fake.forget()

    @contextlib.asynccontextmanager
    async def running(self):
        async with self.fake:
            yield


class Kubernetes(Rig):
    writes = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fake = FakeKubernetes(token="secret")
        self.pods: dict[str, str] = {}

    def registry(self, **policy):
        return KubernetesRegistry(access=self.fake.access(), policy=quick(**policy))

    def write(self) -> None:
        self.fake.put_slice(self.service, self.pods, ports={"http": 8080, "grpc": 50051})

    async def put(self, name):
        if ("services", "default", self.service) not in self.fake.objects:
            self.fake.put_service(self.service, labels={"headgate.dev/version": "1.2.0"})
        self.pods[f"{self.service}-{name}"] = f"10.0.0.{len(self.pods) + 1}"
        self.write()

    async def remove(self, name):
        del self.pods[f"{self.service}-{name}"]
        self.write()

    async def down(self):
        await self.fake.stop()

    async def up(self):
        await self.fake.start()

    async def forget(self):
        for key in list(self.fake.objects):
            self.fake.objects.pop(key)
        self.fake.expire()

    @contextlib.asynccontextmanager
    async def running(self):
        async with self.fake:
            yield


class Relay:
    """Passes connections on to a server, unless it is down: an outage of what cannot be stopped."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks[task] = writer
        there = None
        try:
            back, there = await asyncio.open_connection(*self._to)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, there))
                group.create_task(_pump(back, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            del self._tasks[task]
            for each in (there, writer):
                if each is not None:
                    each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
        await writer.drain()
    raise ConnectionResetError


def relay_to(url: str) -> Relay:
    """A relay to where a URL points."""
    parts = urlsplit(url)
    return Relay(parts.hostname or "127.0.0.1", parts.port or 80)


def told(name: str) -> str:
    """What the environment says of a real server, "" for none."""
    return os.environ.get(name, "")


RIGS: dict[str, type[Rig]] = {
    "memory": Memory,
    "file": File,
    "dns": Dns,
    "consul-fake": Consul,
    "kubernetes-fake": Kubernetes,
}
