"""Functions with a cache in front: the key of a call, out of its arguments.

Used through `FlowCache.cached` and `StreamCache.cached`.
"""

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.resilience.codec import Codec, codec_of
from headgate.kit.resilience.keys import cache_key, check_namespace

P = ParamSpec("P")
T = TypeVar("T")

_SIMPLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_STREAMS = (AsyncIterator, AsyncGenerator, AsyncIterable)


class Keys:
    """Makes the keys of one function's calls. `codec` is of what it returns or, for a stream, yields."""

    def __init__(
        self,
        function: Callable[..., Any],
        namespace: str,
        *,
        tenant: Callable[[], str] | None,
        version: str,
        ignore: tuple[str, ...],
    ) -> None:
        check_namespace(namespace)
        self._signature = inspect.signature(function)
        unknown = set(ignore) - set(self._signature.parameters)
        if unknown:
            raise InvalidArgument(
                f"{function.__qualname__} has no parameter {', '.join(sorted(unknown))} to ignore",
                hint=f"it has {', '.join(self._signature.parameters) or 'none'}",
            )
        self._ignore = ignore
        # Binding by hand is five times faster, where there are no *args and the like.
        parameters = self._signature.parameters.values()
        self._simple = all(each.kind in _SIMPLE for each in parameters)
        self._names = tuple(each.name for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
        self._namespace = namespace
        self._tenant = tenant
        self._version = version
        self.codec: Codec[Any] = codec_of(_result_of(function))

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of the call with these arguments, defaults filled in."""
        arguments = self._arguments(args, kwargs)
        for name in self._ignore:
            arguments.pop(name, None)
        return cache_key(
            self._namespace,
            arguments,
            tenant="" if self._tenant is None else self._tenant(),
            schema=self.codec.schema,
            version=self._version,
        )

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._simple:
            arguments = {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}
            # Each name once, each there, none unknown; anything else gets Python's own error below.
            if (
                len(args) <= len(self._names)
                and arguments.keys() == self._signature.parameters.keys()
                and kwargs.keys().isdisjoint(self._names[: len(args)])
            ):
                return arguments
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments


class Cached(Generic[P, T]):
    """A coroutine function whose answers are cached."""

    def __init__(
        self,
        function: Callable[P, Awaitable[T]],
        keys: Keys,
        ask: Callable[[str, Callable[[], Awaitable[T]]], Awaitable[T]],
        invalidate: Callable[[str], Awaitable[bool]],
    ) -> None:
        update_wrapper(self, function)
        self._function = function
        self._keys = keys
        self._ask = ask
        self._invalidate = invalidate

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer of the call, the caller's own."""
        return await self._ask(self._keys.key(args, kwargs), partial(self._function, *args, **kwargs))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call."""
        return self._keys.key(args, kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the answer of a call; False when the shared store could not be told."""
        return await self._invalidate(self._keys.key(args, kwargs))


class CachedStream(Generic[P, T]):
    """An async generator function whose chunks are cached."""

    def __init__(
        self,
        function: Callable[P, AsyncIterator[T]],
        keys: Keys,
        ask: Callable[[str, Callable[[], AsyncIterator[T]]], AsyncGenerator[T, None]],
        invalidate: Callable[[str], Awaitable[bool]],
    ) -> None:
        update_wrapper(self, function)
        self._function = function
        self._keys = keys
        self._ask = ask
        self._invalidate = invalidate

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        """The chunks of the call, the reader's own."""
        return self._ask(self._keys.key(args, kwargs), partial(self._function, *args, **kwargs))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call."""
        return self._keys.key(args, kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the stream of a call; False when the shared store could not be told."""
        return await self._invalidate(self._keys.key(args, kwargs))


def _result_of(function: Callable[..., Any]) -> Any:
    """The annotated result, for a stream that of its chunks; None when there is none."""
    hints = typing.get_type_hints(function, include_extras=True)
    if "return" not in hints:
        return None
    result = hints["return"]
    if typing.get_origin(result) in _STREAMS:
        return typing.get_args(result)[0]
    return result
