"""What is kept of calls, over the kit's cache, in one process and in several."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from headgate.kit.controls.faults import Internal
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.service import Struct
from headgate.service.remember import Remembered, outcomes_of
from headgate.testing.valkey import valkey_or_skip

KEY = ("/shop.Orders/Get", "principal:ada", "f00")


class Order(Struct):
    """What is kept."""

    id: str


class Model(BaseModel):
    """The same of pydantic."""

    id: str


def memo(**settings: Any) -> Remembered:
    """The memo of a kit of its own."""
    return Remembered(Kit(HardeningSettings(**settings)).cache())


class Maker:
    """Makes values, and counts them."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self.count = 0

    async def __call__(self) -> Any:
        """The next value; an exception is raised."""
        await asyncio.sleep(0)
        self.count += 1
        value = self.values[min(self.count, len(self.values)) - 1]
        if isinstance(value, Exception):
            raise value
        return value


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Order, Order("1")), (Model, Model(id="1")), (list[Order], [Order("1")]), (None, None), (bytes, b"x")],
)
async def test_values_of_every_type_are_kept(kind, value):
    """What comes back is of the method's type, and the same."""
    make, kept = Maker(value), memo()
    for _ in range(2):
        assert await kept.run(KEY, 60, kind, make) == value
    assert make.count == 1


async def test_callers_at_the_same_time_share_one_call():
    """All who ask for the same at once wait for one call, and each gets a value of its own."""
    make, kept = Maker(Order("1")), memo()
    found = await asyncio.gather(*(kept.run(KEY, 60, Order, make) for _ in range(20)))
    assert make.count == 1
    assert len({id(each) for each in found}) == 20


async def test_errors_are_not_kept():
    """A call that failed is made again."""
    make, kept = Maker(ValueError("x"), Order("1")), memo()
    with pytest.raises(ValueError, match="x"):
        await kept.run(KEY, 60, Order, make)
    assert await kept.run(KEY, 60, Order, make) == Order("1")


async def test_a_value_that_is_not_of_its_type_is_a_defect():
    """What the method's own type cannot be made of is not kept, and is told as a defect."""
    with pytest.raises((Internal, ValueError)):
        await memo().run(KEY, 60, Order, Maker({"id": 7}))


async def test_types_do_not_meet():
    """The same key for another type is another value: an older form is not given to newer code."""
    kept = memo()
    await kept.run(KEY, 60, Order, Maker(Order("1")))
    assert await kept.run(KEY, 60, int, Maker(7)) == 7


async def test_outcomes_are_kept_whatever_the_cache_does():
    """Keys are remembered with the cache switched off, and what is large as well."""
    outcomes = outcomes_of(Kit(HardeningSettings(cache_enabled=False, cache_max_item=1_024)), keys_kept=60, keys_max=10)
    make = Maker("x" * 10_000)
    for _ in range(2):
        await outcomes.run(KEY, 60, str, make)
    assert make.count == 1
    await outcomes.aclose()


async def test_outcomes_are_bounded():
    """No more than `keys_max` are kept."""
    outcomes = outcomes_of(Kit(HardeningSettings()), keys_kept=60, keys_max=3)
    for number in range(9):
        await outcomes.run((*KEY, str(number)), 60, int, Maker(number))
    assert outcomes.cache.stats().entries == 3
    await outcomes.aclose()


async def test_processes_share_what_is_kept():
    """With a store, a key is done once by all processes, also by those that ask at the same time."""
    with valkey_or_skip() as valkey:
        settings = HardeningSettings(cache_redis_url=valkey.url)
        several = [outcomes_of(Kit(settings), keys_kept=60, keys_max=10) for _ in range(3)]
        make = Maker(Order("1"))
        found = await asyncio.gather(*(each.run(KEY, 60, Order, make) for each in several for _ in range(3)))
        assert found == [Order("1")] * 9
        assert make.count == 1
        for each in several:
            await each.aclose()
