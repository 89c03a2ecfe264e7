"""A broker from an address.

    memory://
    nats://user:password@127.0.0.1:4222
    jetstream://127.0.0.1:4222?stream=ORDERS&subjects=orders.>,payments.*&retention=workqueue

Options of `jetstream`: `stream`, `subjects` (with commas), `retention` (`limits`, `workqueue`), `max_age`, `ack_wait`
and `duplicates` in seconds, `max_bytes`, `replicas`. Of all: `codec` (`json`, `msgpack`). `tls://` in place of
`nats://` asks for TLS, as `tls=true` does for `jetstream`.

    InvalidArgument
    └── invalid_broker_url      what is wrong with it, without its password
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.codecs import CODECS, JSON

if TYPE_CHECKING:
    from headgate.service.broker.base import Broker

_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "max_age": float,
    "ack_wait": float,
    "duplicates": float,
    "max_bytes": int,
    "replicas": int,
}
_SCHEMES: Final = ("memory", "nats", "tls", "jetstream")


def broker_from(url: str) -> "Broker":
    """The broker, not started. Raises InvalidArgument (`invalid_broker_url`)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _invalid("the port is no number") from error
    if parts.scheme not in _SCHEMES:
        raise _invalid(f"'{parts.scheme}' is none of {', '.join(_SCHEMES)}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    codec = _codec(query.pop("codec", "json"))
    if parts.scheme == "memory":
        from headgate.service.broker.memory import MemoryBroker

        _none_left(query)
        return MemoryBroker(codec=codec)
    if not parts.hostname:
        raise _invalid("it names no host")
    secure = parts.scheme == "tls" or query.pop("tls", "") == "true"
    address = f"{'tls' if secure else 'nats'}://{parts.netloc}{'' if port else ':4222'}"
    if parts.scheme != "jetstream":
        from headgate.service.broker.core import NatsBroker

        _none_left(query)
        return NatsBroker(address, codec=codec)
    from headgate.service.broker.jetstream import JetStreamBroker

    stream = query.pop("stream", "")
    if not stream:
        raise _invalid("jetstream needs stream=NAME")
    subjects = [each for each in query.pop("subjects", "").split(",") if each]
    retention: Any = query.pop("retention", "limits")
    if retention not in {"limits", "workqueue"}:
        raise _invalid("retention is limits or workqueue")
    options = {name: _read(name, query.pop(name)) for name in _OPTIONS if name in query}
    _none_left(query)
    return JetStreamBroker(address, stream, subjects=subjects, retention=retention, codec=codec, **options)


def _read(name: str, value: str) -> Any:
    try:
        return _OPTIONS[name](value)
    except ValueError:
        raise _invalid(f"{name} is no number") from None


def _codec(name: str) -> Any:
    found = next((codec for codec in CODECS if codec.name == name), None)
    if found is None:
        raise _invalid(f"codec is {' or '.join(codec.name for codec in CODECS)}")
    return found or JSON


def _none_left(query: Mapping[str, str]) -> None:
    if query:
        raise _invalid(f"there is no option '{next(iter(query))[:50]}'")


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(
        f"the address of the broker cannot be used: {message}",
        code="invalid_broker_url",
        hint="such as memory://, nats://127.0.0.1:4222 or jetstream://127.0.0.1:4222?stream=ORDERS&subjects=orders.>",
    )
