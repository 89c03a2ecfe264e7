"""Readiness."""

import asyncio

import pytest

from headgate.kit.asgi.health import Health
from headgate.kit.controls.faults import Unavailable


@pytest.fixture
def health() -> Health:
    """Checks of this test alone."""
    return Health()


async def passes() -> None:
    """A check that finds all well."""


async def stalls() -> None:
    """A check that never ends."""
    await asyncio.Event().wait()


async def refuses() -> None:
    """A check that knows what is wrong."""
    raise Unavailable("the database is locked", internal="pid 7")


async def breaks() -> None:
    """A check that breaks."""
    raise OSError("/var/secret/place")


async def test_ready(health):
    """With all checks passed it is ready, and each is named."""
    health.add("store", passes)
    assert await health.report() == (True, {"status": "ready", "checks": {"store": {"status": "ok"}}})


@pytest.mark.parametrize(
    ("check", "result"),
    [
        (stalls, {"status": "timeout", "reason": "no answer within 0.01 s"}),
        (refuses, {"status": "failed", "reason": "the database is locked"}),
        (breaks, {"status": "failed", "reason": "see the server's log"}),
    ],
)
async def test_not_ready(health, logged, check, result):
    """One failed check makes it not ready; why is told, as far as it is fit to be, and logged when it begins."""
    health.add("store", passes)
    health.add("other", check, timeout=0.01)
    found = {"status": "not ready", "checks": {"store": {"status": "ok"}, "other": result}}
    for _ in range(2):
        assert await health.report() == (False, found)
    assert [line["check"] for line in logged() if line["event"] == "not ready"] == ["other"]


async def test_checks_run_together(health):
    """Checks do not wait for each other."""
    meeting = asyncio.Barrier(3)
    for name in "abc":
        health.add(name, lambda: asyncio.wait_for(_meet(meeting), 5))
    assert (await health.report())[0]


async def _meet(barrier: asyncio.Barrier) -> None:
    await barrier.wait()


async def test_draining(health):
    """On its way out it is not ready, whatever its checks say."""
    health.draining = True
    assert await health.report() == (False, {"status": "draining", "checks": {}})
