"""Registries: where services say that they are there, and callers find them.

    registry = registry_from("consul://127.0.0.1:8500?dc=eu")
    async with await registry.register(Instance(id="orders-1", service="orders", endpoints={"http": url})):
        async for snapshot in registry.watch("orders"):
            ...                                 # snapshot.generation, snapshot.instances, snapshot.stale

| URL | registry |
|---|---|
| `memory://` | `MemoryRegistry`: this process |
| `file:///srv/services.yaml` | `FileRegistry`: a document, watched |
| `dns://10.0.0.2:53/internal.example` | `DnsRegistry`: SRV, or A and AAAA records |
| `consul://127.0.0.1:8500` | `ConsulRegistry` |
| `kubernetes://?namespace=shop` | `KubernetesRegistry` |

All give snapshots of all instances with a generation, and serve the last one, marked stale, while they are down.
Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.registry.base import BaseRegistry, Registry
    from headgate.service.registry.consul import ConsulRegistry
    from headgate.service.registry.dns import DnsRegistry
    from headgate.service.registry.file import FileRegistry
    from headgate.service.registry.instance import Instance, Snapshot
    from headgate.service.registry.kubernetes import KubernetesRegistry
    from headgate.service.registry.lease import Lease
    from headgate.service.registry.memory import Directory, MemoryRegistry
    from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
    from headgate.service.registry.urls import registry_from

__all__ = [
    "BaseRegistry",
    "ConsulRegistry",
    "Directory",
    "DnsRegistry",
    "FileRegistry",
    "Instance",
    "KubernetesRegistry",
    "Lease",
    "MemoryRegistry",
    "Registry",
    "RegistryObserver",
    "RegistryPolicy",
    "Snapshot",
    "registry_from",
]

_HOMES: Final = {
    "BaseRegistry": "base",
    "ConsulRegistry": "consul",
    "Directory": "memory",
    "DnsRegistry": "dns",
    "FileRegistry": "file",
    "Instance": "instance",
    "KubernetesRegistry": "kubernetes",
    "Lease": "lease",
    "MemoryRegistry": "memory",
    "Registry": "base",
    "RegistryObserver": "policy",
    "RegistryPolicy": "policy",
    "Snapshot": "instance",
    "registry_from": "urls",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
