"""What a caller is told of content that is not passed on: the categories, never the text.

PermissionDenied
└── content_blocked         a category reached its threshold
Unavailable
└── content_unjudged        a scorer did not answer and the gate fails closed
ResourceExhausted
└── body_too_large          more than is buffered to be judged, and the gate fails closed
InvalidArgument
├── unsupported_media_type  a compressed body cannot be judged, and the gate fails closed
└── invalid_content_gate    the gate's settings make no sense
FailedPrecondition
└── extra_missing     a scorer needs a package that is not there
"""

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.kit.controls.faults import FailedPrecondition, Fault, PermissionDenied, Unavailable, Violation
from headgate.kit.current import current_call
from headgate.kit.safety.judgement import Side

CONTROL: Final = "content_filter"
"""Under this name logs, metrics and the audit log know who refused."""

_JUDGED: Final = frozenset(("content_blocked", "content_unjudged"))
_SAYS = {"input": "the request holds", "output": "the response held"}
_HINT = {"input": "say it otherwise", "output": "ask for something else"}


def blocked(side: Side, categories: Sequence[str], pointers: Mapping[str, Sequence[str]] | None = None) -> Fault:
    """The refusal of content. `pointers` says where in the document, and which categories."""
    return PermissionDenied(
        f"{_SAYS[side]} content that is not allowed here: {', '.join(categories)}",
        code="content_blocked",
        hint=_HINT[side],
        violations=[
            Violation(pointer, f"not allowed here: {', '.join(found)}") for pointer, found in (pointers or {}).items()
        ],
    )


def unjudged(reason: str) -> Fault:
    """The refusal of content that nothing could judge. `reason` is for the log."""
    return Unavailable(
        "the content could not be judged, and is not passed on unjudged",
        code="content_unjudged",
        hint="try again in a moment",
        retry_after=1.0,
        internal=reason,
    )


def note(fault: Fault, *, always: bool = False) -> None:
    """Let the call being served know that the gate refused it: with such a code, or `always`."""
    call = current_call()
    if call is not None and not call.refused_by and (always or fault.code in _JUDGED):
        call.refused_by = CONTROL


def not_installed(package: str, extra: str) -> Fault:
    """What is told when an optional package is not there."""
    return FailedPrecondition(
        f"{package} is not installed", code="extra_missing", hint=f"pip install 'headgate[{extra}]'"
    )
