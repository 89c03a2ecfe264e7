"""Probes and scrapers."""

import json
from typing import Any

import pytest

from headgate.kit.controls.call import Answer, Call
from headgate.kit.controls.faults import PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.probes import Probes
from tests.kit.controls.calls import call_of


async def all_well() -> tuple[bool, dict[str, Any]]:
    """Ready."""
    return True, {"status": "ready", "checks": {}}


async def going() -> tuple[bool, dict[str, Any]]:
    """On the way out."""
    return False, {"status": "draining", "checks": {}}


async def figures(accept: str) -> tuple[bytes, str]:
    """An exposition of one line."""
    return b"up 1\n", accept or "text/plain"


def probes(*, ready: Any = all_well, **choice: Any) -> Probes:
    """The control, with an exposition of one line."""
    return Probes(
        ready,
        lambda document: json.dumps(document).encode(),
        metrics=figures,
        scraper=lambda token: token == "scrape",
        **choice,
    )


async def answered(control: Probes, call: Call) -> Answer | None:
    """What the control answers, awaited or not."""
    verdict = control.admit(call)
    return verdict if verdict is None or isinstance(verdict, Answer) else await verdict


@pytest.mark.parametrize("path", ["/health", "/healthz"])
async def test_it_lives_while_it_drains(path: str) -> None:
    """Liveness answers 200 whatever readiness says: a restart would only make things worse."""
    answer = await answered(probes(ready=going), call_of(path))
    assert answer is not None
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')


@pytest.mark.parametrize(("ready", "status"), [(all_well, 200), (going, 503)])
async def test_readiness_says_why(ready: Any, status: int) -> None:
    """Readiness answers 200 or 503, with the checks."""
    answer = await answered(probes(ready=ready), call_of("/readyz"))
    assert answer is not None
    assert answer.status == status
    assert json.loads(answer.body)["checks"] == {}


@pytest.mark.parametrize(
    ("choice", "authorization", "principal", "shown"),
    [
        ({}, "", "", False),
        ({}, "Bearer wrong", "", False),
        ({}, "Bearer scrape", "", True),
        ({}, "", "ops", True),
        ({}, "", "shop", False),
        ({"metrics_public": True}, "", "", True),
    ],
)
async def test_metrics_are_for_scrapers(choice: Any, authorization: str, principal: str, shown: bool) -> None:
    """The exposition takes the scraper's token or a principal with the scope, unless it is public."""
    call = call_of("/metrics", headers={"authorization": authorization} if authorization else {})
    scopes = {"ops": frozenset({"*:read"}), "shop": frozenset({"orders:read"})}.get(principal, frozenset())
    call.principal = Principal(principal, scopes=scopes)
    if shown:
        answer = await answered(probes(**choice), call)
        assert answer is not None
        assert answer.body == b"up 1\n"
    else:
        with pytest.raises(PermissionDenied if principal else Unauthenticated):
            await answered(probes(**choice), call)


@pytest.mark.parametrize(("method", "path"), [("POST", "/health"), ("GET", "/orders"), ("GET", "/health/x")])
async def test_everything_else_is_the_applications(method: str, path: str) -> None:
    """Only reads of exactly these paths are answered here."""
    assert await answered(probes(), call_of(path, method=method)) is None
