"""Four frameworks on three servers keep every promise, and answer alike."""

import pytest

from headgate.kit.serve.engines import ServerName
from headgate.testing.conformance import run_checks
from headgate.testing.conformance.apps import FRAMEWORKS
from headgate.testing.conformance.order_checks import answers
from headgate.testing.conformance.running import running_orders
from headgate.testing.conformance.suite import GROUPS

SERVERS: tuple[ServerName, ...] = ("uvicorn", "granian", "hypercorn")
CANNOT = {"granian": {"echo": "the handshake has no X-Request-ID"}}
"""What a server cannot do, with what its check then says: granian sends no headers with a WebSocket's acceptance."""


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_every_rule_holds(framework: str, server: ServerName) -> None:
    """REST, events, WebSocket, gRPC, gRPC-Web and Connect hold every rule of the suite."""
    async with running_orders(framework, server) as target:
        outcomes = await run_checks(target, GROUPS)
    assert len(outcomes) > 35
    failed = {outcome.check.name: outcome.why for outcome in outcomes if not outcome.passed}
    known = CANNOT.get(server, {})
    assert {name: why for name, why in failed.items() if name not in known or known[name] not in why} == {}
    assert set(known) <= set(failed), "the server can do it now"


async def test_frameworks_answer_alike() -> None:
    """Good and bad requests get the same status, content type and document from every framework."""
    found = {}
    for framework in FRAMEWORKS:
        async with running_orders(framework) as target:
            found[framework] = await answers(target)
    assert found["fastapi"] == found["starlette"]
    assert found["litestar"] == found["starlette"]
    assert found["quart"] == found["starlette"]


async def test_servers_answer_alike() -> None:
    """They get the same from every server."""
    found = []
    for server in SERVERS:
        async with running_orders("starlette", server) as target:
            found.append(await answers(target))
    assert found[1:] == found[:1] * 2
