"""A method as its class declares it: what goes in, what comes out, in which kind of exchange, under which conditions.

Read once from the annotations of a function by `read`:

    async def get(self, id: str) -> Order                                   unary
    async def track(self, id: str) -> AsyncIterator[Event]                  server stream
    async def upload(self, parts: AsyncIterator[Part]) -> Receipt           client stream
    async def chat(self, said: AsyncIterator[Line]) -> AsyncIterator[Line]  both

A method with one parameter that is a record is sent that record; any other is sent an object whose fields are its
parameters. A parameter annotated `Context` is given the call and is no part of the request.

    InvalidArgument
    └── invalid_method    names the class, the method and what cannot be
"""

import inspect
import math
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.service.context import Context
from headgate.service.guard import Guard
from headgate.service.types import Empty, bare, dec_hook, is_record, schema_hook

Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))

_STREAMS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator)
_RPC: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)(:path)?\}")


class Kind(Enum):
    """How many messages go each way."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI = "bidi"

    @property
    def streams_in(self) -> bool:
        """Whether the caller sends any number of messages."""
        return self in (Kind.CLIENT_STREAM, Kind.BIDI)

    @property
    def streams_out(self) -> bool:
        """Whether the method answers with any number of messages."""
        return self in (Kind.SERVER_STREAM, Kind.BIDI)


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a method is found over HTTP besides `POST /PACKAGE.SERVICE/METHOD`.

    `path` is a template: `{id}` is one segment, `{rest:path}` at the end all that follows. What is not in it comes
    from the query, or with POST, PUT and PATCH from the body; `body` is the parameter that is the whole body, "" when
    the body is an object of parameters. `status` is what success answers with.
    """

    verb: Verb
    path: str
    parameters: tuple[str, ...]
    body: str = ""
    status: int = 200

    @property
    def place(self) -> str:
        """What no two methods may share: the verb, and the path without the names of its parameters."""
        return f"{self.verb} " + _PARAMETER.sub(lambda found: "{" + (found[2] or "") + "}", self.path)


@dataclass(frozen=True, slots=True)
class Options:
    """What `@rpc` was told."""

    name: str = ""
    verb: Verb | None = None
    path: str = ""
    status: int = 200
    guard: Guard | None = None
    timeout: float | None = None
    cache: float | None = None
    idempotent: bool | Literal["key"] = False
    raises: tuple[type[Fault], ...] = ()
    middleware: tuple[Any, ...] = ()
    skip: frozenset[str] = frozenset()
    deprecated: bool = False
    summary: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method of a service.

    `name` is Python's and `rpc` the one on wires. `request` and `response` are the types of one message each way,
    `response` None for a method that returns nothing. `arguments` are the fields of a request that become arguments,
    in order; None when the request, or the stream of them, is the argument.
    """

    name: str
    rpc: str
    kind: Kind
    request: Any
    response: Any
    function: Callable[..., Any]
    options: Options
    arguments: tuple[str, ...] | None = None
    context: str = ""
    """The parameter that is given the `Context`, "" for none."""
    binding: Binding | None = None
    guard: Guard | None = None
    description: str = ""
    faults: Mapping[str, type[Fault]] = field(default_factory=dict)
    """The declared faults by their codes."""

    @property
    def is_safe_to_retry(self) -> bool:
        """Whether calling it twice is as good as once."""
        return bool(self.options.idempotent) or (self.binding is not None and self.binding.verb == "GET")


def read(owner: type, name: str, function: Callable[..., Any], options: Options, guard: Guard | None) -> Method:
    """The method that `function` declares. Raises InvalidArgument (`invalid_method`)."""
    where = f"{owner.__name__}.{name}"
    hints = hints_of(where, function)
    context = next((each for each, hint in hints.items() if bare(hint) is Context), "")
    inputs = {each: hints.get(each) for each in _parameters(where, function) if each != context}
    for each, hint in inputs.items():
        if hint is None:
            raise invalid(where, f"parameter '{each}' has no type")
    if "return" not in hints:
        raise invalid(where, "what it returns has no type; say `-> None` when it returns nothing")
    streamed_out, response = _streamed(hints["return"])
    rpc = options.name or camel(name)
    streams = [each for each, hint in inputs.items() if _streamed(hint)[0]]
    if streams and len(inputs) > 1:
        raise invalid(where, f"'{streams[0]}' is a stream, and then it must be the only parameter")
    _check_async(where, function, streamed_out)
    _check_options(where, rpc, options, bool(streams) or streamed_out)
    request, arguments = _request(where, rpc, function, inputs, options)
    return Method(
        name=name,
        rpc=rpc,
        kind=_kind(bool(streams), streamed_out),
        request=_known(where, request),
        response=None if response in (None, type(None)) else _known(where, response),
        function=function,
        options=options,
        arguments=arguments,
        context=context,
        binding=_binding(where, inputs, options, bool(streams)),
        guard=options.guard if options.guard is not None else guard,
        description=inspect.cleandoc(function.__doc__ or ""),
        faults=_faults(where, options.raises),
    )


def camel(name: str) -> str:
    """`place_order` as `PlaceOrder`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def invalid(where: str, message: str) -> InvalidArgument:
    """The fault for a declaration that cannot be."""
    return InvalidArgument(f"{where}: {message}", code="invalid_method", hint="see headgate.service.method")


