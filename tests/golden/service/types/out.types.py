"""Types 0.1.0: Takes and gives all sorts of things.

Generated from the contract of the service: change that, and generate it again.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from headgate.kit.controls.faults import InvalidArgument, NotFound
from headgate.service import Meta, Service, Struct, rpc


class Color(Enum):
    """A name and a value that differ."""

    VALUE_2_BLUE = "2-blue"
    DARK_RED = "dark-red"


class Level(Enum):
    """Numbers."""

    VALUE_1 = 1
    VALUE_9 = 9


class Everything(Struct):
    """All there is."""

    id: UUID
    price: Decimal
    raw: bytes
    pair: tuple[int, str]
    many: list[int]
    unique: set[int]
    table: dict[str, list[Point]]
    color: Color
    word: Literal[3, "a", "b"]
    anything: Any
    either: int | str | None
    model: Model
    struct: Struct2
    level: Level = Level.VALUE_1
    when: Annotated[dt.datetime, Meta(tz=True)] | None = None
    day: dt.date | None = None
    span: dt.timedelta | None = None
    share: Annotated[float, Meta(ge=0, lt=1, description='How "much".')] = 0.5
    cost: Decimal = Decimal("1.5")
    favourite: Color = Color.VALUE_2_BLUE
    maybe: int | UnsetType = UNSET
    children: list[Everything] = []


class Model(Struct):
    """Of pydantic."""

    name: str
    parts: list[Part] = []
    size: int | None = None


class Part(Struct):
    """Of a model."""

    weight: float = 1.5


class Point(Struct, array_like=True):
    """Written as a list."""

    field1: int
    field2: int = 2


class Promise(Struct):
    """Called like what TypeScript has."""

    text: str = 'says "yes" \\ \n'


class Struct2(Struct, kw_only=True):
    """Called like what a module needs."""

    first: int = 1
    class_: Annotated[str, Meta(max_length=3)] = "a"
    second: str


class NotThere(NotFound):
    """Nothing."""

    default_code = "not_there"

    Details = Promise


class Wrong(InvalidArgument):
    """Not right."""

    default_code = "wrong"


class Types(Service, name="all-types", version="0.1.0", public=True):
    """Takes and gives all sorts of things."""

    @rpc(raises=[NotThere, Wrong])
    async def everything(self, everything: Everything) -> Everything:
        """Give it back."""
        raise NotImplementedError

    @rpc
    async def model(self, model: Model) -> Model:
        """Give it back."""
        raise NotImplementedError

    @rpc(put="/points/{number}", raises=[NotThere])
    async def many_things(
        self,
        number: int,
        points: list[Point],
        color: Color = Color.DARK_RED,
        promise: Promise | None = None,
    ) -> dict[str, Promise] | None:
        """Take several."""
        raise NotImplementedError
