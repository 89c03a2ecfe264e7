"""A service that has a field of every kind, and a method of every kind."""

import enum
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic import BaseModel, Field

from headgate.kit.controls.faults import FailedPrecondition
from headgate.service import Service, rpc

T = TypeVar("T")


class Color(enum.Enum):
    """What it looks like."""

    RED = "r"
    GREEN = "g"


class Size(enum.IntEnum):
    SMALL = -1
    LARGE = 7


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


class Huge(enum.IntEnum):
    FAR = 2**40


class Card(Struct, tag=True, frozen=True):
    number: str


class Cash(Struct, tag="cash", tag_field="way", frozen=True):
    amount: int = 5


class Transfer(Struct, tag="cash-less", tag_field="way", frozen=True):
    iban: str


class Item(Struct, frozen=True):
    """One line of an order."""

    sku: str
    quantity: Annotated[int, Meta(ge=1, description="How many; at least one.")] = 1


class Page(Struct, Generic[T]):
    items: list[T]
    following: str | None = None


class Pair(Struct, array_like=True):
    left: int
    right: str = ""


@dataclass
class Address:
    street: str
    number: int | None = None


class Note(TypedDict):
    text: str
    by: NotRequired[str]


class Person(BaseModel):
    """Somebody, as pydantic has them."""

    name: str = Field(alias="fullName", min_length=1)
    born: date | None = None
    nick: list[str] = []


class Everything(Struct, rename="camel"):
    """A field of every kind."""

    whole: int
    real: float
    yes: bool
    text: str
    raw: bytes
    when: datetime
    day: date
    clock: time
    span: timedelta
    id: uuid.UUID
    price: Decimal
    color: Color
    size: Size
    level: Level
    literal: Literal["a-b", "c"]
    way: Cash | Transfer
    items: list[Item]
    matrix: list[list[int]]
    holes: list[int | None]
    ways: list[Cash | Transfer]
    unique: set[str]
    many: tuple[float, ...]
    pair: Pair
    mixed: tuple[int, str]
    by_name: dict[str, Item]
    by_id: dict[uuid.UUID, list[int]]
    by_number: dict[int, str | None]
    by_color: dict[Color, bool]
    anything: Any
    either: int | str
    address: Address
    note: Note
    page: Page[Item]
    local: Annotated[datetime, Meta(tz=False)]
    user_name: str = "nobody"
    class_: int = msgspec.field(name="class", default=3)
    maybe: int | None = None
    perhaps: str | UnsetType | None = UNSET
    default_color: Color = Color.GREEN
    maybe_way: Cash | Transfer | None = None
    maybe_items: list[Item] | None = None
    some: list[int] = msgspec.field(default_factory=lambda: [1, 2])
    none_by_default: int | None = 4
    huge: Huge = Huge.FAR
    card: Card | None = None
    child: "Everything | None" = None


class OutOfStock(FailedPrecondition):
    """There is less than was asked for."""

    default_code = "out_of_stock"

    class Details(Struct):
        """How much there is."""

        left: int


class Shop(Service, name="shop", public=True):
    """A shop.

    Sells tea.
    """

    @rpc(idempotent=True)
    async def echo(self, thing: Everything) -> Everything:
        """Give back what came."""
        return thing

    @rpc(get="/items/{sku}")
    async def item(self, sku: str, quantity: Annotated[int, Meta(ge=1)] = 1) -> Item:
        """One item."""
        return Item(sku, quantity)

    @rpc(raises=[OutOfStock], deprecated=True)
    async def buy(self, item: Item) -> None:
        raise OutOfStock("only 2 are left", details={"left": 2})

    @rpc
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @rpc
    async def total(self, items: AsyncIterator[Item]) -> list[Item]:
        return [item async for item in items]

    @rpc
    async def chat(self, said: AsyncIterator[str]) -> AsyncIterator[Item]:
        async for text in said:
            yield Item(text)

    @rpc
    async def nothing(self) -> int | None:
        return None

    @rpc
    async def person(self, person: Person) -> dict[str, list[str]]:
        return {person.name: person.nick}

    @rpc
    async def broken(self) -> int:
        return 2**63
