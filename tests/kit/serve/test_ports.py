"""Listening sockets, and faults that name the setting."""

import socket

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.hardening import HardeningSettings
from headgate.kit.serve.ports import PortSetting, bind, ensure_free, host_setting, how_to_change, shown


def test_any_free_port():
    """Port 0 takes a free one, and it answers at once."""
    with bind("127.0.0.1", 0, "api_port") as listener, socket.create_connection(listener.getsockname()):
        pass


def test_a_taken_port_names_its_setting():
    """A port in use is a fault that says which setting to change and how."""
    with bind("127.0.0.1", 0, "api_port") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(FailedPrecondition) as caught:
            ensure_free("127.0.0.1", port, "api_port")
    assert caught.value.message == (f"api_port: 127.0.0.1:{port} is in use; set HEADGATE_API_PORT or --api-port")
    assert caught.value.code == "address_in_use"


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the system shares no ports")
def test_a_shared_port_is_taken():
    """A port whose listener would share it, as gRPC's do, is in use all the same."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(FailedPrecondition):
            ensure_free("127.0.0.1", listener.getsockname()[1], "xds_port")


def test_asking_does_not_take():
    """After asking whether a port is free it still is."""
    with bind("127.0.0.1", 0, "api_port") as listener:
        port = listener.getsockname()[1]
    ensure_free("127.0.0.1", port, "api_port")
    bind("127.0.0.1", port, "api_port").close()


@pytest.mark.parametrize(
    ("host", "fault", "code"),
    [
        ("192.0.2.1", FailedPrecondition, "address_unavailable"),
        ("no host", InvalidArgument, "unknown_host"),
    ],
)
def test_an_address_of_another_machine(host, fault, code):
    """An address that is not of this machine names the setting of the host."""
    with pytest.raises(fault, match="api_host: ") as caught:
        bind(host, 0, "api_port")
    assert caught.value.code == code
    assert "HEADGATE_API_HOST" in caught.value.hint


def test_a_port_of_the_system(monkeypatch):
    """A port the user may not have is told as such."""

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(FailedPrecondition, match="api_port: this user may not listen on") as caught:
        bind("127.0.0.1", 80, "api_port")
    assert caught.value.code == "address_forbidden"


def test_addresses_are_shown_as_urls_have_them():
    """An IPv6 address has brackets in front of a port."""
    assert (shown("::1", 80), shown("127.0.0.1", 80)) == ("[::1]:80", "127.0.0.1:80")


class Shop(HardeningSettings):
    """Settings of another prefix, with a host of its own for one port."""

    model_config = {"env_prefix": "SHOP_"}

    admin_host: str = "127.0.0.1"
    """Where its administration is."""
    admin_port: int = 0
    """Port of it."""


@pytest.mark.parametrize(
    ("setting", "port", "host"),
    [
        ("xds_port", "set HEADGATE_XDS_PORT or --xds-port", "set HEADGATE_XDS_HOST or --xds-host"),
        (PortSetting("port", HardeningSettings), "set PORT or --port", "set HOST or --host"),
        (PortSetting("grpc_port", HardeningSettings), "set GRPC_PORT or --grpc-port", "set HOST or --host"),
        (PortSetting("grpc_port", Shop), "set SHOP_GRPC_PORT or --grpc-port", "set SHOP_HOST or --host"),
        (PortSetting("admin_port", Shop), "set SHOP_ADMIN_PORT or --admin-port", "set SHOP_ADMIN_HOST or --admin-host"),
        (PortSetting("port"), "give another port", "give another host"),
    ],
)
def test_the_setting_there_really_is(setting, port, host):
    """What to change is called as the class it belongs to has it, and is an argument where there is no class."""
    assert (how_to_change(setting), how_to_change(host_setting(setting))) == (port, host)
