"""What is published: a subject and the type of what is said on it.

    PAID = Topic("payments.settled", PaymentSettled)

    await broker.publish(PAID, PaymentSettled(order="o-1"))

    @on(PAID, group="orders")
    async def settled(self, event: PaymentSettled) -> None: ...

Subjects are words joined by dots. In what a subscriber asks for, `*` is any one word and `>`, at the end, one or
more; the same for every broker. Source: NATS, subject-based messaging.
"""

import re
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from headgate.kit.controls.faults import InvalidArgument

T = TypeVar("T")

LONGEST_SUBJECT: Final = 255

_SUBJECT: Final = re.compile(r"[A-Za-z0-9_$/-]+(\.[A-Za-z0-9_$/-]+)*")
_PATTERN: Final = re.compile(r"(?:\*|[A-Za-z0-9_$/-]+)(?:\.(?:\*|[A-Za-z0-9_$/-]+))*(?:\.>)?|>")


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """A subject to publish on, and the type of its events. Raises InvalidArgument (`invalid_subject`)."""

    subject: str
    type: type[T]
    description: str = ""

    def __post_init__(self) -> None:
        check_subject(self.subject)


def check_subject(subject: str) -> str:
    """The subject. Raises InvalidArgument (`invalid_subject`) unless something can be published on it."""
    if len(subject) > LONGEST_SUBJECT or not _SUBJECT.fullmatch(subject):
        raise _invalid(subject, "a subject is words joined by dots, such as orders.placed, and has no wildcard")
    return subject


def check_pattern(pattern: str) -> str:
    """The pattern. Raises InvalidArgument (`invalid_subject`) unless it can be subscribed to."""
    if len(pattern) > LONGEST_SUBJECT or not _PATTERN.fullmatch(pattern):
        raise _invalid(pattern, "a pattern is words joined by dots; '*' is any one word, '>' at the end one or more")
    return pattern


def matches(pattern: str, subject: str) -> bool:
    """Whether a valid subject is one of those that a valid pattern means."""
    wanted, words = pattern.split("."), subject.split(".")
    for position, part in enumerate(wanted):
        if part == ">":
            return len(words) > position
        if position >= len(words) or part not in ("*", words[position]):
            return False
    return len(wanted) == len(words)


def _invalid(subject: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"'{subject[:100]}' is no subject", code="invalid_subject", hint=hint)
