"""The tree of faults: what can go wrong, said once, for every wire.

Domain code raises a fault and knows nothing of HTTP. The edge of each protocol maps it in one table
(HTTP: `headgate.kit.asgi.problems`). The kinds are gRPC's canonical codes.

    Fault
    ├── Cancelled            CANCELLED            the caller went away
    ├── Unknown              UNKNOWN              an error nobody classified
    ├── InvalidArgument      INVALID_ARGUMENT     the input is wrong whatever the state
    ├── DeadlineExceeded     DEADLINE_EXCEEDED    the time ran out
    ├── NotFound             NOT_FOUND            no such thing (or none you may see)
    ├── AlreadyExists        ALREADY_EXISTS       the name is taken
    ├── PermissionDenied     PERMISSION_DENIED    known caller, not allowed
    ├── ResourceExhausted    RESOURCE_EXHAUSTED   a limit or quota is reached
    ├── FailedPrecondition   FAILED_PRECONDITION  the state must change first
    ├── Aborted              ABORTED              lost a race; read again and retry
    ├── OutOfRange           OUT_OF_RANGE         past the end
    ├── Unimplemented        UNIMPLEMENTED        no such operation here
    ├── Internal             INTERNAL             our defect
    ├── Unavailable          UNAVAILABLE          try again later
    ├── DataLoss             DATA_LOSS            stored data is damaged
    └── Unauthenticated      UNAUTHENTICATED      who are you?

A fault has two texts: `message` and `hint` are for the caller, `internal` is for the log only.
Source: google.rpc.Code; RFC 9457 for what becomes of it over HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with the input.

    `pointer` is a JSON pointer (RFC 6901) into the document the caller sent, "" for the whole of it.
    """

    pointer: str
    message: str
    hint: str = ""


class Fault(Exception):  # noqa: N818 - the domain's word; "error" is what the wire makes of it
    """Base of all faults. Raise a subclass.

    `code` is stable and may be matched by programs; `hint` says what to do next; `violations` locate
    the trouble in the input; `retry_after` is in seconds; `details` are what programs need to know besides, made
    of what JSON has; `internal` never leaves the process. `refused` says that none of the work had begun: who was told
    so may ask again whatever the call does (as of HTTP/2's REFUSED_STREAM, RFC 9113 section 8.7). It is for the
    caller alone: what it raises in turn is not refused.
    """

    kind: ClassVar[str] = "UNKNOWN"
    default_code: ClassVar[str] = "unknown"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        details: Mapping[str, Any] | None = None,
        internal: str = "",
        refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.details = dict(details or {})
        self.internal = internal
        self.refused = refused


class Cancelled(Fault):
    """The caller went away before the work was done."""

    kind, default_code = "CANCELLED", "cancelled"


class Unknown(Fault):
    """An error nobody classified."""

    kind, default_code = "UNKNOWN", "unknown"


class InvalidArgument(Fault):
    """The input is wrong whatever the state of the system."""

    kind, default_code = "INVALID_ARGUMENT", "invalid_argument"


class DeadlineExceeded(Fault):
    """The time ran out before the work was done."""

    kind, default_code = "DEADLINE_EXCEEDED", "deadline_exceeded"


class NotFound(Fault):
    """There is no such thing, or none the caller may see."""

    kind, default_code = "NOT_FOUND", "not_found"


class AlreadyExists(Fault):
    """The name is taken."""

    kind, default_code = "ALREADY_EXISTS", "already_exists"


class PermissionDenied(Fault):
    """The caller is known and not allowed."""

    kind, default_code = "PERMISSION_DENIED", "permission_denied"


class ResourceExhausted(Fault):
    """A limit or a quota is reached."""

    kind, default_code = "RESOURCE_EXHAUSTED", "resource_exhausted"


class FailedPrecondition(Fault):
    """The state of the system must change before this can be done."""

    kind, default_code = "FAILED_PRECONDITION", "failed_precondition"


class Aborted(Fault):
    """Somebody else was faster; read again and retry."""

    kind, default_code = "ABORTED", "aborted"


class OutOfRange(Fault):
    """The request goes past the end of what there is."""

    kind, default_code = "OUT_OF_RANGE", "out_of_range"


class Unimplemented(Fault):
    """There is no such operation here."""

    kind, default_code = "UNIMPLEMENTED", "unimplemented"


class Internal(Fault):
    """A defect of ours."""

    kind, default_code = "INTERNAL", "internal"


class Unavailable(Fault):
    """Not now; try again later."""

    kind, default_code = "UNAVAILABLE", "unavailable"


class DataLoss(Fault):
    """Stored data is damaged or gone."""

    kind, default_code = "DATA_LOSS", "data_loss"


class Unauthenticated(Fault):
    """The caller did not prove who they are."""

    kind, default_code = "UNAUTHENTICATED", "unauthenticated"


KINDS: Final[Mapping[str, type[Fault]]] = {kind.kind: kind for kind in Fault.__subclasses__()}
"""The sixteen, by their kind; what a service derives from `Fault` itself is not among them."""
