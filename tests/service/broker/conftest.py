"""A NATS server for the brokers that need one, and a broker of each sort on a stream and subjects of its own."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from headgate.service.broker import Broker, broker_from
from headgate.testing.nats import Nats, nats_or_skip


@pytest.fixture(scope="session")
def nats() -> Iterator[Nats]:
    """One server for all tests that do not stop it."""
    with nats_or_skip() as server:
        yield server


@dataclass
class Place:
    """A broker, where its subjects are, and how to make another of the same."""

    broker: Broker
    prefix: str
    url: str

    def subject(self, name: str) -> str:
        """A subject of this test's own."""
        return f"{self.prefix}.{name}"


@pytest.fixture(params=["memory", "nats", "jetstream"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A started broker of each sort."""
    prefix = f"t{secrets.token_hex(4)}"
    url = "memory://"
    if request.param != "memory":
        server: Any = request.getfixturevalue("nats")
        url = f"{request.param}://127.0.0.1:{server.port}"
        if request.param == "jetstream":
            url += f"?stream={prefix}&subjects={prefix}.>"
    broker = broker_from(url)
    await broker.start()
    yield Place(broker, prefix, url)
    await broker.aclose()
