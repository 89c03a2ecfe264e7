"""Orders 1.2.0: Orders of a shop.

Generated from the contract of the service: change that, and generate it again.
"""

# ruff: noqa: B006

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from enum import Enum
from typing import Annotated, Final

from headgate.kit.controls.faults import FailedPrecondition, NotFound
from headgate.service import AUTHENTICATED, Meta, Service, Struct, Topic, require, rpc


class State(Enum):
    """How far an order is."""

    OPEN = "open"
    PAID = "paid"


class Card(Struct, tag="card"):
    """Paid by card."""

    last_digits: Annotated[str, Meta(pattern="^[0-9]{4}$")]


class Invoice(Struct, tag="invoice"):
    """Paid later."""

    days: Annotated[int, Meta(ge=1, le=90)] = 30


class Line(Struct, rename="camel"):
    """So many of one thing."""

    sku: Annotated[
        str, Meta(pattern="^[a-z0-9-]+$", min_length=1, max_length=40, description="What the shop calls it.")
    ]
    how_many: Annotated[int, Meta(ge=1, le=100)] = 1
    notes: list[str] = []


class NewOrder(Struct, forbid_unknown_fields=True):
    """What is wanted."""

    lines: Annotated[list[Line], Meta(min_length=1)]
    payment: Card | Invoice | None = None
    labels: dict[str, str] = {}


class Order(Struct):
    """What was ordered."""

    id: str
    lines: list[Line]
    state: State = State.OPEN
    due: dt.date | None = None


class OrderEvent(Struct):
    """What became of an order."""

    order: str
    state: State


class Receipt(Struct):
    """How many came."""

    count: int


class OrderNotFound(NotFound):
    """There is no such order."""

    default_code = "order_not_found"


class OutOfStock(FailedPrecondition):
    """There is less than was asked for."""

    default_code = "out_of_stock"

    class Details(Struct):
        """How much there is."""

        sku: str
        left: int


PAYMENTS_SETTLED: Final = Topic("payments.settled", OrderEvent)


class Orders(Service, name="orders", version="1.2.0", guard=AUTHENTICATED):
    """Orders of a shop."""

    @rpc(get="/orders/{number}", public=True, cache=30.0, raises=[OrderNotFound])
    async def get(self, number: str, verbose: bool = False) -> Order:
        """One order.

        With `verbose`, all there is to know.
        """
        raise NotImplementedError

    @rpc(get="/orders", guard=require(scopes={"orders:read"}))
    async def find(
        self,
        text: str = "",
        states: list[State] = [],
        limit: Annotated[int, Meta(ge=1, le=1000)] = 100,
        shape: Line | None = None,
    ) -> list[Order]:
        """Orders that contain a text."""
        raise NotImplementedError

    @rpc(
        post="/orders",
        status=201,
        guard=require(roles={"clerk", "manager"}, permissions={"orders:place:own"}),
        timeout=5.0,
        idempotent="key",
        tags=["checkout"],
        raises=[OutOfStock],
    )
    async def place(self, order: NewOrder) -> Order:
        """Order something."""
        raise NotImplementedError

    @rpc(put="/orders/{number}", idempotent=True, raises=[OrderNotFound, OutOfStock])
    async def change(self, number: str, order: NewOrder) -> Order:
        """Replace an order."""
        raise NotImplementedError

    @rpc(delete="/orders/{number}", deprecated=True, raises=[OrderNotFound])
    async def cancel(self, number: str, reason: str = "") -> None:
        """Forget an order."""
        raise NotImplementedError

    @rpc(get="/orders/{number}/events")
    def track(self, number: str) -> AsyncIterator[OrderEvent]:
        """What becomes of an order, as it happens."""
        raise NotImplementedError

    @rpc(post="/lines")
    async def upload(self, messages: AsyncIterator[Line]) -> Receipt:
        """Many lines at once."""
        raise NotImplementedError

    @rpc
    def talk(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        """Say something, hear something."""
        raise NotImplementedError

    @rpc(get="/health/{rest:path}", public=True, summary="Ask how it is")
    async def ping(self, rest: str = "") -> str:
        """Answer, when all is well."""
        raise NotImplementedError
