"""Listening sockets, and what to say when an address cannot be had.

Every fault names the setting to change: `api_port: 127.0.0.1:8080 is in use; set HEADGATE_API_PORT or --api-port`.

    bind(settings.host, settings.port, PortSetting("port", type(settings)))     # ... set PORT or --port
    bind(host, port, PortSetting("port"))                                       # ... give another port
"""

import errno
import socket
from typing import Final, Self

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument
from headgate.kit.settings import Settings, flag_of, variable_of

BACKLOG: Final = 4096


class PortSetting(str):
    """The name of a port's setting that knows the class it belongs to; without one, it is an argument's name.

    A plain name counts as one of a class with the usual prefix.
    """

    __slots__ = ("owner",)

    owner: type[Settings] | None

    def __new__(cls, name: str, owner: type[Settings] | None = None) -> Self:
        """The setting `name` of `owner`."""
        made = super().__new__(cls, name)
        made.owner = owner
        return made


def how_to_change(setting: str) -> str:
    """What to do about the port of this setting."""
    if not isinstance(setting, PortSetting):
        return f"set {variable_of(setting)} or {flag_of(setting)}"
    if setting.owner is None:
        return f"give another {setting}"
    return f"set {variable_of(setting, setting.owner)} or {flag_of(setting)}"


def host_setting(setting: str) -> str:
    """The setting of the host that belongs to a port: `api_host` for `api_port`, or `host` where all share one."""
    own = setting.removesuffix("port") + "host"
    if not isinstance(setting, PortSetting):
        return own
    if setting.owner is None or own not in setting.owner.model_fields:
        own = "host"
    return PortSetting(own, setting.owner)


def bind(host: str, port: int, setting: str, *, backlog: int = BACKLOG) -> socket.socket:
    """A listening TCP socket on `host`:`port`; 0 takes any free port. `setting` is the name of the port's setting.

    Raises FailedPrecondition (`address_in_use`, `address_unavailable`, `address_forbidden`) and
    InvalidArgument (`unknown_host`).
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        name = host_setting(setting)
        raise InvalidArgument(
            f"{name}: {host} is no address of this machine: {error.strerror}",
            code="unknown_host",
            hint=how_to_change(name),
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening at once keeps the port from whoever binds next, and clients wait instead of being refused.
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _refused(host, port, setting, error) from error
    return listener


def ensure_free(host: str, port: int, setting: str) -> None:
    """Raise the fault `bind` would, for an address that something else is about to listen on."""
    bind(host, port, setting).close()


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """A socket that keeps a port for servers that share it (SO_REUSEPORT), without listening. Raises what `bind` does.

    That nobody else has the port is known for the moment before it is taken.
    """
    with bind(host, port, setting) as probe:
        address, family = probe.getsockname(), probe.family
    keeper = socket.socket(family, socket.SOCK_STREAM)
    try:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(address)
    except OSError as error:
        keeper.close()
        raise _refused(host, port, setting, error) from error
    return keeper


def shown(host: str, port: int) -> str:
    """`host:port`, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refused(host: str, port: int, setting: str, error: OSError) -> Fault:
    address, change = shown(host, port), how_to_change(setting)
    if error.errno == errno.EADDRINUSE:
        return FailedPrecondition(f"{setting}: {address} is in use; {change}", code="address_in_use", hint=change)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return FailedPrecondition(
            f"{setting}: this user may not listen on {address}; {change}", code="address_forbidden", hint=change
        )
    name = host_setting(setting)
    change = how_to_change(name)
    return FailedPrecondition(
        f"{name}: {host} is no address of this machine ({error.strerror}); {change}",
        code="address_unavailable",
        hint=change,
    )
