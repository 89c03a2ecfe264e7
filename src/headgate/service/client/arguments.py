"""What a caller wrote, as the request that is sent: bound like a call of the method itself, and checked here.

bind = Binder(method, validate=True)
request = bind(("7",), {"verbose": True})

InvalidArgument
└── invalid_call      arguments that are missing, unknown or too many, or not of their types; all that is wrong
"""

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.service.codecs import MSGPACK
from headgate.service.method import Method
from headgate.service.types import plain, violations


class Binder:
    """Makes requests of one method. What it raises says what is wrong, and nothing was sent."""

    __slots__ = ("_check", "_names", "_positional", "_required", "method", "signature")

    def __init__(self, method: Method, *, validate: bool = True) -> None:
        self.method = method
        told = inspect.signature(method.function)
        listed = [each for name, each in told.parameters.items() if name != method.context][1:]
        self.signature = told.replace(parameters=listed)
        self._names = tuple(each.name for each in listed)
        self._positional = tuple(each.name for each in listed if each.kind is not each.KEYWORD_ONLY)
        self._required = tuple(each.name for each in listed if each.default is each.empty)
        self._check = Checker(method) if validate else None

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The request; of a method that streams in, the iterator that was given."""
        method = self.method
        if method.arguments is None:
            request = args[0] if len(args) == 1 and not kwargs else self._given(args, kwargs)[self._names[0]]
            if method.kind.streams_in:
                return Requests(self._iterator(request), self._check)
        else:
            request = method.request(**self._given(args, kwargs))
        if self._check is not None:
            self._check(request)
        return request

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = dict(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional) or given.keys() & kwargs.keys():
            raise self._wrong(args, kwargs)
        given |= kwargs
        if any(name not in given for name in self._required) or any(name not in self._names for name in kwargs):
            raise self._wrong(args, kwargs)
        return given

    def _wrong(self, args: Sequence[Any], kwargs: dict[str, Any]) -> InvalidArgument:
        from headgate.kit.controls.validation import did_you_mean

        found: list[Violation] = []
        if len(args) > len(self._positional):
            most = len(self._positional)
            found.append(Violation("", f"takes {most} arguments by position, and was given {len(args)}"))
        given = self._positional[: len(args)]
        found += [Violation(f"/{name}", "was given twice") for name in given if name in kwargs]
        missing = (name for name in self._required if name not in given and name not in kwargs)
        found += [Violation(f"/{name}", "is required") for name in missing]
        unknown = (name for name in kwargs if name not in self._names)
        found += [
            Violation(f"/{name}", f"unknown argument '{name}'", did_you_mean(name, self._names)) for name in unknown
        ]
        return _invalid(self.method, found)

    def _iterator(self, given: Any) -> AsyncIterator[Any]:
        if not isinstance(given, AsyncIterable):
            raise _invalid(
                self.method,
                [Violation(f"/{self._names[0]}", "is to be an asynchronous iterator", "such as an async generator")],
            )
        return aiter(given)


class Checker:
    """Holds a request to its type, as the service will: written and read once, without the way between."""

    __slots__ = ("_decode", "_encode", "method")

    def __init__(self, method: Method) -> None:
        self.method = method
        self._encode = MSGPACK.encode
        self._decode = MSGPACK.decoder(method.request)

    def __call__(self, request: Any, pointer: str = "") -> None:
        """Return when it is right. Raises InvalidArgument."""
        try:
            self._decode(self._encode(request))
        except msgspec.ValidationError as error:
            found = violations(self.method.request, plain(request), pointer)
            raise _invalid(self.method, found or [Violation(pointer, str(error))]) from None
        except (TypeError, NotImplementedError, OverflowError, UnicodeEncodeError) as error:
            raise _invalid(self.method, [Violation(pointer, str(error))]) from None


class Requests:
    """The messages of a stream on their way out. `taken` says whether any was asked for: then none can be sent again.

    What the caller's iterator raises, or a message that is not right, is `error`, whatever becomes of the call.
    """

    __slots__ = ("_check", "_inner", "count", "error", "taken")

    def __init__(self, inner: AsyncIterator[Any], check: Checker | None) -> None:
        self._inner = inner
        self._check = check
        self.taken = False
        self.count = 0
        self.error: BaseException | None = None

    def __aiter__(self) -> "Requests":
        return self

    async def __anext__(self) -> Any:
        self.taken = True
        try:
            message = await anext(self._inner)
            if self._check is not None:
                self._check(message, f"/{self.count}")
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        self.count += 1
        return message

    async def aclose(self) -> None:
        """Let the caller's iterator go."""
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


def _invalid(method: Method, found: list[Violation]) -> InvalidArgument:
    first = f"{found[0].pointer} {found[0].message}".strip()
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return InvalidArgument(
        f"{method.name}: {first}{more}",
        code="invalid_call",
        violations=found,
        hint=f"{method.name}{inspect.signature(method.function)}",
    )
