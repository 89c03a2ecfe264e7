"""A library behind the wire, and a client that needs no socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from tests.service.transports.http.library import Library, Seen


@pytest.fixture
def seen() -> Seen:
    """What the handlers saw."""
    return Seen()


@pytest.fixture
def wire(seen: Seen) -> HttpWire:
    """The library over HTTP."""
    return HttpWire(host([Library(seen=seen)]), max_body_size=2_000, max_message_size=200)


@pytest.fixture
async def http(wire: HttpWire) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(wire), base_url="http://test") as client:
        yield client
