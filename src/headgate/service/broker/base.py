"""What all brokers have in common: what is published, what is delivered, and what becomes of what fails.

**Subjects** are those of `headgate.service.topic`. **Groups**: of the subscriptions with one group, one gets each
event; a subscription without a group gets all. **Failure**: an event whose handler raises is tried again `retries`
times, `backoff` seconds later, doubled each time up to a minute, with jitter; then, with `dead_letter`, it is
published on `SUBJECT.dead` with `headgate-dead-reason`, `headgate-dead-subject` and `headgate-dead-attempts`. A handler
that raises `Rejected` is not asked again. Dead letters go to those alone whose pattern ends in `.dead`.
**Keys**: an event with the key of one that was handled within the subscription's `window` is not handed out again.

**Order**: events of one publisher on one subject are handed out in the order they were published, as long as
`concurrency` is 1 and nothing is tried again; else there is none.

**Headers** are text. `content-type` says how the event is written; the trace of the call being served goes along.

| | memory | NATS core | JetStream |
| --- | --- | --- | --- |
| survives its process | no | no | yes |
| redelivers when a handler's process dies | no | no | yes |
| waits for slow handlers | the publisher waits | what does not fit is dropped, and logged | kept in the stream |
| a key is remembered by | each subscription | each subscription | these, and the stream's duplicate window |

    InvalidArgument     invalid_subject, invalid_event, invalid_subscription
    FailedPrecondition  consumer_refused (JetStream)
    Unavailable         not_started, draining, not_connected, unreachable
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Unavailable
from headgate.kit.current import current_call
from headgate.service.codecs import JSON, UNDECODABLE, Codec, codec_of, refused
from headgate.service.topic import Topic, check_pattern, check_subject
from headgate.service.types import convert

CONTENT_TYPE: Final = "content-type"
KEY: Final = "nats-msg-id"
"""Header of an event's key; NATS's own, so that JetStream knows it too."""

DEAD: Final = ".dead"
DEAD_REASON: Final = "headgate-dead-reason"
DEAD_SUBJECT: Final = "headgate-dead-subject"
DEAD_ATTEMPTS: Final = "headgate-dead-attempts"

LONGEST_KEY: Final = 255
LONGEST_REASON: Final = 500


class Rejected(Exception):  # noqa: N818 - a verdict of a handler, no error of ours
    """Raised by a handler: this event will never do. It is not tried again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it is handed out. `attempt` counts from 1. Header names are in lower case."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1

    @property
    def key(self) -> str:
        """Its idempotency key, "" without one."""
        return self.headers.get(KEY, "")

    @property
    def codec(self) -> Codec:
        """How it is written. Raises Rejected for what nobody here reads."""
        named = self.headers.get(CONTENT_TYPE)
        found = JSON if named is None else codec_of(named.encode("latin-1", "replace"))
        if found is None:
            raise Rejected("its content type is not read here")
        return found

    def decode(self, kind: Any = Any) -> Any:
        """The event. Raises Rejected with all that is wrong with it."""
        codec = self.codec
        try:
            return codec.decode(self.data) if kind is Any else convert_from(codec, kind, self.data)
        except UNDECODABLE as error:
            fault = refused(codec, kind, self.data, error)
            listed = "; ".join(f"{each.pointer} {each.message}".strip() for each in fault.violations)
            raise Rejected(listed or fault.message) from error


def convert_from(codec: Codec, kind: Any, data: bytes) -> Any:
    """`data` as a `kind`. Raises what `UNDECODABLE` names."""
    return convert(codec.decode(data), kind, strict=codec is not JSON) if kind is bytes else codec.decoder(kind)(data)


