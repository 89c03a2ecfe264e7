"""The rate limit: whose budget, what is exempt, what callers are told."""

from collections.abc import Awaitable, Sequence

import pytest

from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.faults import InvalidArgument, ResourceExhausted
from headgate.kit.controls.limits import TOKENS, RateLimit, budget_key, refusal
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.rate import Charge, Decisions, Quota, Rate, Store
from headgate.kit.limits.memory import MemoryStore
from headgate.testing.clock import FakeClock
from tests.kit.controls.calls import call_of


class Slow:
    """A store whose answers take I/O."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def take(self, key: str, charges: Sequence[Charge]) -> Decisions:
        return self._store.take(key, charges)


def limit(rate: str = "2/minute", *, tokens: str = "off", store: Store | None = None, **options) -> RateLimit:
    """A limit with a store of its own whose clock stands still."""
    made = store or MemoryStore(clock=FakeClock())
    return RateLimit(made, requests=Rate.parse(rate), tokens=Rate.parse(tokens), **options)


def refused(control: RateLimit, call: Call) -> ResourceExhausted:
    """The fault that a call gets."""
    with pytest.raises(ResourceExhausted) as caught:
        control.admit(call)
    return caught.value


def told(control: RateLimit, call: Call) -> dict[bytes, bytes]:
    """The headers added to the answer."""
    headers: list[tuple[bytes, bytes]] = []
    control.respond(call, headers)
    return dict(headers)


def test_a_caller_beyond_the_limit_is_refused() -> None:
    """The refusal has a stable code, says the limit and when to come back."""
    control = limit()
    assert control.admit(call_of()) is None
    control.admit(call_of())
    fault = refused(control, call_of())
    assert (fault.code, fault.retry_after) == ("rate_limited", 30.0)
    assert "2/minute requests" in fault.message
    assert fault.hint == "try again in 30 s"


def test_callers_do_not_share() -> None:
    """Each address has a budget, and each principal wherever it calls from."""
    control = limit("1/minute")
    for peer in ("198.51.100.1", "198.51.100.2"):
        control.admit(call_of(peer=peer))
        refused(control, call_of(peer=peer))
    for name in ("ada", "bob"):
        first, second = call_of(peer="198.51.100.1"), call_of(peer="198.51.100.3")
        first.principal = second.principal = Principal(name)
        control.admit(first)
        refused(control, second)


def test_one_budget_for_all_wires() -> None:
    """HTTP requests, handshakes of WebSockets and RPCs of one caller are charged together."""
    control = limit("3/minute")
    for protocol in ("http", "websocket", "grpc"):
        control.admit(call_of(protocol=protocol))
    for protocol in ("http", "websocket", "grpc", "grpc-web", "connect"):
        refused(control, call_of(protocol=protocol))


def test_d11_metadata_makes_no_other_caller() -> None:
    """What a caller sends in its headers or metadata does not give it another budget, nor does the method."""
    control = limit("1/minute")
    control.admit(call_of("/shop.v1.Orders/List", protocol="grpc", headers={"x-trace": "1"}))
    refused(control, call_of("/shop.v1.Orders/List", protocol="grpc", headers={"x-trace": "2", "user-agent": "b"}))
    refused(control, call_of("/shop.v1.Orders/Get", protocol="grpc"))


@pytest.mark.parametrize("method", ["Check", "Watch", "List"])
def test_d11_the_health_service_is_exempt(method: str) -> None:
    """Health checks of gRPC are never limited, nor are they charged."""
    control = limit("1/minute")
    for _ in range(3):
        control.admit(call_of(f"/grpc.health.v1.Health/{method}", protocol="grpc"))
    control.admit(call_of())


@pytest.mark.parametrize("path", ["/health", "/healthz", "/ready", "/readyz", "/metrics"])
def test_probes_are_exempt(path: str) -> None:
    """Probes are not limited, carry no limit's headers, and what looks like one is."""
    control = limit("1/minute")
    for _ in range(3):
        call = call_of(path)
        control.admit(call)
        assert not told(control, call)
    control.admit(call_of(path + "/x"))
    refused(control, call_of(path + "/y"))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("not:an:address", "not:an:address", True),
        ("not:an:address", "not:another", False),
    ],
)
def test_who_is_one_client(first: str, second: str, same: bool) -> None:
    """An IPv6 client is its /64, an IPv4 client its address however written, and those without share a budget."""
    assert (budget_key(call_of(peer=first)) == budget_key(call_of(peer=second))) is same


