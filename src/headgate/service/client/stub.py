"""The object calls are made on: a class with the methods of a contract, made while running.

    stub = stub_class(Orders.contract(), validate=True)(caller, CallOptions())
    await stub.place(order)                     # like the method itself: by position, by name, with its defaults
    async for event in stub.track("7"): ...

It has nothing else: what a service does besides is not the caller's to call.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

from headgate.service.client.arguments import Binder
from headgate.service.client.caller import Caller
from headgate.service.client.options import CallOptions
from headgate.service.contract import Contract
from headgate.service.method import Kind, Method


class Stub:
    """Base of all stubs."""

    __slots__ = ("_caller", "_options")
    _contract: Contract

    def __init__(self, caller: Caller, options: CallOptions) -> None:
        self._caller = caller
        self._options = options

    def __getattr__(self, name: str) -> Any:
        from headgate.kit.controls.validation import did_you_mean

        contract = self._contract
        known = [method.name for method in contract.methods.values()]
        if name.startswith("__"):
            raise AttributeError(name)
        reason = "is not part of its contract" if hasattr(contract.owner, name) else "does not exist"
        hint = did_you_mean(name, known)
        raise AttributeError(f"{contract.title} has no method '{name}' to call: it {reason}; {hint}")

    def __repr__(self) -> str:
        return f"<stub of {self._contract.name} {self._contract.version}>"


class Responses(AsyncIterator[Any]):
    """The answers of a stream. Leaving it early, with `aclose` or `async with`, ends the call upstream."""

    __slots__ = ("_inner",)

    def __init__(self, inner: AsyncGenerator[Any, None]) -> None:
        self._inner = inner

    def __aiter__(self) -> "Responses":
        return self

    async def __anext__(self) -> Any:
        return await anext(self._inner)

    def __await__(self) -> Generator[Any, None, "Responses"]:
        """Itself: a service may declare a stream as a function that returns one."""
        return self
        yield

    async def aclose(self) -> None:
        """End the call."""
        await self._inner.aclose()

    async def __aenter__(self) -> "Responses":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def stub_class(contract: Contract, *, validate: bool = True) -> type[Stub]:
    """The class of a contract's stubs."""
    members: dict[str, Any] = {"__slots__": (), "__doc__": contract.description, "_contract": contract}
    for method in contract.methods.values():
        members[method.name] = _method(contract, method, Binder(method, validate=validate))
    return type(f"{contract.title}Stub", (Stub,), members)


def _method(contract: Contract, method: Method, bind: Binder) -> Callable[..., Any]:
    make = {
        Kind.UNARY: _unary,
        Kind.CLIENT_STREAM: _gathered,
        Kind.SERVER_STREAM: _streamed,
        Kind.BIDI: _streamed,
    }
    function = make[method.kind](method, bind)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    function.__signature__ = bind.signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *bind.signature.parameters.values()]
    )
    function.__name__ = method.name
    function.__qualname__ = f"{contract.title}Stub.{method.name}"
    function.__doc__ = method.description
    return function


def _unary(method: Method, bind: Binder) -> Callable[..., Any]:
    async def call(self: Stub, /, *args: Any, **kwargs: Any) -> Any:
        return await self._caller.unary(method, bind(args, kwargs), self._options)

    return call


def _gathered(method: Method, bind: Binder) -> Callable[..., Any]:
    async def call(self: Stub, /, *args: Any, **kwargs: Any) -> Any:
        return await self._caller.gathered(method, bind(args, kwargs), self._options)

    return call


def _streamed(method: Method, bind: Binder) -> Callable[..., Any]:
    def call(self: Stub, /, *args: Any, **kwargs: Any) -> Responses:
        return Responses(self._caller.stream(method, bind(args, kwargs), self._options))

    return call
