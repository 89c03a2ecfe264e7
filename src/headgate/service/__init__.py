"""The service framework: one typed class, every wire, found and called safely.

    from headgate.service import App, Service, Struct, rpc

    class Greeting(Struct):
        text: str

    class Hello(Service, name="hello", public=True):
        @rpc(get="/hello/{name}")
        async def hello(self, name: str) -> Greeting:
            return Greeting(f"Hello, {name}!")

    app = App(Hello())                  # HTTP, gRPC, WebSocket, NATS; `headgate run` serves it

Names are imported when they are first used: a class and its contract need nothing but msgspec.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from msgspec import Meta, Struct, field

    from headgate.service.app import App
    from headgate.service.context import Context, current_context
    from headgate.service.contract import Contract
    from headgate.service.guard import AUTHENTICATED, PUBLIC, Guard, Role, require
    from headgate.service.service import Service, on, rpc
    from headgate.service.settings import ServiceSettings
    from headgate.service.topic import Topic

__all__ = [
    "AUTHENTICATED",
    "PUBLIC",
    "App",
    "Context",
    "Contract",
    "Guard",
    "Meta",
    "Role",
    "Service",
    "ServiceSettings",
    "Struct",
    "Topic",
    "current_context",
    "field",
    "on",
    "require",
    "rpc",
]

_HOMES: Final = {
    "AUTHENTICATED": "headgate.service.guard",
    "PUBLIC": "headgate.service.guard",
    "App": "headgate.service.app",
    "Context": "headgate.service.context",
    "Contract": "headgate.service.contract",
    "Guard": "headgate.service.guard",
    "Meta": "msgspec",
    "Role": "headgate.service.guard",
    "Service": "headgate.service.service",
    "ServiceSettings": "headgate.service.settings",
    "Struct": "msgspec",
    "Topic": "headgate.service.topic",
    "current_context": "headgate.service.context",
    "field": "msgspec",
    "on": "headgate.service.service",
    "require": "headgate.service.guard",
    "rpc": "headgate.service.service",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
