"""Events: published on subjects, handed to whoever subscribed, the same over every broker.

    broker = broker_from("jetstream://127.0.0.1:4222?stream=ORDERS&subjects=orders.>")
    await broker.start()
    await broker.publish(PAID, PaymentSettled(order="o-1"), key="payment-17")
    await broker.subscribe("orders.*", handle, group="billing", retries=5, dead_letter=True)

`base` says what holds for all of them, `memory`, `core` and `jetstream` what each adds or lacks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.broker.base import Broker, Capabilities, Delivery, Rejected, Subscription
    from headgate.service.broker.core import NatsBroker
    from headgate.service.broker.jetstream import JetStreamBroker
    from headgate.service.broker.memory import MemoryBroker
    from headgate.service.broker.urls import broker_from

__all__ = [
    "Broker",
    "Capabilities",
    "Delivery",
    "JetStreamBroker",
    "MemoryBroker",
    "NatsBroker",
    "Rejected",
    "Subscription",
    "broker_from",
]

_HOMES: Final = {
    "Broker": "headgate.service.broker.base",
    "Capabilities": "headgate.service.broker.base",
    "Delivery": "headgate.service.broker.base",
    "JetStreamBroker": "headgate.service.broker.jetstream",
    "MemoryBroker": "headgate.service.broker.memory",
    "NatsBroker": "headgate.service.broker.core",
    "Rejected": "headgate.service.broker.base",
    "Subscription": "headgate.service.broker.base",
    "broker_from": "headgate.service.broker.urls",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
