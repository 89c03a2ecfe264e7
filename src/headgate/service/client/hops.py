"""What a call to another service takes along of the call being served: its id, its trace, its time, its retries.

    x-request-id, traceparent, tracestate       as the kit's clients send them
    x-retry-budget: 2                           how often this call may still be sent again, here and further down

The budget of a hop is shared by all it calls: three services in a row, each willing to try three times, make six calls
of the last one at most times the width of the tree, not twenty-seven.
"""

from headgate.kit.controls.call import Call

RETRY_BUDGET = "x-retry-budget"

_HEADER = RETRY_BUDGET.encode()
_MOST_DIGITS = 2


class Allowance:
    """How many retries are left to the calls that one served call makes; None for as many as policies say."""

    __slots__ = ("left",)

    def __init__(self, left: int | None) -> None:
        self.left = left

    def of(self, wanted: int) -> int:
        """As many of `wanted` as there are."""
        return wanted if self.left is None else min(wanted, self.left)

    def spend(self) -> None:
        """One more was made."""
        if self.left is not None:
            self.left = max(0, self.left - 1)


UNLIMITED = Allowance(None)


def allowance_of(call: Call | None) -> Allowance:
    """What the call being served may spend."""
    if call is None:
        return UNLIMITED
    value = call.headers.get(_HEADER, b"")
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        return UNLIMITED
    kept: Allowance | None = call.kept(RETRY_BUDGET)
    if kept is None:
        kept = Allowance(int(value))
        call.keep(RETRY_BUDGET, kept)
    return kept
