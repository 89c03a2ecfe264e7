"""A service with one method of every kind, for the tests of the core."""

from collections.abc import AsyncIterator
from typing import Annotated

from headgate.kit.controls.faults import FailedPrecondition
from headgate.service import Context, Meta, Service, Struct, Topic, on, rpc


class NewOrder(Struct):
    """What is asked for."""

    sku: str
    quantity: Annotated[int, Meta(ge=1)] = 1


class Order(Struct):
    """What was asked for, under an id."""

    id: str
    sku: str
    quantity: int = 1


class OutOfStock(FailedPrecondition):
    """There is less than was asked for."""

    default_code = "out_of_stock"

    class Details(Struct):
        """How much there is."""

        left: int


SETTLED = Topic("payments.settled", Order)


class Orders(Service, name="orders", version="1.2.0", public=True):
    """Orders of a shop."""

    @rpc(get="/orders/{key}", raises=[OutOfStock])
    async def get(self, key: str, verbose: bool = False) -> Order:
        """One order."""
        if key == "none":
            raise OutOfStock("there is none", details={"left": 0})
        if key == "odd":
            raise OutOfStock("there is none", details={"left": "some"})
        return Order(key, "long" if verbose else "tea")

    @rpc(post="/orders", idempotent="key")
    async def place(self, order: NewOrder, context: Context) -> Order:
        """Place one."""
        return Order(context.principal.id or "anybody", order.sku, order.quantity)

    @rpc
    async def track(self, key: str) -> AsyncIterator[Order]:
        """Follow one."""
        for number in range(3):
            yield Order(key, "tea", number)

    @rpc
    async def upload(self, orders: AsyncIterator[NewOrder]) -> int:
        """Place many."""
        return sum([each.quantity async for each in orders])

    @rpc
    async def chat(self, orders: AsyncIterator[NewOrder]) -> AsyncIterator[Order]:
        """Place them as they come."""
        async for each in orders:
            yield Order("chat", each.sku, each.quantity)

    @on(SETTLED, group="orders", retries=2)
    async def settled(self, event: Order) -> None:
        """An order was paid."""
