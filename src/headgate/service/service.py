"""A service: a class whose typed methods are its contract.

    class Orders(Service, name="orders", version="1.2.0", guard=AUTHENTICATED):
        \"\"\"Orders of a shop.\"\"\"

        store: Store                                        # given to the constructor, or by the application

        @rpc(get="/orders/{id}", raises=[OrderNotFound])
        async def get(self, id: str) -> Order: ...

        @rpc(post="/orders", idempotent="key", timeout=5)
        async def place(self, order: NewOrder) -> Order: ...

        @rpc
        async def track(self, id: str) -> AsyncIterator[OrderEvent]: ...

        @on(SETTLED, group="orders", retries=5)
        async def settled(self, event: PaymentSettled) -> None: ...

A class below another that has a name keeps its name, and the declarations of methods it overrides: clients need only
the upper one. Making the class registers nothing. `Orders.contract()` is all that wires, documents and clients are
made from.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar, get_origin, get_type_hints, overload

from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.service.guard import PUBLIC, Guard, several
from headgate.service.method import Options, Verb
from headgate.service.topic import Topic, check_pattern

if TYPE_CHECKING:
    from headgate.service.contract import Contract

F = TypeVar("F", bound=Callable[..., Any])

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a service's class was told."""

    name: str
    title: str
    """What it is called on wires: the name of the class that gave it its name."""
    version: str
    guard: Guard | None
    middleware: tuple[Any, ...]
    metadata: Mapping[str, str]
    description: str = ""
    """What the class that gave it its name says it is."""


@dataclass(frozen=True, slots=True)
class Listening:
    """What `@on` was told: which events, shared with whom, and what becomes of those that fail.

    `backoff` is in seconds before the first retry, doubled for each that follows, up to a minute.
    """

    subject: str
    type: Any
    group: str = ""
    retries: int = 0
    backoff: float = 1.0
    dead_letter: bool = False
    concurrency: int = 16
    guard: Guard | None = None


class Service:
    """Base of all services; see the module. Keyword arguments of the constructor are its dependencies."""

    declared: ClassVar[Declared]
    _contract: ClassVar[Any] = None

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        version: str = "",
        guard: Guard | None = None,
        public: bool = False,
        middleware: Iterable[Any] = (),
        metadata: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init_subclass__(**arguments)
        above: Declared | None = getattr(cls, "declared", None)
        is_implementation = above is not None and not name
        title = above.title if above and is_implementation else cls.__name__
        name = name or (above.name if above else _kebab(cls.__name__))
        if not _NAME.fullmatch(name):
            raise _invalid(cls, f"'{name}' is no name of a service; one is lower case, such as orders or order-items")
        version = version or (above.version if above else "0.1.0")
        if not _VERSION.fullmatch(version):
            raise _invalid(cls, f"'{version}' is no version; one is three numbers, such as 1.2.0")
        if guard is None:
            guard = PUBLIC if public else above.guard if above else None
        elif public:
            raise _invalid(cls, "a service is either public or has a guard")
        chain = (*(above.middleware if above else ()), *middleware)
        told = {**(above.metadata if above else {}), **(metadata or {})}
        doc = above.description if above and is_implementation else inspect.cleandoc(cls.__doc__ or "")
        cls.declared = Declared(name, title, version, guard, chain, told, doc)

    def __init__(self, **dependencies: Any) -> None:
        known = dependencies_of(type(self))
        for name, value in dependencies.items():
            if name not in known:
                raise _invalid(type(self), f"has no dependency '{name}'; it has {', '.join(known) or 'none'}")
            setattr(self, name, value)

    @classmethod
    def contract(cls) -> "Contract":
        """What the service promises. Raises InvalidArgument for what cannot be."""
        from headgate.service.contract import contract_of

        if "_contract" not in cls.__dict__:
            cls._contract = contract_of(cls)
        found: Contract = cls._contract
        return found

    async def on_start(self) -> None:
        """Called before the first call is served."""

    async def on_stop(self) -> None:
        """Called after the last call was served."""


