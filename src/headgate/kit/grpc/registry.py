"""Which services there are: the same handlers for the native server and for the port of HTTP.

    registry = Registry()
    add_ShopServicer_to_server(Shop(), registry)       # as if it were a server
    found = await registry.find("/shop.v1.Shop/Order", ())

Interceptors given here run wherever the call came from, after the controls.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import grpc

from headgate.kit.grpc.descriptors import Descriptors
from headgate.kit.grpc.metadata import Metadata
from headgate.kit.grpc.methods import Method

MOST_METHODS: Final = 4_096
"""Compiled methods that are kept."""

Register = Callable[[Any], object]
"""Adds a servicer to the server it is given: `lambda server: add_ShopServicer_to_server(Shop(), server)`."""


class Details(NamedTuple):
    """What generic handlers and interceptors are asked with."""

    method: str
    invocation_metadata: Metadata


class Registry:
    """Records handlers like a server, and finds them by the path of a call."""

    def __init__(self, services: Iterable[Register] = (), *, interceptors: Sequence[Any] = ()) -> None:
        self.handlers: list[Any] = []
        self.interceptors = tuple(interceptors)
        self.descriptors = Descriptors()
        """Of the messages that handlers take and give: where JSON and reflection look them up."""
        self._methods: dict[str, Method] = {}
        for register in services:
            register(self)

    def add(self, register: Register) -> None:
        """Add a servicer."""
        register(self)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Record handlers; generated code calls this."""
        self.handlers.extend(generic_rpc_handlers)

    def add_descriptors(self, pool: Any) -> None:
        """Take a pool that handlers bring; generated code registers its own in the default one."""
        self.descriptors.add(pool)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Generated code calls this too, with what it has just given to the method above."""

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services whose handlers know theirs, in order."""
        named = (handler.service_name() for handler in self.handlers if hasattr(handler, "service_name"))
        return tuple(dict.fromkeys(str(name) for name in named))

    async def find(self, path: str, metadata: Metadata) -> Method | None:
        """The method at `path`, None when there is none."""
        handler = await self._next(0, Details(path, metadata))
        if handler is None:
            return None
        known = self._methods.get(path)
        if known is None or known.handler is not handler:
            known = Method(path, handler)
            if len(self._methods) < MOST_METHODS or path in self._methods:
                self._methods[path] = known
        return known

    def has(self, path: str) -> bool:
        """Whether a handler answers to `path`."""
        return self.look_up(Details(path, ())) is not None

    def _next(self, position: int, details: Any) -> Awaitable[Any]:
        if position == len(self.interceptors):
            return self._found(details)
        following: Callable[[Any], Awaitable[Any]] = partial(self._next, position + 1)
        result: Awaitable[Any] = self.interceptors[position].intercept_service(following, details)
        return result

    async def _found(self, details: Any) -> Any:
        return self.look_up(details)

    def look_up(self, details: Any) -> Any:
        """The handler that answers to `details.method`, before any interceptor; None when none does."""
        for handler in self.handlers:
            found = handler.service(details)
            if found is not None:
                return found
        return None


def methods_handler(service: str, handlers: Mapping[str, Any]) -> Any:
    """A generic handler for the methods of one service, by their short names."""
    return grpc.method_handlers_generic_handler(service, dict(handlers))
