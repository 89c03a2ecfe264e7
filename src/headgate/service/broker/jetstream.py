"""JetStream as a broker: events are kept in a stream until they are handled.

    broker = JetStreamBroker("nats://127.0.0.1:4222", "ORDERS", subjects=["orders.>"])

The stream is made when it is not there, and verified when it is. A group is one durable consumer (named after group and
pattern) which all its members pull from, each no more than it has hands for; it begins with the first event of the
stream, and what its members did not acknowledge is handed out again: to another when a process died (after
`ack_wait` seconds), later when a handler failed (after its back-off). Without a group each subscription has a
consumer of its own, which begins with what is published next and ends with its process.

`retention` is `limits` (events are kept for all who come; fan-out), or `workqueue` (an event is removed once it is
handled; one group for each subject). A key is the stream's `Nats-Msg-Id`: published again within `duplicates` seconds
it is stored once.

    FailedPrecondition
    ├── no_stream            no stream takes the subject, or the one named is not there and no subjects were told
    └── stream_differs       it is there, and takes other subjects or has another retention
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from nats import errors

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.service.broker.base import (
    DEAD,
    KEY,
    Capabilities,
    Delivery,
    Handler,
    Terms,
    dead_letter,
    not_started,
    outgoing,
)
from headgate.service.broker.core import Connected
from headgate.service.broker.pulling import Pulling
from headgate.service.codecs import JSON, Codec
from headgate.service.topic import Topic, check_pattern, matches
from headgate.service.transports.nats.connection import Connecting, connect

if TYPE_CHECKING:
    from nats.js import JetStreamContext

CAPABILITIES: Final = Capabilities(durable=True, redelivers=True, back_pressure=True, deduplicates=True)
MSG_ID: Final = "Nats-Msg-Id"

_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

Retention = Literal["limits", "workqueue"]


class JetStreamBroker(Connected[Pulling]):
    """See the module. Times are in seconds; `max_age` 0 keeps events for ever, `max_bytes` 0 without limit.

    `options` are those of nats-py's `connect`.
    """

    capabilities = CAPABILITIES
    protocol: Any = "nats"

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        subjects: Iterable[str] = (),
        retention: Retention = "limits",
        max_age: float = 0.0,
        max_bytes: int = 0,
        replicas: int = 1,
        duplicates: float = 120.0,
        ack_wait: float = 30.0,
        codec: Codec = JSON,
        timeout: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not stream or not set(stream) <= _NAME:
            raise InvalidArgument(f"'{stream[:100]}' is no name of a stream", code="invalid_stream")
        super().__init__(Connecting(url, "headgate broker", timeout, options=options))
        self.stream = stream
        self.subjects = tuple(check_pattern(each) for each in subjects)
        self.retention: Retention = retention
        self.ack_wait = ack_wait
        self._limits = (max_age, max_bytes, replicas, duplicates)
        self._codec = codec
        self._timeout = timeout
        self._js: JetStreamContext | None = None

    @property
    def js(self) -> "JetStreamContext":
        """nats-py's own, for what is not here. Raises Unavailable (`not_started`)."""
        if self._js is None:
            raise not_started()
        return self._js

    async def start(self) -> None:
        """Connect, and make or verify the stream. Raises what the module says."""
        if self._connection is not None:
            return
        connection = await connect(self._to)
        self._connection, self._js = connection, connection.jetstream(timeout=self._timeout)
        try:
            await self._ensure_stream()
        except BaseException:
            await self.aclose()
            raise

    async def publish(
        self, topic: Topic[Any] | str, event: Any, *, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        """Publish. Returns when the stream has it."""
        subject, data, sent = outgoing(topic, event, headers, key, self._codec)
        await self._store(subject, data, sent)

    async def _begin(self, terms: Terms, handler: Handler) -> "Pulling":
        if self.retention == "workqueue" and terms.pattern.endswith(">"):
            raise InvalidArgument(
                f"'{terms.pattern}' would take the dead letters out of a work queue",
                code="invalid_subscription",
                hint="use '*' for each word",
            )
        pulling = Pulling(self, terms, handler)
        await pulling.start()
        return pulling

    async def aclose(self) -> None:
        """Let go of the connection."""
        await super().aclose()
        self._js = None

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """Store a dead letter."""
        subject, headers = dead_letter(delivery, reason)
        await self._store(subject, delivery.data, headers)

    async def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        from nats.js.errors import APIError, NoStreamResponseError

        sent = {MSG_ID if name == KEY else name: value for name, value in headers.items()}
        try:
            await self.js.publish(subject, data, timeout=self._timeout, headers=sent)
        except NoStreamResponseError as error:
            raise FailedPrecondition(f"no stream takes {subject}", code="no_stream", hint=self._hint()) from error
        except (errors.Error, APIError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"the event on {subject} could not be stored", code="not_stored", internal=repr(error)
            ) from error

    async def _ensure_stream(self) -> None:
        from nats.js.api import RetentionPolicy, StreamConfig
        from nats.js.errors import APIError, BadRequestError, NotFoundError

        try:
            return await self._verify()
        except NotFoundError as error:
            if not self.subjects:
                raise FailedPrecondition(
                    f"there is no stream {self.stream}", code="no_stream", hint="name its subjects to make it"
                ) from error
        except (errors.Error, APIError) as error:
            raise Unavailable("JetStream does not answer", code="unreachable", internal=repr(error)) from error
        max_age, max_bytes, replicas, duplicates = self._limits
        policy = RetentionPolicy.WORK_QUEUE if self.retention == "workqueue" else RetentionPolicy.LIMITS
        config = StreamConfig(
            name=self.stream,
            subjects=self._stored(),
            retention=policy,
            max_age=max_age,
            max_bytes=max_bytes or -1,
            num_replicas=replicas,
            duplicate_window=min(duplicates, max_age) if max_age else duplicates,
        )
        try:
            await self.js.add_stream(config)
        except BadRequestError as error:  # somebody else was faster, or it cannot be
            try:
                await self._verify()
            except NotFoundError:
                raise FailedPrecondition(
                    f"the stream {self.stream} cannot be made", code="stream_differs", internal=repr(error)
                ) from error

    async def _verify(self) -> None:
        found = (await self.js.stream_info(self.stream)).config
        held = tuple(found.subjects or ())
        missing = [each for each in self._stored() if not any(_covers(one, each) for one in held)]
        retention = getattr(found.retention, "value", found.retention)
        if missing or retention != self.retention:
            raise FailedPrecondition(
                f"the stream {self.stream} takes {', '.join(held)} with retention {retention}",
                code="stream_differs",
                hint=f"change it to {', '.join(self._stored())} with retention {self.retention}",
            )
        self.subjects = self.subjects or held

    def _stored(self) -> list[str]:
        """The subjects with those of their dead letters."""
        dead = [each + DEAD for each in self.subjects if not each.endswith((">", DEAD))]
        return [*self.subjects, *(each for each in dead if each not in self.subjects)]

    def _hint(self) -> str:
        return f"the stream {self.stream} takes {', '.join(self.subjects)}"


def _covers(held: str, wanted: str) -> bool:
    """Whether all that the pattern `wanted` means is meant by `held`."""
    if held == wanted:
        return True
    if wanted.endswith(">") and not held.endswith(">"):
        return False
    return matches(held, wanted.replace("*", "any").replace(">", "any")) and not (
        "*" in wanted and held == wanted.replace("*", "any")
    )