def hints_of(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The types of parameters and result by name. Raises InvalidArgument (`invalid_method`)."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise invalid(where, f"a type cannot be found: {error}") from error


def is_async(function: Callable[..., Any]) -> bool:
    """Whether its result can be awaited, as far as one can see: what a decorator made is not looked into."""
    return inspect.iscoroutinefunction(function) or not inspect.isfunction(function) or hasattr(function, "__wrapped__")


def _parameters(where: str, function: Callable[..., Any]) -> list[str]:
    found = list(inspect.signature(function).parameters.values())[1:]
    for each in found:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise invalid(where, f"'{each}' takes what no contract can tell")
    return [each.name for each in found]


def _check_async(where: str, function: Callable[..., Any], streams: bool) -> None:
    """A plain function may only hand out a stream."""
    if inspect.isasyncgenfunction(function) and not streams:
        raise invalid(where, "yields, and then it returns AsyncIterator[...]")
    if not streams and not is_async(function):
        raise invalid(where, "is no `async def`")


def _check_options(where: str, rpc: str, options: Options, streams: bool) -> None:
    if not _RPC.fullmatch(rpc):
        raise invalid(where, f"'{rpc}' is no name of a method; one is letters, digits and '_', such as PlaceOrder")
    for name, seconds in (("timeout", options.timeout), ("cache", options.cache)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise invalid(where, f"{name} is {seconds}, but it is a number of seconds above 0")
    if not HTTPStatus.OK <= options.status < HTTPStatus.MULTIPLE_CHOICES:
        raise invalid(where, f"status is {options.status}, but success has one from 200 to 299")
    if streams and (options.cache or options.idempotent == "key"):
        raise invalid(where, "only answers that are no stream can be kept")
    if options.cache and options.idempotent == "key":
        raise invalid(where, "what is done once by key cannot be cached as well")


def _streamed(hint: Any) -> tuple[bool, Any]:
    """Whether the type is a stream, and the type of one message."""
    if get_origin(hint) in _STREAMS:
        return True, get_args(hint)[0]
    return False, hint


def _kind(streams_in: bool, streams_out: bool) -> Kind:
    if streams_in:
        return Kind.BIDI if streams_out else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if streams_out else Kind.UNARY


def _request(
    where: str, rpc: str, function: Callable[..., Any], inputs: Mapping[str, Any], options: Options
) -> tuple[Any, tuple[str, ...] | None]:
    """The type of one request, and which of its fields are the arguments."""
    if not inputs:
        return Empty, ()
    if len(inputs) == 1:
        name, hint = next(iter(inputs.items()))
        streamed, inner = _streamed(hint)
        if streamed or (is_record(inner) and name not in _names(options.path)):
            return inner, None
    defaults = inspect.signature(function).parameters
    fields: list[Any] = []
    for name, hint in inputs.items():
        default = defaults[name].default
        fields.append((name, hint) if default is inspect.Parameter.empty else (name, hint, default))
    try:
        made = msgspec.defstruct(
            f"{rpc}Request",
            fields,
            kw_only=True,
            frozen=True,
            omit_defaults=True,
            forbid_unknown_fields=True,
            module=function.__module__,
        )
    except (TypeError, ValueError) as error:
        raise invalid(where, str(error)) from error
    return made, tuple(inputs)


def _known(where: str, kind: Any) -> Any:
    """The type, once it is sure that it can be sent."""
    try:
        msgspec.json.Decoder(kind, dec_hook=dec_hook)
        msgspec.json.schema_components([kind], schema_hook=schema_hook)
    except (TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[-1]
        raise invalid(where, f"{getattr(kind, '__name__', kind)} cannot be sent: {reason}") from error
    return kind


def _binding(where: str, inputs: Mapping[str, Any], options: Options, streams: bool) -> Binding | None:
    if options.verb is None:
        return None
    path = options.path
    names = _names(path)
    if not path.startswith("/") or "{" in _PARAMETER.sub("", path) or "//" in path:
        raise invalid(where, f"'{path}' is no path; it starts with '/', and {{name}} stands for one segment")
    if len(set(names)) < len(names):
        raise invalid(where, f"'{path}' names a parameter twice")
    if ":path}" in path and not path.endswith(":path}"):
        raise invalid(where, f"'{path}': only the last parameter takes all that follows")
    for name in names:
        if name not in inputs:
            raise invalid(where, f"'{path}' has the parameter '{name}', which the method has not")
    if streams and options.verb not in WITH_BODY:
        raise invalid(where, f"a stream cannot be sent with {options.verb}")
    left = [name for name in inputs if name not in names]
    body = ""
    if options.verb in WITH_BODY and len(left) == 1 and is_record(inputs[left[0]]):
        body = left[0]
    return Binding(options.verb, path, names, body, options.status)


def _names(path: str) -> tuple[str, ...]:
    return tuple(match[1] for match in _PARAMETER.finditer(path))


def _faults(where: str, raises: tuple[type[Fault], ...]) -> dict[str, type[Fault]]:
    found: dict[str, type[Fault]] = {}
    for each in raises:
        if not (isinstance(each, type) and issubclass(each, Fault)):
            raise invalid(where, f"raises names {each!r}, which is no fault")
        if each.default_code in found:
            raise invalid(where, f"raises names two faults with the code '{each.default_code}'")
        found[each.default_code] = each
    return found
