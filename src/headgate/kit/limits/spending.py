"""What handlers spend of their caller's tokens, or of any unit of work that `rate_limit_tokens` counts.

    await spend(answer.tokens)                      # known afterwards; the next call is refused when it was too much

    async with await reserve(800) as held:          # asked before; refused now when it is too much
        answer = await model(prompt)
        await held.settle(answer.tokens)

Outside of a call, for exempt calls and where tokens are not limited, both do nothing.
"""

from headgate.kit.controls.limits import TOKENS
from headgate.kit.current import current_call
from headgate.kit.limits.limiter import Limiter, Reservation


async def spend(units: int) -> None:
    """Charge the caller of the current call for work that is done. Never refuses; negative units are given back."""
    limiter, key = _budget()
    if limiter is not None:
        await limiter.charge(key, units)


async def reserve(estimate: int) -> Reservation:
    """Hold units of the caller of the current call.

    Raises ResourceExhausted (`rate_limited`), or InvalidArgument (`cost_exceeds_limit`) for more than the limit.
    """
    limiter, key = _budget()
    return Reservation(estimate) if limiter is None else await limiter.reserve(key, estimate)


def _budget() -> tuple[Limiter | None, str]:
    call = current_call()
    kept = None if call is None else call.kept(TOKENS)
    if kept is None:
        return None, ""
    store, quota, key = kept
    return Limiter(quota, store), key
