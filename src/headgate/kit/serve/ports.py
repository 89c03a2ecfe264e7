"""Listening sockets, and what to say when an address cannot be had.

Every fault names the setting to change: `api_port: 127.0.0.1:8080 is in use`.
"""

import errno
import socket
from typing import Final

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument
from headgate.kit.settings import flag_of, variable_of

BACKLOG: Final = 4096


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
        raise InvalidArgument(
            f"{_host_setting(setting)}: {host} is no address of this machine: {error.strerror}",
            code="unknown_host",
            hint=_how_to_change(_host_setting(setting)),
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
    address, change = shown(host, port), _how_to_change(setting)
    if error.errno == errno.EADDRINUSE:
        return FailedPrecondition(f"{setting}: {address} is in use; {change}", code="address_in_use", hint=change)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return FailedPrecondition(
            f"{setting}: this user may not listen on {address}; {change}", code="address_forbidden", hint=change
        )
    change = _how_to_change(_host_setting(setting))
    return FailedPrecondition(
        f"{_host_setting(setting)}: {host} is no address of this machine ({error.strerror}); {change}",
        code="address_unavailable",
        hint=change,
    )


def _host_setting(setting: str) -> str:
    return setting.removesuffix("_port") + "_host"


def _how_to_change(setting: str) -> str:
    return f"set {variable_of(setting)} or {flag_of(setting)}"
