"""Counts every call, refusals included: how many, how long, how much, how many at a time.

Measure(metrics)     # headgate.kit.observe.metrics.Metrics
"""

from typing import ClassVar, Final, Protocol

from headgate.kit.controls.call import Call, Control, MutableHeaders

_COUNTED: Final = 1
_STREAM: Final = 2
_EMPTY: Final = frozenset((204, 304))


class Figures(Protocol):
    """Who keeps the figures."""

    def began(self, protocol: str) -> None:
        """A call has arrived."""

    def stream_began(self, protocol: str) -> None:
        """Its answer is a stream, and begins."""

    def ended(self, call: Call, *, counted: bool, stream: bool) -> None:
        """It is over; `counted` and `stream` tell whether the other two were called for it."""


class Measure(Control):
    """Tells `figures` of calls. Streams are answers without a length, sockets, and RPCs but unary ones."""

    name: ClassVar[str] = "measure"

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def identify(self, call: Call) -> None:
        """The call counts as running from here."""
        self._figures.began(call.protocol)
        call.keep("measure", _COUNTED)

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """See whether the answer is a stream."""
        if call.kept("measure") != _COUNTED:
            return
        if call.messages_out:
            return  # the one response to a unary RPC
        if call.protocol == "http":
            if call.status in _EMPTY or call.method == "HEAD":
                return
            for name, _ in headers:
                if name == b"content-length":
                    return
        call.keep("measure", _STREAM)
        self._figures.stream_began(call.protocol)

    def settle(self, call: Call) -> None:
        """Count it."""
        kept = call.kept("measure")
        self._figures.ended(call, counted=kept is not None, stream=kept == _STREAM)
