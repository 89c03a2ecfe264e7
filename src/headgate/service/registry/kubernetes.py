"""Kubernetes: a Service is a service, the ready endpoints of its EndpointSlices are the instances.

    registry = KubernetesRegistry(KubeOptions(namespaces=("shop",)))          # in a cluster, or by KUBECONFIG

Services and EndpointSlices are listed and watched, each service by itself, and only those somebody asks for. A name
with '.' or '_' is that of the Service with '-' in their place. Nothing is written: `register` gives a lease that does
nothing, since a pod is known to the cluster by its labels and its readiness; a Deployment tells version, contract and
metadata by labels and annotations of the Service (see kube_form). Rights: deploy/kubernetes.

Where the API may not be read (401, 403, or no EndpointSlices, 404), and `dns_fallback` names wires, the cluster's DNS
is asked for SRV records instead, as `headgate.service.registry.dns` does. Needs the extra `kubernetes`.

Source: Kubernetes API reference, Service v1 and EndpointSlice discovery.k8s.io/v1.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Violation
from headgate.service.registry.base import BaseRegistry, External, Versions
from headgate.service.registry.instance import Instance
from headgate.service.registry.kube_api import KubeApi
from headgate.service.registry.kube_config import Access, access_from
from headgate.service.registry.kube_form import SERVICE_NAME, KubeForm, instances_of, version_of
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.reflector import Reflector
from headgate.service.registry.watcher import Answer, Source

ALL: Final = "*"
"""The namespace that means all of them."""

_COALESCED_SECONDS: Final = 0.05
"""Events of one change, such as a pod that moves from one slice to another, become one snapshot."""


@dataclass(frozen=True, slots=True)
class KubeOptions:
    """What is looked at. Raises InvalidArgument.

    `namespaces`: none is the one of the configuration, `*` all of them. `selector` is a label selector for Services.
    A watch that says nothing for `idle` seconds is opened anew. `form` is how instances are written. `kubeconfig` and
    `context` choose the configuration, as kubectl does. `dns_fallback`: wires to ask DNS for where the API refuses.
    """

    namespaces: tuple[str, ...] = ()
    selector: str = ""
    form: KubeForm = field(default_factory=KubeForm)
    idle: float = 90.0
    kubeconfig: str = ""
    context: str = ""
    dns_fallback: tuple[str, ...] = ()
    dns_server: str = ""

    def __post_init__(self) -> None:
        rules = {
            "namespaces": ALL not in self.namespaces or len(self.namespaces) == 1,
            "idle": self.idle > 0,
            "form": self.form.advertise in ("pod", "dns"),
        }
        if wrong := [name for name in rules if not rules[name]]:
            raise InvalidArgument(
                "Kubernetes cannot be watched like this: " + ", ".join(wrong),
                code="invalid_registry_policy",
                violations=[Violation(f"/{name}", "is not possible") for name in wrong],
                hint="'*' stands alone, idle is positive, advertise is pod or dns",
            )


class KubernetesRegistry(BaseRegistry):
    """See the module. `access` is for those who know better than the configuration that is found."""

    name = "kubernetes"

    def __init__(
        self,
        options: KubeOptions | None = None,
        *,
        access: Access | None = None,
        policy: RegistryPolicy | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        super().__init__(policy, observer)
        self.options = options or KubeOptions()
        access = access or access_from(self.options.kubeconfig, context=self.options.context)
        self.namespaces = self.options.namespaces or (access.namespace,)
        self._api = KubeApi(access, self.policy.call_timeout)

    async def services(self) -> Versions:
        """All Services of the namespaces that the selector means, and their versions. Raises faults of asking."""
        parameters = {"labelSelector": self.options.selector} if self.options.selector else {}
        found: dict[str, set[str]] = {}
        for namespace in self.namespaces:
            items, _ = await self._api.list(path_of("services", namespace), parameters, "")
            for item in items:
                found.setdefault(str(item["metadata"]["name"]), set()).add(version_of(item))
        return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}

    def _source(self, service: str) -> Source:
        source = _Source(self._api, self.options, self.namespaces, service, self.policy)
        if not self.options.dns_fallback:
            return source
        return _Fallback(source, self._by_name(service))

    def _keeper(self) -> External:
        return External()

    def _by_name(self, service: str) -> Source:
        from headgate.service.registry.dns import DnsOptions, source_of

        options = DnsOptions(server=self.options.dns_server, wires=self.options.dns_fallback)
        space = self.namespaces[0] if self.namespaces[0] != ALL else "default"
        host = f"{object_name(service)}.{space}.svc.{self.options.form.cluster_domain}"
        return source_of(options, service, host, self.policy)

    async def _shut(self) -> None:
        await self._api.aclose()


class _Source:
    """One service: a reflector of its Service and one of its slices, for each namespace."""

    def __init__(
        self, api: KubeApi, options: KubeOptions, namespaces: tuple[str, ...], service: str, policy: RegistryPolicy
    ) -> None:
        self._options, self._service, self._name = options, service, object_name(service)
        self._news = asyncio.Event()

        def reflector(kind: str, namespace: str, parameters: dict[str, str]) -> Reflector:
            path = path_of(kind, namespace)
            return Reflector(api, path, parameters, policy=policy, idle=options.idle, news=self._news.set)

        chosen = {"fieldSelector": f"metadata.name={self._name}"}
        if options.selector:
            chosen["labelSelector"] = options.selector
        slices = {"labelSelector": f"{SERVICE_NAME}={self._name}"}
        self._services = [reflector("services", each, chosen) for each in namespaces]
        self._slices = [reflector("endpointslices", each, slices) for each in namespaces]

    async def follow(self) -> AsyncIterator[Answer]:
        every = [*self._services, *self._slices]
        tasks = [asyncio.create_task(each.run(), name=f"reflect {self._name}") for each in every]
        for task in tasks:
            task.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                if all(each.synced for each in every):
                    yield Answer(self._instances())
                    await asyncio.sleep(_COALESCED_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _instances(self) -> tuple[Instance, ...]:
        slices: dict[str, list[Any]] = {}
        for each in self._slices:
            for (namespace, _), item in each.objects.items():
                slices.setdefault(namespace, []).append(item)
        found: list[Instance] = []
        for reflector in self._services:
            for (namespace, _), item in sorted(reflector.objects.items()):
                form = self._options.form
                found += instances_of(self._name, item, slices.get(namespace, ()), form, self._service)
        return tuple(found)

    async def aclose(self) -> None:
        pass


class _Fallback:
    """Asks the API, and DNS for as long as the API refuses."""

    def __init__(self, api: _Source, dns: Source) -> None:
        self._api, self._dns = api, dns
        self._refused = False

    async def follow(self) -> AsyncIterator[Answer]:
        if not self._refused:
            try:
                async for answer in self._api.follow():
                    yield answer
            except (PermissionDenied, Unauthenticated, NotFound):
                self._refused = True
        try:
            async for answer in self._dns.follow():
                yield answer
        except Fault:
            # Rights may have been given meanwhile.
            self._refused = False
            raise

    async def aclose(self) -> None:
        await self._dns.aclose()


def path_of(kind: str, namespace: str) -> str:
    """Where objects are: of one namespace, or of all."""
    group = "/api/v1" if kind == "services" else "/apis/discovery.k8s.io/v1"
    return f"{group}/{kind}" if namespace == ALL else f"{group}/namespaces/{namespace}/{kind}"


def object_name(service: str) -> str:
    """The name of the Service: Kubernetes has neither dots nor underscores there."""
    return service.replace(".", "-").replace("_", "-")
