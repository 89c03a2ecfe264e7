"""`headgate call` of services whose names, types and shapes are not the usual ones, over each wire."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator

import pytest

from headgate.service import App, Service, Struct, rpc
from headgate.service.registry import registry_from
from headgate.service.settings import ServiceSettings

WIRES = ["http", "grpc", "socket"]


class Item(Struct):
    """One thing."""

    sku: str
    count: int = 2**53 + 1


class Stock(Service, name="shop.old_stock-room", public=True):
    """A name of several parts."""

    @rpc
    async def get(self, sku: str) -> Item:
        """A record."""
        return Item(sku)

    @rpc
    async def total(self, parts: AsyncIterator[int]) -> int:
        """What is no record, both ways."""
        return sum([each async for each in parts])

    @rpc
    async def counts(self, sku: str) -> AsyncIterator[dict[str, int]]:
        """A stream of what is no record."""
        yield {sku: 1}
        yield {sku: 2}

    @rpc
    async def ping(self) -> None:
        """Nothing, both ways."""


@pytest.fixture
async def calling(tmp_path, headgate):
    """Calls what a registry knows, from another thread."""
    settings = ServiceSettings(debug=True, docs_public=True, rate_limit_default="off")
    url = f"file://{tmp_path / 'services.json'}"
    async with registry_from(url) as registry:
        app = App(Stock(), settings=settings, registry=registry)
        async with app.started():

            async def call(*arguments):
                return await asyncio.to_thread(headgate, "call", *arguments, "--registry", url)

            yield call


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_printed(calling, wire):
    """Whatever the wire, an answer is printed as it is: integers as numbers, no wrapper, nothing as nothing."""
    wanted = {
        ("Get", '{"sku": "tea"}'): ["{", '  "sku": "tea",', '  "count": 9007199254740993', "}"],
        ("Total", "[1, 2, 3]"): ["6"],
        ("Counts", '{"sku": "tea"}'): ['{"tea": 1}', '{"tea": 2}'],
        ("Ping", ""): [],
    }
    for (method, request), printed in wanted.items():
        done = await calling(f"shop.old_stock-room/{method}", request, "--wire", wire)
        lines = [line for line in done.out.splitlines() if "[info " not in line]
        assert (done.code, lines) == (0, printed), done.err


@pytest.mark.parametrize("name", ["shop.old_stock_room", "shop.old_stock_room.Stock"])
async def test_names(calling, name):
    """A service is found by its package, and by its name in full, as well."""
    done = await calling(f"{name}/Get", '{"sku": "tea"}')
    assert done.code == 0, done.err


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("line", "said"), [("{", "standard input is no JSON"), ("NaN", "NaN is no number")])
async def test_a_stream_that_breaks_off(calling, monkeypatch, wire, line, said):
    """A line that is no JSON ends the call, whatever was sent before, and is said to be the caller's mistake."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"1\n{line}\n".encode())))
    done = await calling("shop.old_stock-room/Total", "-", "--wire", wire)
    assert (done.code, said in done.err) == (2, True), done.err
