"""The call being served, as a handler sees it.

async def get(self, id: str, context: Context) -> Order:        # given to a parameter of this type
    log.info("asked", by=context.principal.id, left=context.remaining)

current_context()                                               # the same, anywhere below the handler
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.principal import Principal


class Context:
    """One call. `call` is the kit's, which everything here is read from."""

    __slots__ = ("call", "method", "service")

    def __init__(self, call: Call, service: str = "", method: str = "") -> None:
        self.call = call
        self.service = service
        """Name of the service that is called."""
        self.method = method
        """Name of the method on wires."""

    @property
    def principal(self) -> Principal:
        """Who calls; false when nobody knows."""
        return self.call.principal

    @property
    def wire(self) -> str:
        """How the call came: `http`, `socket`, `grpc`, `grpc-web`, `connect`, `nats` or `local`."""
        return self.call.protocol

    @property
    def request_id(self) -> str:
        """The id under which logs speak of it."""
        return self.call.request_id

    @property
    def trace(self) -> TraceContext | None:
        """Where it belongs in a distributed trace."""
        return self.call.trace

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """Headers or metadata it came with, names in lower case."""
        return self.call.headers

    @property
    def remaining(self) -> float | None:
        """Seconds until nobody waits for the answer any more; None when there is no deadline."""
        return None if self.call.deadline is None else self.call.deadline - time.monotonic()

    def header(self, name: str) -> str:
        """The last value of one header, "" without it."""
        return self.call.headers.get(name.lower().encode("latin-1", "replace"), b"").decode("latin-1")


CONTEXT: Final[ContextVar[Context | None]] = ContextVar("headgate_context", default=None)
"""Set where a method is invoked, and nowhere else."""


def current_context() -> Context:
    """The call being served. Raises LookupError outside of one."""
    found = CONTEXT.get()
    if found is None:
        raise LookupError("no call of a service is being served here")
    return found
