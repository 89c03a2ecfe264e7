"""The order service that the conformance applications serve, whatever their framework.

    POST /orders {"name": 1 to 20 characters, "quantity": 1 to 100, default 1}   200 the order
    GET  /orders/{id}            404 `unknown_order` unless it is "1"
    GET  /boom                   an exception that nobody foresaw, with a secret in its text
    GET  /fault                  a fault with a hint and `retry_after`
    GET  /slow                   answers after a minute
    GET  /events?count=3         server-sent events; `?fail=1` fails after the first, `?stall=1` stops after it
    WS   /echo                   says what it hears; "boom" raises

It also counts who left early: `left` holds the paths of calls that were cancelled.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from headgate.kit.controls.faults import NotFound, Unavailable

SECRET: Final = "hunter2-api_key=abc"  # noqa: S105 - planted, to be looked for in answers
left: list[str] = []


class Order(BaseModel):
    """An order."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=20)
    quantity: int = Field(default=1, ge=1, le=100)


def find(order: str) -> dict[str, Any]:
    """Look an order up. Raises NotFound."""
    if order != "1":
        raise NotFound("there is no such order", code="unknown_order", hint="GET /orders/1")
    return {"name": "tea", "quantity": 1}


def boom() -> None:
    """Raise an exception with a secret in it."""
    raise RuntimeError(f"connection to {SECRET} failed")


def fault() -> None:
    """Raise a fault as a dependency would."""
    raise Unavailable("the warehouse is closed", code="warehouse_closed", hint="try again", retry_after=7)


async def slow(seconds: float = 60.0) -> dict[str, Any]:
    """Take long; note it when the caller does not wait."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        left.append("/slow")
        raise
    return {"done": True}


async def events(count: int = 3, *, fail: bool = False, stall: bool = False) -> AsyncIterator[bytes]:
    """Frames of an event stream, one `data: N` each."""
    try:
        for number in range(count):
            yield b"data: %d\n\n" % number
            if fail:
                boom()
            if stall:
                await asyncio.sleep(60)
            await asyncio.sleep(0)
    except (asyncio.CancelledError, GeneratorExit):
        left.append("/events")
        raise
