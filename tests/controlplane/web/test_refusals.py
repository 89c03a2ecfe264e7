"""Refused callers on their way to the audit trail."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from headgate.controlplane.tenancy.principal import Principal
from headgate.controlplane.web.refusals import MOST_WAITING, Refusals
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, NotFound, PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal as KitPrincipal


class Trail:
    """An audit trail that takes an entry when it is allowed to, and breaks when it is told to."""

    def __init__(self) -> None:
        self.entries = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def refused(self, actor, action, *, target, reason):
        await self.open.wait()
        if self.broken:
            self.broken = False
            raise OSError("no space left")
        self.entries.append((actor, action, target, reason))


@pytest.fixture
def trail():
    """Where entries go."""
    return Trail()


@pytest.fixture
def registry():
    """Where they are counted."""
    return CollectorRegistry()


@pytest.fixture
async def refusals(trail, registry):
    """The control, at work."""
    made = Refusals(trail, registry)
    await made.start()
    yield made
    await made.stop()


def refused(fault: Fault, by: str = "access", principal: Principal | None = None) -> Call:
    """A call that a control refused, or the application (`by` is "")."""
    call = Call("http", "GET", "/secret", (), "10.0.0.7", 0.0)
    call.request_id, call.fault, call.refused_by = "r-1", fault, by
    if principal is not None:
        call.principal = KitPrincipal(principal.token_id, extra=principal)
    return call


async def test_a_stranger_is_noted_by_address(refusals, trail):
    """Who has no valid token is noted with the address, the request's id and the reason."""
    refusals.settle(refused(Unauthenticated("who?", code="invalid_token"), "identity"))
    await refusals.stop()
    ((actor, *entry),) = trail.entries
    assert (actor.name, actor.surface, actor.request_id, actor.token_id) == ("10.0.0.7", "http", "r-1", "")
    assert entry == ["authenticate", "GET /secret", "invalid_token"]


async def test_a_known_caller_is_noted_by_token(refusals, trail):
    """Who is known and may not is noted with the token's name and id."""
    known = Principal("t-1", "ci", None, frozenset())
    refusals.settle(refused(PermissionDenied("no", code="missing_scope"), "probes", known))
    await refusals.stop()
    ((actor, *entry),) = trail.entries
    assert (actor.name, actor.token_id) == ("ci", "t-1")
    assert entry == ["authorise", "GET /secret", "missing_scope"]


@pytest.mark.parametrize(
    "call",
    [refused(NotFound("no")), refused(PermissionDenied("no"), ""), Call("http", "GET", "/", (), "", 0.0)],
    ids=["not about the caller", "the application's", "none"],
)
async def test_others_are_not_its_business(refusals, trail, call):
    """What is not about who calls, what the application refused and notes itself, and what went well is not noted."""
    refusals.settle(call)
    await refusals.stop()
    assert trail.entries == []


async def test_a_flood_is_bounded(refusals, trail, registry):
    """While the trail takes nothing a few refusals wait, to be written in the end; the rest are counted."""
    trail.open.clear()
    for number in range(MOST_WAITING + 10):
        refusals.settle(refused(Unauthenticated("who?", code=f"c{number}")))
    assert registry.get_sample_value("headgate_refusals_not_audited_total") == 10
    trail.open.set()
    await refusals.stop()
    assert [reason for *_, reason in trail.entries] == [f"c{number}" for number in range(MOST_WAITING)]


async def test_an_entry_that_breaks_is_one_entry(refusals, trail):
    """An entry that cannot be written does not keep later ones from being written."""
    trail.broken = True
    for code in ("lost", "kept"):
        refusals.settle(refused(Unauthenticated("who?", code=code)))
    await refusals.stop()
    assert [reason for *_, reason in trail.entries] == ["kept"]


async def test_a_trail_that_hangs_does_not_keep_it_from_stopping(refusals, trail, monkeypatch):
    """Stopping waits for what is to be written, but not for ever."""
    monkeypatch.setattr("headgate.controlplane.web.refusals._FLUSH_SECONDS", 0.01)
    trail.open.clear()
    refusals.settle(refused(Unauthenticated("who?")))
    await asyncio.wait_for(refusals.stop(), 5)
    assert trail.entries == []
