"""One method at one place: all that a request needs to know about it, worked out when the wire is made.

operation = operation_of(endpoint, "Orders.get", binding)
operation.route         # "/orders/{id}": what metrics and traces call it
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from headgate.service.codecs import CODECS, Codec
from headgate.service.codecs.codec import Decode
from headgate.service.guard import PUBLIC
from headgate.service.invoke import Endpoint
from headgate.service.method import Binding, Kind
from headgate.service.transports.http.intake import Intake, intake_of

NO_CONTENT = 204


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """See the module. `status` is success's; `caching` the value of `Cache-Control`, b"" where nothing is kept."""

    title: str
    verb: str
    route: str
    kind: Kind
    call: Callable[[Any, Any], Awaitable[Any]]
    intake: Intake
    status: int
    has_body: bool
    """Whether an answer has a body."""
    caching: bytes
    request: Any
    decoders: dict[Codec, Decode]
    """For the messages of a stream that comes in; empty for other methods."""


def operation_of(endpoint: Endpoint, title: str, binding: Binding | None) -> Operation:
    """An endpoint at its RPC path (`binding` None), or at its binding. Raises what `intake_of` does."""
    method = endpoint.method
    streams_out = method.kind.streams_out
    has_body = streams_out or method.response is not None
    status = binding.status if binding is not None else 200
    return Operation(
        title=title,
        verb=binding.verb if binding is not None else "POST",
        route=binding.path if binding is not None else endpoint.path,
        kind=method.kind,
        call=endpoint.call,
        intake=intake_of(method, binding),
        status=NO_CONTENT if status == 200 and not has_body else status,
        has_body=has_body and status != NO_CONTENT,
        caching=_caching(endpoint, binding),
        request=method.request,
        decoders={codec: codec.decoder(method.request) for codec in CODECS} if method.kind.streams_in else {},
    )


def _caching(endpoint: Endpoint, binding: Binding | None) -> bytes:
    method = endpoint.method
    if not method.options.cache or method.response is None or binding is None or binding.verb != "GET":
        return b""
    whose = "public" if method.guard == PUBLIC else "private"
    return f"{whose}, max-age={int(method.options.cache)}".encode()
