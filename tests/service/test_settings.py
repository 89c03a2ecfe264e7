"""Every knob of an application changes what it does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.hardening import HardeningSettings
from headgate.service import App, Service, ServiceSettings, rpc
from headgate.service.client import CallOptions
from headgate.service.instances import advertised_host
from headgate.service.lock import update_lock
from headgate.service.registry import MemoryRegistry
from headgate.service.registry.instance import Instance
from headgate.testing.nats import nats_or_skip
from tests.service.shop import SETTLED, NewOrder, Order, Orders

Check = Callable[[Path, str], Awaitable[None]]
KNOBS: dict[str, Check] = {}


def knob(name: str) -> Callable[[Check], Check]:
    """Register the check of a setting, which is given an empty directory and a NATS server."""

    def add(check: Check) -> Check:
        assert name not in KNOBS
        KNOBS[name] = check
        return check

    return add


def app(*services: Service, **changes: Any) -> App:
    """An application with these settings."""
    told = {"access_log": False, "rate_limit_default": "off"} | changes
    return App(*(services or (Orders(),)), settings=ServiceSettings(**told))


async def told_of(**changes: Any) -> Instance:
    """What the registry is told of an application with these settings."""
    registry = MemoryRegistry()
    made = app(**changes).like(registry=registry)
    async with made.started():
        (instance,) = (await registry.get("orders")).instances
    await registry.aclose()
    return instance


class Counting(Service, name="counting", public=True):
    """Counts its calls."""

    calls = 0

    @rpc(idempotent="key")
    async def count(self) -> int:
        """How many there were."""
        self.calls += 1
        return self.calls

    @rpc
    async def silent(self) -> AsyncIterator[int]:
        """Say something at first, and then nothing."""
        yield 1
        await asyncio.sleep(0.5)

    async def again(self, running: Any, *keys: str) -> list[int]:
        """What calls with these keys return."""
        found = []
        for key in keys:
            stub = running.client(Counting, options=CallOptions(idempotency_key=key))
            found.append(await stub.count())
        return found


@knob("wires")
async def _wires(_directory: Path, _nats: str) -> None:
    assert set((await told_of(wires=("socket",))).endpoints) == {"socket"}
    assert set((await told_of()).endpoints) == {"http", "grpc", "socket"}
    with pytest.raises(ValueError, match="carrier-pigeon"):
        ServiceSettings(wires=("carrier-pigeon",))


@knob("registry")
async def _registry(_directory: Path, _nats: str) -> None:
    async with app(registry="memory://knob").started():
        from headgate.service.registry import registry_from

        registry = registry_from("memory://knob")
        assert len((await registry.get("orders")).instances) == 1
        await registry.aclose()
    with pytest.raises(InvalidArgument):
        app(registry="smoke-signals://hill").serving()


@knob("broker")
async def _broker(_directory: Path, nats: str) -> None:
    from headgate.service.broker import broker_from

    heard: asyncio.Queue[Order] = asyncio.Queue()

    class Ears(Orders):
        async def settled(self, event: Order) -> None:
            await heard.put(event)

    outside = broker_from(nats)
    await outside.start()
    async with app(Ears(), broker=nats).started():
        await outside.publish(SETTLED, Order("1", "tea"))
        assert await asyncio.wait_for(heard.get(), 10) == Order("1", "tea")
    await outside.aclose()


@knob("nats_url")
async def _nats_url(_directory: Path, nats: str) -> None:
    async with app(nats_url=nats).started() as running:
        assert (await running.client(Orders, wire="nats").get("7")).id == "7"
    assert (await told_of(nats_url=nats)).endpoints["nats"] == nats


@knob("advertise")
async def _advertise(_directory: Path, _nats: str) -> None:
    assert advertised_host(ServiceSettings(host="127.0.0.1")) == "127.0.0.1"
    assert advertised_host(ServiceSettings(host="0.0.0.0", advertise="shop.example")) == "shop.example"
    assert advertised_host(ServiceSettings(host="0.0.0.0")) not in ("", "0.0.0.0")
    registry = MemoryRegistry()
    made = app(advertise="shop.example", port=0, grpc_port=0).like(registry=registry)
    serving = made.serving()
    await serving.start()
    (instance,) = (await registry.get("orders")).instances
    await serving.stop()
    assert all("shop.example" in address for address in instance.endpoints.values())


@knob("zone")
async def _zone(_directory: Path, _nats: str) -> None:
    assert (await told_of(zone="eu-1a")).zone == "eu-1a"


@knob("instance_id")
async def _instance_id(_directory: Path, _nats: str) -> None:
    assert (await told_of(instance_id="one")).id == "one-orders"
    assert (await told_of()).id != (await told_of()).id


@knob("weight")
async def _weight(_directory: Path, _nats: str) -> None:
    assert (await told_of(weight=0.5)).weight == 0.5


@knob("socket_path")
async def _socket_path(_directory: Path, _nats: str) -> None:
    async with app(socket_path="/calls").started() as running:
        assert running.socket_url.endswith("/calls")
        assert (await running.client(Orders, wire="socket").get("7")).id == "7"


@knob("docs")
async def _docs(_directory: Path, _nats: str) -> None:
    for docs, status in ((True, 200), (False, 404)):
        async with app(docs=docs, docs_public=True).started() as running, httpx.AsyncClient() as http:
            assert (await http.get(f"{running.url}/openapi.json")).status_code == status


@knob("mcp")
async def _mcp(_directory: Path, _nats: str) -> None:
    for mcp, is_there in ((True, True), (False, False)):
        async with app(mcp=mcp).started() as running, httpx.AsyncClient() as http:
            assert ((await http.post(f"{running.url}/mcp", json={})).status_code != 404) is is_there


@knob("mcp_path")
async def _mcp_path(_directory: Path, _nats: str) -> None:
    async with app(mcp=True, mcp_path="/tools").started() as running, httpx.AsyncClient() as http:
        assert (await http.post(f"{running.url}/tools", json={})).status_code != 404
        assert (await http.post(f"{running.url}/mcp", json={})).status_code == 404


@knob("contracts")
async def _contracts(directory: Path, _nats: str) -> None:
    # The service reads the field by the number in its lock, the client sends it by another.
    lock = update_lock(Orders.contract())
    text = lock.text().replace('"sku": "string = 1"', '"sku": "string = 15"')
    assert text != lock.text()
    (directory / "orders.lock").write_text(text)
    async with app(contracts=directory).started() as running:
        assert (await running.client(Orders, wire="grpc").place(NewOrder("tea"))).sku == ""


@knob("keys_kept")
async def _keys_kept(_directory: Path, _nats: str) -> None:
    now = 0.0
    service = Counting()
    async with app(service, keys_kept=60).like(clock=lambda: now).started() as running:
        assert await service.again(running, "k", "k") == [1, 1]
        now = 61.0
        assert await service.again(running, "k") == [2]


@knob("keys_max")
async def _keys_max(_directory: Path, _nats: str) -> None:
    service = Counting()
    async with app(service, keys_max=1).started() as running:
        assert await service.again(running, "a", "b", "a") == [1, 2, 3]


@knob("heartbeat")
async def _heartbeat(_directory: Path, _nats: str) -> None:
    for heartbeat, beats in ((0.1, True), (0, False)):
        async with app(Counting(), heartbeat=heartbeat).started() as running, httpx.AsyncClient() as http:
            asked = {"accept": "text/event-stream"}
            answer = await http.post(f"{running.url}/counting.Counting/Silent", json={}, headers=asked)
            assert (sum(line.startswith(":") for line in answer.text.splitlines()) > 1) is beats


@knob("docs_paths")
async def _docs_paths(_directory: Path, _nats: str) -> None:
    for path in ("/docs", "/openapi.json", "/asyncapi.json", "/contract.json"):
        async with app().started() as running, httpx.AsyncClient() as http:
            assert (await http.get(f"{running.url}{path}")).status_code == 404


@pytest.fixture(scope="module")
def nats() -> Iterator[str]:
    """The URL of a NATS server."""
    with nats_or_skip() as server:
        yield server.url


@pytest.mark.parametrize("name", KNOBS)
async def test_every_knob_has_an_effect(name, tmp_path, nats):
    """Turned one way and the other, an application does something else."""
    await KNOBS[name](tmp_path, nats)


def test_every_knob_is_checked():
    """There is a check for each setting of the application's own."""
    own = {name for each in ServiceSettings.__mro__ if each.__module__ == ServiceSettings.__module__
           for name in each.__annotations__ if name in ServiceSettings.model_fields}  # fmt: skip
    assert set(KNOBS) == own
    assert own - HardeningSettings.model_fields.keys() == own - {"docs_paths"}


def test_settings_come_from_where_the_kits_do(tmp_path, monkeypatch):
    """Environment, file and flags set them, each value with its origin, and secrets are not shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY", "consul://127.0.0.1:8500")
    (tmp_path / "headgate.toml").write_text('zone = "eu-1"\nwires = "http, grpc"\n')
    settings = ServiceSettings.from_command_line(["--weight", "2"])
    assert (settings.zone, settings.weight, settings.wires) == ("eu-1", 2.0, ("http", "grpc"))
    assert settings.registry.get_secret_value() == "consul://127.0.0.1:8500"
    assert "consul" not in repr(settings)
    assert str(settings.origins()["zone"]).startswith("file")
