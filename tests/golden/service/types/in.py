"""Types of every sort, models of pydantic among them, and names that generated modules need themselves."""

import datetime as dt
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, UnsetType
from pydantic import BaseModel

from headgate.kit.controls.faults import InvalidArgument, NotFound
from headgate.service import Meta, Service, rpc
from headgate.service import Struct as Base


class Color(Enum):
    """A name and a value that differ."""

    RED = "dark-red"
    BLUE = "2-blue"


class Level(IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 9


class Point(Base, array_like=True):
    """Written as a list."""

    x: int
    y: int = 2


class Promise(Base):
    """Called like what TypeScript has."""

    text: str = 'says "yes" \\ \n'


class Struct(Base, kw_only=True):
    """Called like what a module needs."""

    first: int = 1
    class_: Annotated[str, Meta(max_length=3)] = "a"
    second: str


class Part(BaseModel):
    """Of a model."""

    weight: float = 1.5


class Model(BaseModel):
    """Of pydantic."""

    name: str
    parts: list[Part] = []
    size: int | None = None


class Everything(Base):
    """All there is."""

    id: UUID
    price: Decimal
    raw: bytes
    pair: tuple[int, str]
    many: tuple[int, ...]
    unique: set[int]
    table: dict[str, list[Point]]
    color: Color
    word: Literal["a", "b", 3]
    anything: Any
    either: int | str | None
    model: Model
    struct: Struct
    level: Level = Level.LOW
    when: Annotated[dt.datetime, Meta(tz=True)] | None = None
    day: dt.date | None = None
    span: dt.timedelta | None = None
    share: Annotated[float, Meta(ge=0, lt=1, description='How "much".')] = 0.5
    cost: Decimal = Decimal("1.5")
    favourite: Color = Color.BLUE
    maybe: int | UnsetType = UNSET
    children: list["Everything"] = []


class Missing(NotFound):
    """Nothing."""

    default_code = "not_there"
    Details = Promise


class Wrong(InvalidArgument):
    """Not right."""

    default_code = "wrong"


class Types(Service, name="all-types", public=True):
    """Takes and gives all sorts of things."""

    @rpc(raises=[Missing, Wrong])
    async def everything(self, everything: Everything) -> Everything:
        """Give it back."""
        return everything

    @rpc
    async def model(self, model: Model) -> Model:
        """Give it back."""
        return model

    @rpc(put="/points/{number}", raises=[Missing])
    async def many_things(
        self, number: int, points: list[Point], *, color: Color = Color.RED, promise: Promise | None = None
    ) -> dict[str, Promise] | None:
        """Take several."""
        return {str(number): Promise()} if points and promise and color else None


SERVICES = [Types]
