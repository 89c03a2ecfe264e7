"""How long a call may take: the service's own budget, and less if the caller asks for less.

Callers ask with `X-Request-Timeout-Ms` (HTTP; the name is a setting), `grpc-timeout` (gRPC and gRPC-Web) or
`connect-timeout-ms` (Connect). The shells enforce it. Source for `grpc-timeout`: the gRPC over HTTP/2 protocol.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from headgate.kit.controls.call import Budget, Call, Control
from headgate.kit.controls.faults import InvalidArgument

_GRPC_UNITS: Final = {b"H": 3_600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DIGITS: Final = 8
_NONE: Final = Budget()


def parse_grpc_timeout(value: bytes) -> float | None:
    """Seconds in a `grpc-timeout` such as `100m`: at most 8 digits and a unit. None when malformed."""
    digits, unit = value[:-1], _GRPC_UNITS.get(value[-1:])
    return int(digits) * unit if unit and 0 < len(digits) <= _MOST_DIGITS and digits.isdigit() else None


def parse_milliseconds(value: bytes) -> float | None:
    """Seconds in a whole number of milliseconds. None when malformed."""
    return int(value) / 1_000 if value.isdigit() and len(value) <= _MOST_DIGITS + 2 else None


class Deadlines(Control):
    """Sets `budget`, and `deadline` when there is one. Zero means without limit."""

    name: ClassVar[str] = "deadline"

    def __init__(
        self,
        *,
        first_byte: float,
        idle: float,
        total: float,
        untimed: Iterable[str] = (),
        header: str = "x-request-timeout-ms",
    ) -> None:
        self._budget = Budget(first_byte or None, idle or None, total or None)
        self._untimed = tuple(untimed)
        self._header = header.encode()

    def identify(self, call: Call) -> None:
        """Give the call its budget. A malformed request for less is refused, not ignored."""
        if self._untimed and call.path.startswith(self._untimed):
            call.budget = _NONE
            return
        call.budget = self._budget
        asked = self._asked(call)
        if asked is None:
            return
        total = self._budget.total
        call.deadline = call.started + (asked if total is None else min(asked, total))

    def _asked(self, call: Call) -> float | None:
        if call.protocol == "http":
            name, parse = self._header, parse_milliseconds
        elif call.protocol == "connect":
            name, parse = b"connect-timeout-ms", parse_milliseconds
        elif call.protocol == "grpc-web":
            name, parse = b"grpc-timeout", parse_grpc_timeout
        else:
            return None
        value = call.headers.get(name) if name else None
        if value is None:
            return None
        asked = parse(value)
        if asked is None:
            raise InvalidArgument(
                f"the header {name.decode()} is not a timeout",
                code="malformed_timeout",
                hint="send a whole number of milliseconds" if parse is parse_milliseconds else "send such as 250m",
            )
        return asked
