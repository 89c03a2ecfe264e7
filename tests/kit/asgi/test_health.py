"""Liveness, readiness, metrics."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from headgate.kit.asgi import problems
from headgate.kit.asgi.health import Health, health_routes
from headgate.kit.controls.faults import Unauthenticated, Unavailable


@pytest.fixture
def health() -> Health:
    """Checks of this test alone."""
    return Health()


@pytest.fixture
async def http(health, metrics):
    """A client of the three routes."""
    app = Starlette(routes=health_routes(health, metrics))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


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


async def test_ready(http, health):
    """With all checks passed it is ready, and each is named."""
    health.add("store", passes)
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "checks": {"store": {"status": "ok"}}})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("check", "result"),
    [
        (stalls, {"status": "timeout", "reason": "no answer within 0.01 s"}),
        (refuses, {"status": "failed", "reason": "the database is locked"}),
        (breaks, {"status": "failed", "reason": "see the server's log"}),
    ],
)
async def test_not_ready(http, health, logged, check, result):
    """One failed check makes it not ready; why is told, as far as it is fit to be."""
    health.add("store", passes)
    health.add("other", check, timeout=0.01)
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": {"store": {"status": "ok"}, "other": result},
    }
    await http.get("/ready")
    assert [line["check"] for line in logged() if line["event"] == "not ready"] == ["other"]


async def test_checks_run_together(http, health):
    """Checks do not wait for each other."""
    meeting = asyncio.Barrier(3)
    for name in "abc":
        health.add(name, lambda: asyncio.wait_for(_meet(meeting), 5))
    assert (await http.get("/ready")).status_code == 200


async def _meet(barrier: asyncio.Barrier) -> None:
    await barrier.wait()


async def test_draining(http, health):
    """On its way out it is alive and not ready."""
    health.draining = True
    assert (await http.get("/ready")).json()["status"] == "draining"
    assert (await http.get("/ready")).status_code == 503
    assert (await http.get("/health")).status_code == 200


async def test_alive_while_not_ready(http, health):
    """Liveness asks no check: restarting does not mend a database."""
    health.add("store", stalls)
    assert (await http.get("/health")).json() == {"status": "ok"}


async def test_metrics(http):
    """Metrics are served in Prometheus' text format."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "process_resident_memory_bytes" in answer.text


async def test_guarded_metrics(health, metrics):
    """A guard refuses callers of the metrics and of nothing else."""

    async def guard(_request: Request) -> None:
        raise Unauthenticated("who are you?")

    app = Starlette(routes=health_routes(health, metrics, metrics_guard=guard))
    problems.install(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        statuses = [(await client.get(path)).status_code for path in ("/metrics", "/ready", "/health")]
    assert statuses == [401, 200, 200]
