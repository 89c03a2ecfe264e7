"""How a client calls: what holds for all its calls, and what one call says besides.

    client = Client(Orders, registry=registry, policy=ClientPolicy(timeout=5, hedge_after=0.2))
    await client.using(timeout=1, idempotency_key="order-17").place(order)

Times are in seconds, sizes in bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.retry import RetryPolicy
from headgate.service.client.ejection import EjectionPolicy
from headgate.service.invoke import LONGEST_KEY

MEBIBYTE: Final = 1_048_576

_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")
_OWN: Final = frozenset(("content-type", "content-length", "accept", "host", "te", "transfer-encoding", "connection"))


@dataclass(frozen=True, slots=True)
class ClientPolicy:
    """What holds for all calls of a client. Raises InvalidArgument.

    `timeout` is for a whole call with all its attempts, `stream_timeout` for a whole stream; None is for ever. The
    retry budget of a client holds `retry_reserve` and gains `retry_ratio` with each call. A call that may be repeated
    and has no answer after `hedge_after` is sent to a second instance as well. `slow_start` is how long a new
    instance takes until it gets its full share. A call whose time is up after `hung_after` or more counts against
    the instance that did not answer. With `validate` off, arguments are checked by the service alone.

    Per instance: at most `max_connections`, of which `max_idle` are kept for `idle_time`; a call waits
    `pool_timeout` for one, and `connect_timeout` for a new one. An answer has at most `max_message` bytes, each
    message of a stream too.
    """

    timeout: float | None = 30.0
    stream_timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 - immutable, as the next two are
    retry_ratio: float = 0.1
    retry_reserve: float = 10.0
    hedge_after: float | None = None
    breaker: BreakerPolicy | None = BreakerPolicy()  # noqa: RUF009
    ejection: EjectionPolicy | None = EjectionPolicy()  # noqa: RUF009
    slow_start: float = 10.0
    hung_after: float = 1.0
    validate: bool = True
    max_connections: int = 64
    max_idle: int = 64
    idle_time: float = 15.0
    pool_timeout: float = 5.0
    connect_timeout: float = 2.0
    max_message: int = 16 * MEBIBYTE
    http2: bool = False

    def __post_init__(self) -> None:
        positive = ("max_connections", "pool_timeout", "connect_timeout", "max_message")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        wrong += [
            name
            for name in ("max_idle", "idle_time", "slow_start", "hung_after", "retry_reserve")
            if getattr(self, name) < 0
        ]
        limits = ("timeout", "stream_timeout", "hedge_after")
        wrong += [name for name in limits if getattr(self, name) is not None and getattr(self, name) <= 0]
        if not 0 <= self.retry_ratio <= 1:
            wrong.append("retry_ratio")
        if wrong:
            raise InvalidArgument(
                "a client cannot work like this: " + ", ".join(wrong),
                violations=[Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in wrong],
                hint="times and counts are positive; retry_ratio lies between 0 and 1; None is for no limit",
            )


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call says besides. Raises InvalidArgument.

    `retries` is how often it may be sent again, at most what the policy says; `key` is what ring hashing goes by.
    """

    timeout: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str = ""
    retries: int | None = None
    hedge_after: float | None = None
    key: str = ""

    def __post_init__(self) -> None:
        wrong = [
            Violation(f"/{name}", f"{value} is not possible", "more than 0 seconds")
            for name in ("timeout", "hedge_after")
            if (value := getattr(self, name)) is not None and value <= 0
        ]
        if self.retries is not None and self.retries < 0:
            wrong.append(Violation("/retries", f"{self.retries} is not possible", "0 for none"))
        if len(self.idempotency_key) > LONGEST_KEY or not _printable(self.idempotency_key):
            wrong.append(Violation("/idempotency_key", f"is up to {LONGEST_KEY} printable characters of ASCII"))
        wrong += [problem for name, value in self.metadata.items() for problem in _refused(name, value)]
        if wrong:
            raise InvalidArgument(
                "a call cannot be made like this: " + ", ".join(each.pointer[1:] for each in wrong),
                code="invalid_call",
                violations=wrong,
            )


def _refused(name: str, value: str) -> list[Violation]:
    pointer = f"/metadata/{name[:100].replace('~', '~0').replace('/', '~1')}"
    if not name or not _NAME.issuperset(name.lower()):
        return [Violation(pointer, "is no name of a header")]
    if name.lower() in _OWN:
        return [Violation(pointer, "is said by the wire itself")]
    if not _printable(value):  # never the value itself: it may be a secret
        return [Violation(pointer, "has characters other than printable ASCII")]
    return []


def _printable(value: str) -> bool:
    return value.isascii() and (value.isprintable() or not value)
