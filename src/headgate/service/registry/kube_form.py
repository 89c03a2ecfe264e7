"""Instances from a Service of Kubernetes and its EndpointSlices. Pure.

| of Kubernetes | of the instance |
|---|---|
| ready, not terminating endpoint | one instance; its id is `NAMESPACE/POD`, or `NAMESPACE/ADDRESS` |
| name of a port: `http`, `grpc-public` | wire: the name, or what stands before `-`; `https` and `wss` are secure |
| label `headgate.dev/version`, else `app.kubernetes.io/version` | version |
| `headgate.dev/weight`, `/contract`, `/zone` | weight, contract, zone where the endpoint tells none |
| other labels and annotations `headgate.dev/NAME` | metadata |

Annotations come before labels of the same name. A pod with addresses of both families is one instance, by IPv4.
Source: Kubernetes API, discovery.k8s.io/v1 EndpointSlice; DNS for Services and Pods.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry.consul_form import address
from headgate.service.registry.instance import LONGEST_TEXT, MOST_METADATA, Instance

OURS: Final = "headgate.dev/"
VERSION: Final = "app.kubernetes.io/version"
SERVICE_NAME: Final = "kubernetes.io/service-name"
_KNOWN: Final = frozenset({"version", "weight", "contract", "zone"})
_FAMILIES: Final = ("IPv4", "IPv6", "FQDN")
_SECURE: Final = {"https": "http", "wss": "ws"}

Advertise = Literal["pod", "dns"]


@dataclass(frozen=True, slots=True)
class KubeForm:
    """How instances are written. `ports` are wires by the names of ports, before what the names say themselves.

    `advertise`: `pod` gives the IP addresses of pods; `dns` the names of pods for headless Services, and for others
    one instance, the Service's own name, among whose pods the cluster balances. `wire` is that of ports without names.
    """

    advertise: Advertise = "pod"
    ports: Mapping[str, str] = field(default_factory=dict)
    wire: str = "http"
    cluster_domain: str = "cluster.local"


Object = Mapping[str, Any]


def instances_of(
    name: str, service: Object, slices: Iterable[Object], form: KubeForm, said: str = ""
) -> list[Instance]:
    """All instances of one Service. `said` is what callers name it, when that differs. Bad ones are left out."""
    metadata, spec = service.get("metadata") or {}, service.get("spec") or {}
    namespace = str(metadata.get("namespace") or "default")
    common = _common(metadata)
    host = f"{name}.{namespace}.svc.{form.cluster_domain}"
    if spec.get("type") == "ExternalName":
        wires = _wires(spec.get("ports") or (), form, str(spec.get("externalName") or ""))
        return _made([(f"{namespace}/{name}", said or name, wires, {}, common)])
    ready = list(_ready(slices))
    if form.advertise == "dns" and spec.get("clusterIP") != "None":
        wires = _wires(spec.get("ports") or (), form, host)
        return _made([(f"{namespace}/{name}", said or name, wires, {}, common)]) if ready else []
    found = []
    for ports, kind, endpoint in ready:
        at = str(endpoint["addresses"][0])
        pod = str((endpoint.get("targetRef") or {}).get("name") or "")
        if form.advertise == "dns" and kind != "FQDN":
            at = _name_of(at, endpoint, namespace, host, form)
        wires = _wires(ports, form, at)
        found.append((f"{namespace}/{pod or at}", said or name, wires, endpoint, common))
    return _made(found)


def _ready(slices: Iterable[Object]) -> Iterable[tuple[Any, str, Object]]:
    """Ports, family and endpoint of all that are ready, of each pod one, the first family first."""
    seen = set()
    for each in sorted(slices, key=lambda each: _rank(str(each.get("addressType")))):
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            # "A nil value should be interpreted as ready"; one that is terminating is about to go.
            if conditions.get("ready") is False or conditions.get("terminating") or not endpoint.get("addresses"):
                continue
            pod = (endpoint.get("targetRef") or {}).get("name") or endpoint["addresses"][0]
            ports = each.get("ports") or ()
            key = (pod, tuple(sorted(str(port.get("name")) for port in ports)))
            if key not in seen:
                seen.add(key)
                yield ports, str(each.get("addressType")), endpoint


def _made(found: Iterable[tuple[str, str, dict[str, str], Object, dict[str, Any]]]) -> list[Instance]:
    """The instances; wires of one pod that slices tell apart are put together."""
    made: dict[str, Instance] = {}
    for identity, service, wires, endpoint, common in found:
        before = made.get(identity)
        endpoints = {**(before.endpoints if before else {}), **wires}
        zone = endpoint.get("zone") or common["zone"]
        node = {"node": str(endpoint["nodeName"])} if endpoint.get("nodeName") else {}
        try:
            made[identity] = Instance(
                **{**common, "zone": zone, "metadata": {**common["metadata"], **node}},
                id=identity, service=service, endpoints=endpoints,
            )  # fmt: skip
        except (InvalidArgument, msgspec.ValidationError, TypeError):
            continue
    return list(made.values())


def _common(metadata: Object) -> dict[str, Any]:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    told = {
        name.removeprefix(OURS): str(value)
        for name, value in {**labels, **annotations}.items()
        if name.startswith(OURS) and len(str(value)) <= LONGEST_TEXT
    }
    try:
        weight = float(told.get("weight", 1.0))
    except ValueError:
        weight = 1.0
    others = {name: value for name, value in told.items() if name not in _KNOWN}
    space = {"namespace": str(metadata["namespace"])} if metadata.get("namespace") else {}
    return {
        "version": told.get("version") or str(labels.get(VERSION) or ""),
        "weight": weight,
        "contract": told.get("contract", ""),
        "zone": told.get("zone", ""),
        # Two are added below.
        "metadata": {**dict(sorted(others.items())[: MOST_METADATA - 2]), **space},
    }


def version_of(service: Object) -> str:
    """The version that a Service tells of, "" for none."""
    return str(_common(service.get("metadata") or {})["version"])


def _wires(ports: Iterable[Object], form: KubeForm, host: str) -> dict[str, str]:
    host = f"[{host}]" if ":" in host else host
    wires: dict[str, str] = {}
    for port in ports:
        if port.get("port") is None:
            continue
        name = str(port.get("name") or form.wire)
        told = form.ports.get(name) or name.split("-", 1)[0]
        wire = _SECURE.get(told, told)
        secure = told in _SECURE or str(port.get("appProtocol") or "") in _SECURE
        wires.setdefault(wire, address(wire, f"{host}:{port['port']}", secure=secure))
    return wires


def _name_of(at: str, endpoint: Object, namespace: str, host: str, form: KubeForm) -> str:
    """The name that the cluster's DNS has for a pod."""
    if endpoint.get("hostname"):
        return f"{endpoint['hostname']}.{host}"
    return f"{at.replace('.', '-').replace(':', '-')}.{namespace}.pod.{form.cluster_domain}"


def _rank(family: str) -> int:
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)