Handler: TypeAlias = Callable[[Delivery], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do that another cannot; see the table."""

    durable: bool
    """Events outlive the processes."""
    redelivers: bool
    """What a process did not finish is handed to another."""
    back_pressure: bool
    """Nothing is dropped because handlers are slow."""
    deduplicates: bool
    """A key published twice is stored once, whoever subscribes."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a subscription was told. Times are in seconds; `window` 0 remembers no keys. Raises InvalidArgument."""

    pattern: str
    group: str = ""
    retries: int = 0
    backoff: float = 1.0
    dead_letter: bool = False
    concurrency: int = 16
    window: float = 300.0
    most_keys: int = 10_000

    def __post_init__(self) -> None:
        if self.retries < 0 or self.backoff < 0 or self.concurrency < 1 or self.window < 0 or self.most_keys < 1:
            raise InvalidArgument(
                "a subscription has at least 0 retries, backoff and window, at least 1 concurrency and key",
                code="invalid_subscription",
            )
        if self.group and not set(self.group) <= _GROUP:
            raise InvalidArgument(
                f"'{self.group[:100]}' is no group", code="invalid_subscription", hint="letters, digits, '-' and '_'"
            )


_GROUP: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Subscription(Protocol):
    """One subscription."""

    @property
    def pattern(self) -> str:
        """What it is subscribed to."""

    async def drain(self, grace: float = 10.0) -> None:
        """Take no more, finish what came within `grace` seconds, then cancel what is left."""


class Broker(Protocol):
    """What publishes and subscribes. `start` before either; `drain`, then `aclose`, at the end."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def protocol(self) -> Any:
        """The kit's name for calls that come by it: `local` or `nats`."""

    async def start(self) -> None:
        """Connect."""

    async def publish(
        self,
        topic: Topic[Any] | str,
        event: Any,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        """Publish an event. Returns when the broker has it; raises what the module says."""

    async def subscribe(
        self,
        pattern: str,
        handler: Handler,
        *,
        group: str = "",
        retries: int = 0,
        backoff: float = 1.0,
        dead_letter: bool = False,
        concurrency: int = 16,
        window: float = 300.0,
    ) -> Subscription:
        """Hand every event on `pattern` to `handler` from now on."""

    async def drain(self, grace: float = 10.0) -> None:
        """Drain all subscriptions."""

    async def aclose(self) -> None:
        """Let go of everything; what is under way is cancelled."""


SubscriptionT = TypeVar("SubscriptionT", bound=Subscription)


class Subscribing(Generic[SubscriptionT]):
    """What brokers do alike: they hold subscriptions to their terms, and drain them. One makes its own in `_begin`."""

    def __init__(self) -> None:
        self._subscriptions: list[SubscriptionT] = []

    async def subscribe(
        self,
        pattern: str,
        handler: Handler,
        *,
        group: str = "",
        retries: int = 0,
        backoff: float = 1.0,
        dead_letter: bool = False,
        concurrency: int = 16,
        window: float = 300.0,
    ) -> SubscriptionT:
        """See `Broker`. Returns when events come."""
        terms = Terms(check_pattern(pattern), group, retries, backoff, dead_letter, concurrency, window)
        subscription = await self._begin(terms, handler)
        self._subscriptions.append(subscription)
        return subscription

    async def _begin(self, terms: Terms, handler: Handler) -> SubscriptionT:
        """A subscription that has begun."""
        raise NotImplementedError

    async def drain(self, grace: float = 10.0) -> None:
        """Drain all subscriptions."""
        for each in list(self._subscriptions):
            await each.drain(grace)

    def leave(self, subscription: SubscriptionT) -> None:
        """A subscription ends."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)


def outgoing(
    topic: Topic[Any] | str, event: Any, headers: Mapping[str, str] | None, key: str | None, codec: Codec
) -> tuple[str, bytes, dict[str, str]]:
    """Subject, body and headers of what is to be published. Raises InvalidArgument."""
    if isinstance(topic, Topic):
        subject, kind = topic.subject, topic.type
        if isinstance(kind, type) and not isinstance(event, kind):
            raise InvalidArgument(
                f"the topic {subject} is of {kind.__name__}, and this is a {type(event).__name__}", code="invalid_event"
            )
    else:
        subject = check_subject(topic)
    sent = {CONTENT_TYPE: codec.media_type, **_trace()}
    for name, value in (headers or {}).items():
        if not name or not _sane(name) or not _sane(value):
            raise InvalidArgument("a header is printable text", code="invalid_event", hint="no line breaks")
        sent[name.lower()] = value
    if key is not None:
        if not 0 < len(key) <= LONGEST_KEY or not _sane(key):
            raise InvalidArgument(f"a key has 1 to {LONGEST_KEY} printable characters", code="invalid_event")
        sent[KEY] = key
    try:
        return subject, codec.encode(event), sent
    except (NotImplementedError, TypeError, msgspec.EncodeError) as error:
        raise InvalidArgument(f"this event cannot be sent: {error}", code="invalid_event") from error


def dead_letter(delivery: Delivery, reason: str) -> tuple[str, dict[str, str]]:
    """Subject and headers of an event that is given up."""
    headers = {name: value for name, value in delivery.headers.items() if name != KEY}
    key = delivery.headers.get(KEY)
    if key:
        headers[KEY] = f"{key}{DEAD}"[:LONGEST_KEY]
    headers[DEAD_REASON] = " ".join(reason.split())[:LONGEST_REASON]
    headers[DEAD_SUBJECT] = delivery.subject
    headers[DEAD_ATTEMPTS] = str(delivery.attempt)
    return delivery.subject + DEAD, headers


def not_started() -> Unavailable:
    """What a broker raises before `start`, and after its end."""
    return Unavailable("the broker is not started", code="not_started", hint="await broker.start()")


def _trace() -> dict[str, str]:
    call = current_call()
    if call is None:
        return {}
    found = {"x-request-id": call.request_id} if call.request_id else {}
    if call.trace is not None:
        found["traceparent"] = call.trace.traceparent
        if call.trace.state:
            found["tracestate"] = call.trace.state
    return found


def _sane(text: str) -> bool:
    return text.isprintable()