def dependencies_of(owner: type[Service]) -> dict[str, Any]:
    """Names and types of what a service is given: its public annotations that have no value.

    Raises InvalidArgument (`invalid_service`) for a type that cannot be found.
    """
    try:
        hints = get_type_hints(owner)
    except (NameError, AttributeError, TypeError) as error:
        raise _invalid(owner, f"the type of a dependency cannot be found: {error}") from error
    return {
        name: hint
        for name, hint in hints.items()
        if get_origin(hint) is not ClassVar and not name.startswith("_") and not hasattr(owner, name)
    }


@overload
def rpc(function: F, /) -> F: ...


@overload
def rpc(
    *,
    name: str = "",
    get: str = "",
    post: str = "",
    put: str = "",
    patch: str = "",
    delete: str = "",
    status: int = 200,
    guard: Guard | None = None,
    public: bool = False,
    timeout: float | None = None,
    cache: float | None = None,
    idempotent: bool | Literal["key"] = False,
    raises: Iterable[type[Fault]] = (),
    middleware: Iterable[Any] = (),
    skip: Iterable[str] = (),
    deprecated: bool = False,
    summary: str = "",
    tags: Iterable[str] = (),
    examples: Iterable[Any] = (),
) -> Callable[[F], F]: ...


def rpc(
    function: Any = None,
    /,
    *,
    name: str = "",
    get: str = "",
    post: str = "",
    put: str = "",
    patch: str = "",
    delete: str = "",
    status: int = 200,
    guard: Guard | None = None,
    public: bool = False,
    timeout: float | None = None,
    cache: float | None = None,
    idempotent: bool | Literal["key"] = False,
    raises: Iterable[type[Fault]] = (),
    middleware: Iterable[Any] = (),
    skip: Iterable[str] = (),
    deprecated: bool = False,
    summary: str = "",
    tags: Iterable[str] = (),
    examples: Iterable[Any] = (),
) -> Any:
    """Make a method part of the contract.

    One of `get`, `post`, `put`, `patch`, `delete` is the path of a binding of its own over HTTP. `timeout` and `cache`
    are in seconds; what is cached is kept apart by principal unless the method is public. `idempotent` says that
    calling twice is as good as once, "key" that the service sees to that by a key each call carries. `raises` are
    the faults a caller must expect. `middleware` runs inside the service's, of which `skip` names some to leave out.
    """
    verbs: dict[Verb, str] = {"GET": get, "POST": post, "PUT": put, "PATCH": patch, "DELETE": delete}
    paths = [(verb, path) for verb, path in verbs.items() if path]

    def declare(method: F) -> F:
        if len(paths) > 1:
            raise InvalidArgument(f"{method.__qualname__} has two bindings", code="invalid_method", hint="keep one")
        if public and guard is not None:
            raise InvalidArgument(
                f"{method.__qualname__} is both public and guarded", code="invalid_method", hint="keep one"
            )
        verb, path = paths[0] if paths else (None, "")
        method.__rpc__ = Options(  # type: ignore[attr-defined]
            name,
            verb,
            path,
            status,
            PUBLIC if public else guard,
            timeout,
            cache,
            idempotent,
            tuple(raises),
            tuple(middleware),
            several(skip),
            deprecated,
            summary,
            tuple(tags),
            tuple(examples),
        )
        return method

    return declare if function is None else declare(function)


def on(
    topic: Topic[Any] | str,
    *,
    group: str = "",
    retries: int = 0,
    backoff: float = 1.0,
    dead_letter: bool = False,
    concurrency: int = 16,
    guard: Guard | None = None,
) -> Callable[[F], F]:
    """Make a method a subscription: to a topic, or to a pattern of subjects whose type its parameter says.

    Of the subscriptions with the same `group` one gets each event; without a group all do. An event whose handling
    fails is tried again `retries` times, and then put on `SUBJECT.dead` with `dead_letter`. At most `concurrency`
    are handled at a time. Raises InvalidArgument (`invalid_subject`).
    """
    subject, kind = (topic.subject, topic.type) if isinstance(topic, Topic) else (check_pattern(topic), None)

    def declare(method: F) -> F:
        told = Listening(subject, kind, group, retries, backoff, dead_letter, concurrency, guard)
        method.__on__ = told  # type: ignore[attr-defined]
        return method

    return declare


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _invalid(owner: type, message: str) -> InvalidArgument:
    return InvalidArgument(f"{owner.__name__}: {message}", code="invalid_service", hint="see headgate.service.service")
