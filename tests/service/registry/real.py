"""Rigs of real servers, reached through a relay that can be cut. See tests/real."""

import asyncio
import contextlib
import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from headgate.service.registry import ConsulRegistry, KubernetesRegistry
from headgate.service.registry.consul_api import ConsulOptions
from headgate.service.registry.kube_config import access_from
from tests.service.registry.conftest import quick
from tests.service.registry.rigs import Rig, relay_to, told


class RealConsul(Rig):
    """REAL_CONSUL_URL says where."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.server = told("REAL_CONSUL_URL")
        if not self.server:
            pytest.skip("needs a real Consul: make test-consul")
        self.relay = relay_to(self.server)
        self.http = httpx.AsyncClient(base_url=self.server, trust_env=False)
        self.known: set[str] = set()

    def registry(self, **policy):
        options = ConsulOptions(ttl=0.6, wait=2.0, least_pause=0.01)
        return ConsulRegistry(f"http://127.0.0.1:{self.relay.port}", options, policy=quick(**policy))

    async def put(self, name):
        made = self.instance(name)
        meta = {f"headgate-wire-{wire}": address for wire, address in made.endpoints.items()}
        body = {"ID": made.id, "Name": self.service, "Tags": ["version=1.2.0"], "Meta": meta}
        (await self.http.put("/v1/agent/service/register", json=body)).raise_for_status()
        self.known.add(made.id)

    async def remove(self, name):
        await self._gone(f"{self.service}-{name}")

    async def _gone(self, identity: str) -> None:
        (await self.http.put(f"/v1/agent/service/deregister/{quote(identity)}")).raise_for_status()
        self.known.discard(identity)

    async def down(self):
        await self.relay.stop()

    async def up(self):
        await self.relay.start()

    async def forget(self):
        found = (await self.http.get("/v1/agent/services")).json()
        for identity, each in found.items():
            if each["Service"] == self.service:
                await self._gone(identity)

    @contextlib.asynccontextmanager
    async def running(self):
        await self.relay.start()
        try:
            yield
        finally:
            await self.relay.stop()
            await self.forget()
            await self.http.aclose()


class RealKubernetes(Rig):
    """KUBECONFIG of tests/real/kube.sh says where; its reader may list and watch, its admin writes."""

    writes = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config = told("REAL_KUBE_CONFIG")
        if not self.config:
            pytest.skip("needs a real Kubernetes API server: make test-kube")
        self.reader = access_from(self.config, context="reader")
        admin = access_from(self.config, context="admin")
        headers = {"Authorization": f"Bearer {admin.credentials.token}"}
        self.http = httpx.AsyncClient(base_url=admin.server, headers=headers, verify=admin.tls, trust_env=False)
        self.relay = relay_to(admin.server)
        self.pods: dict[str, str] = {}

    def registry(self, **policy):
        server = f"https://{urlsplit(self.reader.server).hostname}:{self.relay.port}"
        return KubernetesRegistry(access=dataclasses.replace(self.reader, server=server), policy=quick(**policy))

    async def put(self, name):
        if not self.pods:
            await self.create("/api/v1/namespaces/default/services", {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": self.service, "labels": {"headgate.dev/version": "1.2.0"}},
                "spec": {"ports": [{"name": "http", "port": 80}]},
            })  # fmt: skip
            await self.create(self._slices, self._slice())
        self.pods[f"{self.service}-{name}"] = f"10.0.0.{len(self.pods) + 1}"
        await self.write()

    async def remove(self, name):
        del self.pods[f"{self.service}-{name}"]
        await self.write()

    async def create(self, path: str, body: dict[str, Any]) -> None:
        answer = await self.http.post(path, json=body)
        if answer.status_code != 409:
            answer.raise_for_status()

    async def write(self) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"{self._slices}/{self.service}-a"
        (await self.http.patch(path, json=self._slice(), headers=headers)).raise_for_status()

    @property
    def _slices(self) -> str:
        return "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

    def _slice(self) -> dict[str, Any]:
        endpoints = [
            {"addresses": [at], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}
            for pod, at in self.pods.items()
        ]
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{self.service}-a", "labels": {"kubernetes.io/service-name": self.service}},
            "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}, {"name": "grpc", "port": 50051}],
        }  # fmt: skip

    async def down(self):
        await self.relay.stop()

    async def up(self):
        await self.relay.start()

    @contextlib.asynccontextmanager
    async def running(self):
        await self.relay.start()
        try:
            yield
        finally:
            await self.relay.stop()
            for path in (f"{self._slices}/{self.service}-a", f"/api/v1/namespaces/default/services/{self.service}"):
                await self.http.delete(path)
            await asyncio.wait_for(self.http.aclose(), 5)


REAL: dict[str, tuple[str, type[Rig]]] = {"consul": ("consul", RealConsul), "kubernetes": ("kube", RealKubernetes)}
