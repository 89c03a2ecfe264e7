"""What several tests of the native server share: budgets, and callers of some kinds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from headgate.kit.controls.call import Budget, Call, Control
from tests.kit.grpc.echo import finish


class Limits(Control):
    """Gives every call this budget."""

    name = "deadline"

    def __init__(self, **budget: float) -> None:
        self.budget = Budget(**budget)

    def identify(self, call: Call) -> None:
        call.budget = self.budget


async def silence() -> AsyncIterator[Any]:
    """Requests that do not come: a client of grpc.aio that still sends misses why it was refused."""
    await asyncio.Event().wait()
    yield


async def failing(call: Any) -> grpc.aio.AioRpcError:
    """The error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finish(call)
    return caught.value