def test_a_principal_is_no_address() -> None:
    """A principal named like an address has a budget of its own."""
    known = call_of(peer="2001:db8::1")
    known.principal = Principal("192.0.2.1")
    assert budget_key(known) == "principal:192.0.2.1"
    assert budget_key(known) != budget_key(call_of(peer="192.0.2.1"))


def test_answers_tell_what_is_left() -> None:
    """Policy and state are structured fields: the quota in its window, what is left, and for how long no more."""
    clock = FakeClock()
    control = limit("3/minute", store=MemoryStore(clock=clock))
    call = call_of()
    control.admit(call)
    assert told(control, call) == {b"ratelimit-policy": b'"requests";q=3;w=60', b"ratelimit": b'"requests";r=2;t=20'}
    clock.advance(12.5)
    control.admit(call)
    assert told(control, call)[b"ratelimit"] == b'"requests";r=1;t=8'


def test_a_refusal_tells_it_too() -> None:
    """A refused caller sees an empty budget, for no longer than it is told to stay away."""
    control = limit("1/minute")
    control.admit(call_of())
    call = call_of()
    fault = refused(control, call)
    assert told(control, call)[b"ratelimit"] == b'"requests";r=0;t=60'
    assert fault.retry_after == 60.0


def test_a_caller_with_nothing_spent_is_told_its_whole_budget() -> None:
    """The window is at least that of one unit, also when all of them are there."""
    control = limit("off", tokens="10/minute")
    call = call_of()
    control.admit(call)
    assert told(control, call)[b"ratelimit"] == b'"tokens";r=10;t=6'


def test_headers_can_be_switched_off() -> None:
    """Without them answers tell nothing."""
    control = limit(headers=False)
    call = call_of()
    control.admit(call)
    assert not told(control, call)


def test_tokens_are_a_second_budget() -> None:
    """Who has no tokens left is refused although requests are, and is not charged a request for it."""
    store = MemoryStore(clock=FakeClock())
    control = limit("5/minute", tokens="100/minute", store=store)
    call = call_of()
    control.admit(call)
    kept_store, quota, key = call.kept(TOKENS)
    kept_store.take(key, (Charge(quota, 100, force=True),))
    again = call_of()
    fault = refused(control, again)
    assert (fault.code, fault.retry_after) == ("rate_limited", 0.6)
    assert "100/minute tokens" in fault.message
    assert told(control, again) == {
        b"ratelimit-policy": b'"requests";q=5;w=60, "tokens";q=100;w=60;headgate-unit="tokens"',
        b"ratelimit": b'"requests";r=4;t=12, "tokens";r=0;t=1',
    }


def test_no_rate_is_no_limit() -> None:
    """With both rates off nothing is charged and nothing told."""
    control = limit("off")
    call = call_of()
    assert control.admit(call) is None
    assert not told(control, call)


async def test_a_store_with_io_is_awaited() -> None:
    """The same rules hold when the store has to be waited for."""
    pipeline = Pipeline([limit("1/minute", store=Slow(MemoryStore(clock=FakeClock())))])
    await pipeline.enter(call_of())
    second = call_of()
    with pytest.raises(ResourceExhausted):
        await pipeline.enter(second)
    assert second.refused_by == "rate_limit"
    headers: list[tuple[bytes, bytes]] = []
    pipeline.respond(second, headers)
    assert dict(headers)[b"ratelimit"] == b'"requests";r=0;t=60'


def test_memory_needs_no_coroutine() -> None:
    """On a store in this process admission is synchronous."""
    assert not isinstance(limit().admit(call_of()), Awaitable)


def test_a_cost_beyond_the_limit_is_the_callers_mistake() -> None:
    """It is refused as an argument, with the most that can be asked for, and no time to retry after."""
    quota = Quota("tokens", Rate(100, 60))
    charge = Charge(quota, 101)
    (decision,) = MemoryStore().take("k", (charge,))
    fault = refusal(charge, decision)
    assert isinstance(fault, InvalidArgument)
    assert (fault.code, fault.retry_after, fault.hint) == ("cost_exceeds_limit", None, "ask for at most 100 at a time")
