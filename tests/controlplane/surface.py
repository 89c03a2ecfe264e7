"""What the tests of an HTTP surface start from: a team of their own, and a client that acts on it."""

import itertools

import httpx

from headgate.testing.controlplane import RunningControlPlane

_numbers = itertools.count(1)


async def new_team(running: RunningControlPlane) -> str:
    """A team that has nothing yet."""
    name = f"team-{next(_numbers)}"
    answer = await running.client.post("/api/v1/teams", json={"name": name})
    assert answer.status_code == 201, answer.text
    return name


def client_of(running: RunningControlPlane, team: str, below: str) -> httpx.AsyncClient:
    """The admin's client, acting on the team, below a path; close it."""
    headers = {"authorization": f"Bearer {running.token}", "x-headgate-team": team}
    return httpx.AsyncClient(base_url=f"{running.url}{below}", headers=headers, trust_env=False, timeout=30.0)
