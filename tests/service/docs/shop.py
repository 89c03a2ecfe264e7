"""A service for generated clients, tools and the page to call: one method of every kind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from headgate.kit.controls.faults import FailedPrecondition
from headgate.service import Context, Meta, Service, Struct, require, rpc


class NewOrder(Struct):
    """What is wanted."""

    sku: str
    quantity: Annotated[int, Meta(ge=1, le=9)] = 1


class Number(Struct):
    """One of many."""

    number: int


class OutOfStock(FailedPrecondition):
    """There is less than was asked for."""

    default_code = "out_of_stock"

    class Details(Struct):
        """How much there is."""

        left: int


class Shop(Service, name="shop", version="1.0.0", public=True):
    """Sells things."""

    @rpc(post="/purchases", raises=[OutOfStock])
    async def place(self, order: NewOrder) -> NewOrder:
        """Order something.

        The answer is what was ordered.
        """
        if order.sku == "none":
            raise OutOfStock("there is none", details={"left": 0})
        if order.sku == "broken":
            raise RuntimeError("the secret of the shop")
        return order

    @rpc(get="/numbers", raises=[OutOfStock])
    async def count(self, upto: int = 3, stock: int = 1000) -> AsyncIterator[Number]:
        """Count, as far as there is stock."""
        for number in range(upto):
            if number == stock:
                raise OutOfStock("no more numbers", details={"left": 1})
            yield Number(number)

    @rpc
    async def wait(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    @rpc
    async def endless(self) -> AsyncIterator[Number]:
        """Say one number, and then nothing."""
        yield Number(0)
        await asyncio.Event().wait()

    @rpc
    async def total(self, numbers: AsyncIterator[int]) -> int:
        """Add up."""
        found = 0
        async for number in numbers:
            found += number
        return found

    @rpc
    async def echo(self, said: AsyncIterator[str]) -> AsyncIterator[str]:
        """Say the same."""
        async for each in said:
            yield each

    @rpc(idempotent="key")
    async def keyed(self, context: Context) -> list[str]:
        """Which key and which credentials came."""
        return [context.header("idempotency-key"), context.header("x-token")]

    @rpc(guard=require(roles={"clerk"}))
    async def guarded(self) -> str:
        """Something for clerks."""
        return "for clerks"

    @rpc
    async def nothing(self) -> None:
        """Do nothing."""
