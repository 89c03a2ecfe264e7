"""The NATS wire: the same methods on subjects, found by NATS itself.

    serving.add(NatsWire(hosted, "nats://127.0.0.1:4222", pipeline=Pipeline(kit.controls, frozenset(("nats",)))))

    client = NatsClient("nats://127.0.0.1:4222", MSGPACK)          # a wire for the typed client

`svc.{service}.{Method}` with a reply subject is a call; instances share a queue group, so NATS balances them. The
header `content-type` picks the codec. A fault is answered with `Nats-Service-Error`, `Nats-Service-Error-Code` and its
document as the body. `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` are answered as NATS ADR-32 says, so that `nats micro
ls` shows the services.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.transports.nats.client import NatsClient
    from headgate.service.transports.nats.wire import NatsWire

__all__ = ["NatsClient", "NatsWire"]

_HOMES: Final = {
    "NatsClient": "headgate.service.transports.nats.client",
    "NatsWire": "headgate.service.transports.nats.wire",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
