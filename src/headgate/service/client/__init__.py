"""Typed clients: found by a registry, balanced, repeated where that is safe, the same over every wire.

    from headgate.service.client import Client

    async with Client(Orders, registry=registry) as orders:
        order = await orders.place(NewOrder("tea"))

Names are imported when they are first used: a wire needs its extra only when it is taken.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.client.balancers import Balancer, Random, RingHash, RoundRobin, TwoChoices, ZoneAware
    from headgate.service.client.client import Client
    from headgate.service.client.ejection import EjectionPolicy
    from headgate.service.client.errors import BadAnswer, ConnectionLost, NoInstances, OutOfTime, Unreachable
    from headgate.service.client.options import CallOptions, ClientPolicy

__all__ = [
    "BadAnswer",
    "Balancer",
    "CallOptions",
    "Client",
    "ClientPolicy",
    "ConnectionLost",
    "EjectionPolicy",
    "NoInstances",
    "OutOfTime",
    "Random",
    "RingHash",
    "RoundRobin",
    "TwoChoices",
    "Unreachable",
    "ZoneAware",
]

_ROOM: Final = "headgate.service.client"
_HOMES: Final = {
    **dict.fromkeys(("Balancer", "Random", "RingHash", "RoundRobin", "TwoChoices", "ZoneAware"), f"{_ROOM}.balancers"),
    **dict.fromkeys(("BadAnswer", "ConnectionLost", "NoInstances", "OutOfTime", "Unreachable"), f"{_ROOM}.errors"),
    **dict.fromkeys(("CallOptions", "ClientPolicy"), f"{_ROOM}.options"),
    "Client": f"{_ROOM}.client",
    "EjectionPolicy": f"{_ROOM}.ejection",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
