"""Tests of the file's own ways."""

import asyncio
import json
import time

import pytest
import yaml

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry import FileRegistry, Instance
from headgate.service.registry.file import read
from tests.service.registry.conftest import quick
from tests.service.registry.test_conformance import fresh, seen


def client(path, **options) -> FileRegistry:
    """A registry on that file."""
    return FileRegistry(path, **{"interval": 0.02, "ttl": 0.6, **options}, policy=quick())


async def test_yaml_as_written_by_hand(tmp_path):
    """YAML written by hand is read, with all that an instance may tell."""
    path = tmp_path / "services.yaml"
    path.write_text(
        """
services:
  orders:
    - id: orders-1
      version: 1.2.0
      zone: eu-1a
      weight: 0.5
      endpoints: {http: "http://10.0.0.1:8080"}
      metadata: {team: shop}
  payments: []
"""
    )
    async with client(path) as registry:
        (found,) = (await registry.get("orders")).instances
        assert (found.version, found.zone, found.weight, found.metadata) == ("1.2.0", "eu-1a", 0.5, {"team": "shop"})
        assert await registry.services() == {"orders": ("1.2.0",)}


@pytest.mark.parametrize(
    ("text", "pointers", "said"),
    [
        ("services: [", [], "line 1"),
        ("- a", [""], "an object"),
        ("services: {orders: x}", ["/services/orders"], "a list"),
        ("services: {orders: [{}]}", ["/services/orders/0/id"], "required"),
        ("services: {orders: [{id: a, weight: heavy}]}", ["/services/orders/0/weight"], "weight"),
        (
            "services: {orders: [{id: a, wieght: 1}, {id: 'b c'}]}",
            ["/services/orders/0/wieght", "/services/orders/1/id"], "unknown",
        ),
        ("services: {orders: [7]}", ["/services/orders/0"], "an object"),
        ("services: {orders: [{id: a, expires: soon}]}", ["/services/orders/0/expires"], "seconds"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_where(tmp_path, text, pointers, said):
    """A document that is wrong is refused with every place that is, and in words."""
    path = tmp_path / "services.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument) as raised:
        read(path)
    assert raised.value.code == "invalid_registry_file"
    assert [each.pointer for each in raised.value.violations] == pointers
    assert said in raised.value.message


async def test_a_broken_document_keeps_the_last(tmp_path):
    """While the document is wrong the last good one is served, stale, with what is wrong as the reason."""
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"services": {"orders": [{"id": "x-a"}]}}))
    async with client(path) as registry:
        watch = registry.watch("orders")
        await seen(watch, fresh("a"))
        path.write_text("{")
        stale = await seen(watch, lambda each: each.stale)
        assert len(stale.instances) == 1
        assert "no JSON" in stale.reason
        path.write_text(json.dumps({"services": {"orders": [{"id": "x-b"}]}}))
        await seen(watch, fresh("b"))


async def test_the_dead_expire(tmp_path):
    """What a process registered that died is left out once it expired, and removed by the next who writes."""
    path = tmp_path / "services.yaml"
    soon = time.time() + 0.3
    path.write_text(yaml.safe_dump({"services": {"orders": [{"id": "x-a", "expires": soon}, {"id": "x-b"}]}}))
    async with client(path) as registry:
        watch = registry.watch("orders")
        await seen(watch, fresh("a", "b"))
        await seen(watch, fresh("b"))
        async with await registry.register(Instance(id="x-c", service="orders")):
            assert [each["id"] for each in yaml.safe_load(path.read_text())["services"]["orders"]] == ["x-b", "x-c"]


async def test_many_write_at_once(tmp_path):
    """Many who register at the same time lose nothing of each other, and what others wrote stays."""
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"services": {"other": [{"id": "kept"}]}}))
    clients = [client(path, ttl=30.0) for _ in range(8)]
    try:
        await asyncio.gather(
            *(each.register(Instance(id=f"x-{n}", service="orders")) for n, each in enumerate(clients))
        )
        services = json.loads(path.read_text())["services"]
        assert sorted(each["id"] for each in services["orders"]) == [f"x-{n}" for n in range(8)]
        assert services["other"] == [{"id": "kept"}]
    finally:
        await asyncio.gather(*(each.aclose() for each in clients))
    assert json.loads(path.read_text())["services"] == {"other": [{"id": "kept"}]}
    assert not list(tmp_path.glob(".services.json.*[!k]"))
