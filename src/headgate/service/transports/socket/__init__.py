"""The WebSocket wire: one socket, any number of calls at a time, JSON or MessagePack.

    app = SocketWire(hosted, pipeline=Pipeline(kit.controls, frozenset(("socket",))), path="/rpc")

    client = SocketClient("ws://127.0.0.1:8080/rpc", MSGPACK)      # a wire for the typed client

The protocol is `headgate.service.transports.session`; its subprotocols are `headgate.v1+json` and
`headgate.v1+msgpack`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.transports.socket.client import SocketClient
    from headgate.service.transports.socket.wire import SocketWire

__all__ = ["SocketClient", "SocketWire"]

_HOMES: Final = {
    "SocketClient": "headgate.service.transports.socket.client",
    "SocketWire": "headgate.service.transports.socket.wire",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
