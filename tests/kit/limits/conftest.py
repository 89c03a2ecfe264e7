"""A real Valkey for the tests of the shared store."""

import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from headgate.kit.limits.redis import RedisStore
from headgate.testing.valkey import Valkey, valkey_or_skip

Open = Callable[..., RedisStore]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server of this test's own, which it may stop and start."""
    with valkey_or_skip() as server:
        yield server


@pytest.fixture
async def opened(valkey: Valkey) -> AsyncIterator[Open]:
    """Opens stores in that server, and closes them afterwards."""
    if not os.environ.get("CI"):
        pytest.importorskip("redis", reason="needs the extra redis")
    made: list[RedisStore] = []

    def open_one(**options) -> RedisStore:
        made.append(RedisStore(valkey.url, **{"timeout": 20.0, **options}))
        return made[-1]

    yield open_one
    for store in made:
        await store.aclose()
