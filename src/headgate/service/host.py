"""Services of one process, ready to be served: what every wire is made from.

    hosted = host([Orders(), Payments()], Conditions(roles=roles), provide={Store: store})
    hosted[0].endpoints["Place"]

Raises InvalidArgument
    ├── duplicate_service      two services of the same name, or two methods bound to the same place
    ├── missing_dependency     nothing was given for an annotation of a service
    ├── unguarded_method       see headgate.service.invoke
    └── unknown_middleware
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.contract import Contract
from headgate.service.invoke import Conditions, Endpoint
from headgate.service.service import Service, dependencies_of


@dataclass(frozen=True, slots=True, eq=False)
class Hosted:
    """An instance, its contract, and its endpoints by the methods' names on wires."""

    service: Service
    contract: Contract
    endpoints: Mapping[str, Endpoint]


def host(
    services: Iterable[Service], conditions: Conditions | None = None, *, provide: Mapping[Any, Any] | None = None
) -> tuple[Hosted, ...]:
    """The services with their endpoints. What they lack is taken from `provide`, by type."""
    conditions = conditions or Conditions()
    found = tuple(_hosted(service, conditions, provide or {}) for service in services)
    _distinct(found)
    return found


def _hosted(service: Service, conditions: Conditions, provide: Mapping[Any, Any]) -> Hosted:
    for name, kind in dependencies_of(type(service)).items():
        if hasattr(service, name):
            continue
        if kind not in provide:
            raise InvalidArgument(
                f"{type(service).__name__} needs '{name}', and nothing was given for it",
                code="missing_dependency",
                hint=f"{type(service).__name__}({name}=...), or provide={{{getattr(kind, '__name__', kind)}: ...}}",
            )
        setattr(service, name, provide[kind])
    contract = type(service).contract()
    endpoints = {rpc: Endpoint(service, contract, method, conditions) for rpc, method in contract.methods.items()}
    return Hosted(service, contract, endpoints)


def _distinct(hosted: tuple[Hosted, ...]) -> None:
    taken: dict[str, Hosted] = {}
    for each in hosted:
        contract = each.contract
        bindings = (method.binding for method in contract.methods.values())
        places = {f"the name {contract.name}", f"the name {contract.full_name}"}
        places.update(f"the binding {binding.place}" for binding in bindings if binding is not None)
        for place in sorted(places):
            other = taken.setdefault(place, each)
            if other is not each:
                raise InvalidArgument(
                    f"{other.contract.title} and {contract.title} both have {place}",
                    code="duplicate_service",
                    hint="change it in one of them",
                )
