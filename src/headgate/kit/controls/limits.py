"""The rate limit: one budget for each caller, whatever wire the call came by.

    RateLimit(store, requests=Rate.parse("60/minute"), tokens=Rate.parse("100000/hour"))

A call costs one request: an HTTP request, the handshake of a WebSocket, an RPC. Tokens (units of work) are spent by
handlers (`headgate.kit.limits.spending`); here a call is refused while its caller has none left. A caller is the
principal, else the client's address; addresses of IPv6 count by their /64, which is what one client is
given (RFC 6177). Where calls carry neither, they share one budget.

Answers carry `RateLimit-Policy` (quota `q` in window `w` seconds) and `RateLimit` (`r` units left, no more of them for
`t` seconds): draft-ietf-httpapi-ratelimit-headers-11. `Retry-After` of a refusal never points before the end of `t`.
Exempt are the paths given and gRPC's health service.
"""

import math
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address
from typing import ClassVar, Final

from headgate.kit.controls.access import GRPC_HEALTH
from headgate.kit.controls.call import OVER_HTTP, Call, Control, MutableHeaders
from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.controls.rate import Charge, Decision, Decisions, Quota, Rate, Store

PROBES: Final = ("/health", "/healthz", "/ready", "/readyz", "/metrics")
"""What is exempt unless told otherwise."""
TOKENS: Final = "rate_limit_tokens"
"""Under which a call keeps (store, quota, key) of its token budget."""

_ADDRESSES: Final = 4_096


def budget_key(call: Call) -> str:
    """Whose budget a call is charged to: `Call.key`, with clients of IPv6 by their /64."""
    if not call.principal.id and ":" in call.client:
        return _network(call.client)
    return call.key


@lru_cache(_ADDRESSES)
def _network(client: str) -> str:
    try:
        address = IPv6Address(client.partition("%")[0])
    except ValueError:
        return f"client:{client}"
    if address.ipv4_mapped:
        return f"client:{address.ipv4_mapped}"
    return f"client:{IPv6Address(int(address) >> 64 << 64)}/64"


def refusal(charge: Charge, decision: Decision) -> Fault:
    """The fault for a charge that was not admitted."""
    quota, cost, _ = charge
    if cost > quota.count:
        return InvalidArgument(
            f"{cost} {quota.name} at once are more than the limit of {quota.rate} ever admits",
            code="cost_exceeds_limit",
            hint=f"ask for at most {quota.count} at a time",
        )
    return ResourceExhausted(
        f"the limit of {quota.rate} {quota.name} is reached",
        code="rate_limited",
        hint=f"try again in {math.ceil(decision.retry_after)} s",
        retry_after=decision.retry_after,
    )


class RateLimit(Control):
    """Refuses callers who ask for more than their budget. Synchronous on a store without I/O.

    Raises ResourceExhausted (`rate_limited`) with `retry_after`; what the store raises passes through.
    """

    name: ClassVar[str] = "rate_limit"

    def __init__(
        self,
        store: Store,
        *,
        requests: Rate | None = None,
        tokens: Rate | None = None,
        exempt: Iterable[str] = PROBES,
        headers: bool = True,
    ) -> None:
        charges = [Charge(Quota("requests", requests))] if requests else []
        self._tokens = Quota("tokens", tokens) if tokens else None
        if self._tokens:
            charges.append(Charge(self._tokens, 0))
        self._charges = tuple(charges)
        self._store = store
        self._exempt = GRPC_HEALTH | frozenset(exempt)
        self._headers = headers
        self._policy = (b"ratelimit-policy", ", ".join(_policy(quota) for quota, _, _ in charges).encode())
        self._limits = tuple(
            (f'{", " if position else ""}"{quota.name}";r=%d;t=%d'.encode(), quota.rate.period / quota.count)
            for position, (quota, _, _) in enumerate(charges)
        )

    def admit(self, call: Call) -> Awaitable[None] | None:
        """Charge one request."""
        if not self._charges or call.path in self._exempt:
            return None
        key = budget_key(call)
        decisions = self._store.take(key, self._charges)
        if not isinstance(decisions, tuple):
            return self._later(call, key, decisions)
        self._judge(call, key, decisions)
        return None

    async def _later(self, call: Call, key: str, decisions: Awaitable[Decisions]) -> None:
        self._judge(call, key, await decisions)

    def _judge(self, call: Call, key: str, decisions: Decisions) -> None:
        call.keep(self.name, decisions)
        for position, decision in enumerate(decisions):
            if not decision[0]:
                raise refusal(self._charges[position], decision)
        if self._tokens is not None:
            call.keep(TOKENS, (self._store, self._tokens, key))

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Tell the caller what is left; where HTTP is not spoken only refusals tell, with when to come again."""
        if not self._headers or call.protocol not in OVER_HTTP:
            return
        decisions: Decisions | None = call.kept(self.name)
        if decisions is None:
            return
        told = b""
        for (form, interval), (_, limit, left, reset, _) in zip(self._limits, decisions, strict=True):
            told += form % (left, math.ceil(reset - (limit - left - 1) * interval))
        headers += (self._policy, (b"ratelimit", told))


def _policy(quota: Quota) -> str:
    # The draft's registry of units knows no tokens, so a parameter of our own says it.
    unit = "" if quota.name == "requests" else f';headgate-unit="{quota.name}"'
    return f'"{quota.name}";q={quota.count};w={max(1, round(quota.rate.period))}{unit}'
