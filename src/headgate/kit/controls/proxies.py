"""The client behind trusted proxies: its address and whether it came by HTTPS.

Only what proxies in the given networks wrote is believed: the header is read from its right end, past the
trusted ones, to the first address that is not. What the client itself may have put before is ignored.
X-Forwarded-For and -Proto are the de facto form, `Forwarded` is RFC 7239.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import ClassVar, Final, Literal

from headgate.kit.controls.call import OVER_HTTP, Call, Control, Protocol

Address = IPv4Address | IPv6Address

_MOST_HOPS: Final = 64
_REMEMBERED: Final = 4_096


def parse_address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1` or `[2001:db8::1]:80`, quoted or not; else None."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class TrustedProxies(Control):
    """Tells clients from proxies. `header` is the one the proxies write."""

    name: ClassVar[str] = "proxies"
    protocols: ClassVar[frozenset[Protocol]] = OVER_HTTP | {"grpc"}
    """Nobody forwards the others: their headers are their callers' own."""

    def __init__(
        self, networks: Iterable[str], header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    ) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(each, strict=False) for each in networks
        )
        self._forwarded = header == "forwarded"
        self._trusts = lru_cache(_REMEMBERED)(self._is_trusted)

    def identify(self, call: Call) -> None:
        """Set `client` and `scheme` from what trusted proxies say."""
        if not self._trusts(call.peer):
            return
        hops = self._from_forwarded(call) if self._forwarded else self._from_x_forwarded(call)
        client, scheme = "", ""
        for address, came_by in reversed(hops[-_MOST_HOPS:]):
            if came_by:
                scheme = came_by
            if address is None:  # obfuscated, or nonsense: nothing before it can be trusted
                break
            client = str(address)
            if not self._trusts(client):
                break
        call.client = client or call.client
        if scheme in {"http", "https"}:
            call.scheme = scheme

    def _is_trusted(self, text: str) -> bool:
        address = parse_address(text)
        # No address is a UNIX socket: whoever may open it is as near as a proxy.
        return any(address in network for network in self._networks) if address else not text

    @staticmethod
    def _from_x_forwarded(call: Call) -> list[tuple[Address | None, str]]:
        values = b",".join(call.values(b"x-forwarded-for")).decode("latin-1")
        hops = [(parse_address(each), "") for each in values.split(",") if each.strip()]
        protos = b",".join(call.values(b"x-forwarded-proto")).decode("latin-1").split(",")
        if not hops:
            hops.append((None, ""))
        if len(protos) != len(hops):  # then there is but one that counts, from the nearest proxy
            protos = [""] * (len(hops) - 1) + protos[-1:]
        return [(address, proto.strip().lower()) for (address, _), proto in zip(hops, protos, strict=False)]

    @staticmethod
    def _from_forwarded(call: Call) -> list[tuple[Address | None, str]]:
        hops = []
        for element in b",".join(call.values(b"forwarded")).decode("latin-1").split(","):
            pairs = {}
            for pair in element.split(";"):
                name, _, value = pair.partition("=")
                pairs[name.strip().lower()] = value.strip().strip('"')
            if element.strip():  # one that names nobody still tells that a proxy wrote it, and not its client
                hops.append((parse_address(pairs.get("for", "")), pairs.get("proto", "").lower()))
        return hops
