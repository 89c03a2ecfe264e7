"""What the reference service is sent and sends: every sort of type that a contract may hold."""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal, TypedDict
from uuid import UUID

from msgspec import Meta, Struct, field
from pydantic import BaseModel, Field

from headgate.kit.controls.faults import FailedPrecondition, ResourceExhausted
from headgate.service.topic import Topic


class Colour(enum.Enum):
    """An enum of text."""

    RED = "red"
    GREEN = "grün"


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = -1
    HIGH = 10


class Circle(Struct, tag="circle", frozen=True):
    """One of a union."""

    radius: float


class Square(Struct, tag="square", frozen=True):
    """The other one."""

    side: float
    name: str = ""


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int = 0


class Named(TypedDict):
    """A typed dictionary."""

    name: str
    age: int


class Part(Struct):
    """A record within one, and within itself."""

    name: str
    count: int = 1
    parts: list["Part"] = []


class Everything(Struct):
    """One field of each sort."""

    text: str
    whole: int
    ratio: float
    yes: bool
    raw: bytes
    moment: datetime
    day: date
    clock: time
    span: timedelta
    uid: UUID
    price: Decimal
    colour: Colour
    level: Level
    literal: Literal["one", "two"]
    maybe: int | None
    either: int | str
    shape: Circle | Square
    part: Part
    point: Point
    named: Named
    renamed: str = field(name="reNamed", default="")
    words: list[str] = []
    pair: tuple[int, str] = (0, "")
    several: tuple[int, ...] = ()
    bag: set[int] = set()
    frozen: frozenset[str] = frozenset()
    counts: dict[str, int] = {}
    numbered: dict[int, str] = {}
    shapes: list[Circle | Square] = []
    maybes: list[int | None] = []
    local: Annotated[datetime, Meta(tz=False)] | None = None


EVERYTHING = Everything(
    text='naïve \u2013 日本語 🙂 \u2028 \x00 "\\',
    whole=-(2**63),
    ratio=0.1,
    yes=True,
    raw=bytes(range(256)),
    moment=datetime(2024, 2, 29, 23, 59, 59, 123456, UTC),
    day=date(1969, 12, 31),
    clock=time(23, 59, 59, 999999),
    span=timedelta(days=-1, microseconds=1),
    uid=UUID("12345678-1234-5678-1234-567812345678"),
    price=Decimal("1234567890.0100"),
    colour=Colour.GREEN,
    level=Level.LOW,
    literal="two",
    maybe=None,
    either="7",
    shape=Square(2.5, "ein Quadrat"),
    part=Part("a", 0, [Part("b", 2, [Part("c")])]),
    point=Point(-1),
    named={"name": "Zoë", "age": 3},
    renamed="yes",
    words=["", "ä", " "],
    pair=(1, "x"),
    several=(3, 2, 1),
    bag={1, 2},
    frozen=frozenset({"a", "b"}),
    counts={"": 1, "schlüssel/~": 2},
    numbered={1: "one", -2: "two"},
    shapes=[Circle(1.0), Square(2.0)],
    maybes=[1, None, 0],
    local=datetime(2024, 1, 1, 12, 0, 0),  # noqa: DTZ001 - one without a zone is one of the sorts
)
"""A value in which each field is hard for somebody."""


class Address(BaseModel):
    """A pydantic model within one."""

    street: str
    number: int = Field(gt=0)


class Person(BaseModel):
    """A pydantic model."""

    name: str = Field(min_length=1)
    born: date | None = None
    addresses: list[Address] = []


class Household(Struct):
    """A struct with pydantic models in it."""

    head: Person
    members: list[Person] = []


class Line(Struct):
    """A line of it."""

    name: Annotated[str, Meta(min_length=1)]


class Strict(Struct, forbid_unknown_fields=True):
    """What is easily got wrong."""

    sku: Annotated[str, Meta(min_length=2)]
    quantity: Annotated[int, Meta(ge=1, le=100)]
    lines: list[Line] = []


class Item(Struct):
    """One message of a stream."""

    number: int
    text: str = ""


class Total(Struct):
    """What came of a stream."""

    count: int
    sum: int


class Seen(Struct):
    """What a handler sees of its call."""

    method: str
    wire: str
    request_id: str
    trace: str = ""
    principal: str = ""
    remaining: float | None = None
    header: str = ""


class Happening(Struct):
    """An event."""

    key: str
    text: str = ""
    failures: int = 0


class OutOfStock(FailedPrecondition):
    """There is less than was asked for."""

    default_code = "out_of_stock"

    class Details(Struct):
        """What programs need to know."""

        left: int
        places: list[str] = []


class Undeclared(ResourceExhausted):
    """A fault that no method declares."""

    default_code = "undeclared"


HAPPENED = Topic("conformance.happened", Happening)
SHARED = Topic("conformance.shared", Happening)
TROUBLED = Topic("conformance.troubled", Happening)
