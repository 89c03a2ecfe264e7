"""Tests of how an address of an instance is opened."""

import pytest

from headgate.service.client import Client
from headgate.service.client.wires.choose import SOCKET_PATH
from headgate.service.registry.consul_form import address
from headgate.service.registry.instance import Instance
from headgate.service.registry.memory import MemoryRegistry
from headgate.service.settings import ServiceSettings
from tests.service.client.served import over
from tests.service.shop import Order, Orders


@pytest.mark.parametrize("wire", ["socket", "ws"])
async def test_a_socket_known_by_its_port_is_found(wire):
    """What is known of a socket may be its port alone: it is where services have theirs unless they are told."""
    async with over("socket") as told, MemoryRegistry() as registry:
        port = told["address"].split(":")[2].split("/")[0]
        endpoints = {wire: address(wire, f"127.0.0.1:{port}")}
        async with (
            await registry.register(Instance(id="orders-1", service="orders", endpoints=endpoints)),
            Client(Orders, registry=registry) as orders,
        ):
            assert await orders.get("o-1") == Order("o-1", "tea")


def test_that_place_is_the_setting_s():
    """The place is the default of the setting that says where the socket is."""
    assert ServiceSettings.model_fields["socket_path"].default == SOCKET_PATH
