"""Which `Host` is served, so that a forged one can neither poison links nor reach another site's code."""

from collections.abc import Collection, Iterable
from typing import ClassVar

from headgate.kit.controls.call import OVER_HTTP, Call, Control, Protocol
from headgate.kit.controls.faults import InvalidArgument


def without_port(host: str) -> str:
    """`host` in lower case, without port, trailing dot and the brackets of an IPv6 address.

    "" when what follows the name is no port: in a link, `a.example:80@b.example` leads to `b.example`.
    """
    host = host.strip().lower()
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    else:
        name, colon, port = host.rstrip(".").partition(":")
    if colon not in {"", ":"} or (port and not (port.isascii() and port.isdigit())):
        return ""
    return name.rstrip(".")


class TrustedHosts(Control):
    """Serves `hosts` only: names, addresses, or `*.example` for every name below `example`. Probes may use any."""

    name: ClassVar[str] = "hosts"
    protocols: ClassVar[frozenset[Protocol]] = OVER_HTTP

    def __init__(self, hosts: Iterable[str], exempt: Collection[str] = ()) -> None:
        known = [each.lower() for each in hosts]
        self._exact = frozenset(without_port(each) for each in known if not each.startswith("*"))
        self._below = tuple(each[1:] for each in known if each.startswith("*."))
        self._exempt = frozenset(exempt)
        self._any = "*" in known

    def admit(self, call: Call) -> None:
        """Refuse a foreign, missing or repeated host."""
        if self._any or call.path in self._exempt:
            return
        presented = call.values(b"host")
        host = without_port(presented[0].decode("latin-1")) if len(presented) == 1 else ""
        if host in self._exact or (self._below and host.endswith(self._below)):
            return
        raise InvalidArgument(
            "this host is not served here", code="untrusted_host", hint="call it by a name in trusted_hosts"
        )
