"""Faults on purpose."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from headgate.kit.controls.faults import Unavailable
from headgate.testing.clock import FakeClock
from headgate.testing.faults import FaultInjector


async def double(number: int) -> int:
    """Work as it should."""
    return number * 2


async def test_it_fails_as_often_as_told() -> None:
    """A rule with `times` fails that often, then the callee is well again."""
    faults = FaultInjector()
    faults.add("orders", error=Unavailable("down"), times=2)
    orders, stock = faults.wrap("orders", double), faults.wrap("stock", double)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await orders(1)
    assert (await orders(1), await stock(2)) == (2, 4)
    assert faults.injected == 2


async def test_a_seed_shows_the_same_again() -> None:
    """With one seed the same calls fail, with another one others."""

    async def failures(seed: int) -> list[bool]:
        faults = FaultInjector(seed)
        faults.add(error=Unavailable("down"), share=0.3)
        callee = faults.wrap("any", double)
        failed = []
        for number in range(50):
            try:
                await callee(number)
            except Unavailable:
                failed.append(True)
            else:
                failed.append(False)
        return failed

    assert await failures(7) == await failures(7)
    assert await failures(7) != await failures(8)
    assert 5 < sum(await failures(7)) < 30


async def test_it_can_be_slow_on_a_fake_clock() -> None:
    """A delay passes on the clock that was given."""
    clock = FakeClock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    faults = FaultInjector(sleep=sleep)
    faults.add("orders", delay=30)
    assert await faults.wrap("orders", double)(1) == 2
    assert slept == [30]


async def test_an_application_is_cut_off_in_the_middle() -> None:
    """An application sends as much of its body as it may, then breaks off; other paths are well."""

    async def parts() -> object:
        for part in ("a", "b", "c"):
            yield part

    app = Starlette(
        routes=[
            Route("/parts", lambda _: StreamingResponse(parts())),
            Route("/", lambda _: PlainTextResponse("well")),
        ]
    )
    faults = FaultInjector()
    faults.add("/parts", cut_after=2)
    transport = httpx.ASGITransport(faults.app(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with pytest.raises(ConnectionResetError):
            await http.get("/parts")
        assert (await http.get("/")).text == "well"
        faults.clear()
        assert (await http.get("/parts")).text == "abc"
