"""DNS: instances are SRV records, or the addresses of one name, asked for again when their time to live is over.

    registry = DnsRegistry("internal.example", DnsOptions(wires=("http", "grpc")))
        # _http._tcp.orders.internal.example SRV 0 10 8080 host-1.internal.example
    registry = DnsRegistry("internal.example", DnsOptions(records="a", wires=("http",), port=8080))
        # orders.internal.example A 10.0.0.1, A 10.0.0.2, AAAA ...

Of SRV records those of the lowest priority number are the instances, their weights are the instances' weights. A name
without records, or that does not exist, is a service without instances; a server that fails, refuses or does not
answer is an outage. An answer counts only when every record that was asked for was answered. What names mean is left
to who calls them, unless `resolve`. Nothing is written: `register` gives a lease that does nothing, and DNS cannot list
services. Needs the extra `dns`.

Source: RFC 2782 (SRV), RFC 2308 (negative answers), RFC 8767 for serving what is stale.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from headgate.kit.controls.faults import Fault, InvalidArgument, Unavailable, Unimplemented, Violation
from headgate.service.registry.base import BaseRegistry, External, Versions, missing
from headgate.service.registry.consul_form import address
from headgate.service.registry.instance import HEAVIEST, Instance
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.watcher import Answer

_LIGHT: Final = 0.1
"""What an SRV weight of 0 becomes beside others: "a very small weight"."""


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """What is asked. Times in seconds. Raises InvalidArgument.

    `server` is `HOST` or `HOST:PORT`, "" for those of the system. `records`: `srv`, one per wire, or `a` (A and AAAA,
    with `port`). `least_ttl` and `most_ttl` bound how soon and how late is asked again. `resolve`: give addresses
    in place of the names in SRV records.
    """

    server: str = ""
    records: Literal["srv", "a"] = "srv"
    wires: tuple[str, ...] = ("http",)
    port: int = 0
    least_ttl: float = 1.0
    most_ttl: float = 60.0
    resolve: bool = False

    def __post_init__(self) -> None:
        rules = {
            "records": self.records in ("srv", "a"),
            "wires": bool(self.wires),
            "port": 0 < self.port < 65_536 if self.records == "a" else self.port == 0,
            "least_ttl": 0 < self.least_ttl <= self.most_ttl,
        }
        if wrong := [name for name in rules if not rules[name]]:
            raise InvalidArgument(
                "DNS cannot be asked like this: " + ", ".join(wrong),
                code="invalid_registry_policy",
                violations=[Violation(f"/{name}", "is not possible") for name in wrong],
                hint="records srv or a; a port with a, and only with a; at least one wire; least_ttl up to most_ttl",
            )


class DnsRegistry(BaseRegistry):
    """See the module. Services are names in `domain`, "" for names of their own."""

    name = "dns"

    def __init__(
        self,
        domain: str,
        options: DnsOptions | None = None,
        *,
        policy: RegistryPolicy | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        super().__init__(policy, observer)
        self.domain, self.options = domain.strip("."), options or DnsOptions()
        _library()

    async def services(self) -> Versions:
        """Raises Unimplemented: names are only known to those who know them."""
        raise Unimplemented("DNS cannot list services", code="registry_cannot_list", hint="ask for one by its name")

    def _source(self, service: str) -> "_Source":
        host = f"{service}.{self.domain}" if self.domain else service
        return source_of(self.options, service, host, self.policy)

    def _keeper(self) -> External:
        return External()


def source_of(options: DnsOptions, service: str, host: str, policy: RegistryPolicy) -> "_Source":
    """What tells of `service`, whose name in DNS is `host`."""
    return _Source(options, service, host, policy)


@dataclass(frozen=True, slots=True)
class _Found:
    """An SRV record, or an address with the port that is known."""

    host: str
    port: int
    weight: float


class _Source:
    def __init__(self, options: DnsOptions, service: str, host: str, policy: RegistryPolicy) -> None:
        self._options, self._service, self._host, self._policy = options, service, host, policy
        self._resolver: Any = None

    async def follow(self) -> AsyncIterator[Answer]:
        while True:
            instances, ttl = await self._ask()
            yield Answer(instances)
            wait = min(max(ttl, self._options.least_ttl), self._options.most_ttl)
            # Not all at the same moment, and never before the time is over.
            await asyncio.sleep(wait * (1 + self._policy.spread() / 10))

    async def aclose(self) -> None:
        pass

    async def _ask(self) -> tuple[tuple[Instance, ...], float]:
        if self._options.records == "a":
            found, ttl = await self._addresses(self._host)
            records = [_Found(each, self._options.port, 1.0) for each in found]
            return self._instances([(wire, records) for wire in self._options.wires]), ttl
        answers = await asyncio.gather(*(self._services(wire) for wire in self._options.wires))
        named = [(wire, records) for wire, (records, _) in zip(self._options.wires, answers, strict=True)]
        return self._instances(named), min(ttl for _, ttl in answers)

    async def _services(self, wire: str) -> tuple[list[_Found], float]:
        records, ttl = await self._query(f"_{wire}._tcp.{self._host}", "SRV")
        # "." says that the service is decidedly not there (RFC 2782).
        records = [each for each in records if each.target.to_text() != "."]
        first = min((each.priority for each in records), default=0)
        chosen = [each for each in records if each.priority == first]
        weighed = any(each.weight for each in chosen)
        found = [
            _Found(each.target.to_text(omit_final_dot=True), each.port, _weight(each.weight, weighed=weighed))
            for each in chosen
        ]
        if not self._options.resolve:
            return found, ttl
        resolved = await asyncio.gather(*(self._addresses(each.host) for each in found))
        ttl = min([ttl, *(each for _, each in resolved)])
        pairs = zip(found, resolved, strict=True)
        return [_Found(at, each.port, each.weight) for each, (addresses, _) in pairs for at in addresses], ttl

    async def _addresses(self, host: str) -> tuple[list[str], float]:
        answers = await asyncio.gather(*(self._query(host, kind) for kind in ("A", "AAAA")))
        found = [(records, ttl) for records, ttl in answers if records]
        # The family that is not there would else say how often to ask.
        return [each.address for records, _ in found for each in records], min(ttl for _, ttl in found or answers)

    async def _query(self, host: str, kind: str) -> tuple[list[Any], float]:
        """The records, [] when there are none, and for how long that is so. Raises Unavailable."""
        dns = _library()
        self._resolver = self._resolver or self._made()
        try:
            name = dns.name.from_text(host)
            answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            responses = error.responses().values()
            return [], min((each.resolve_chaining().minimum_ttl for each in responses), default=0)
        except (dns.exception.DNSException, OSError) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"{kind} {host}: {said[:300]}", code="registry_unavailable") from error
        return list(answer.rrset or ()), float(answer.chaining_result.minimum_ttl)

    def _made(self) -> Any:
        dns = _library()
        resolver = dns.asyncresolver.Resolver(configure=not self._options.server)
        if self._options.server:
            host, port = server_of(self._options.server)
            resolver.nameservers = [host]
            resolver.port = port
        resolver.lifetime = self._policy.call_timeout
        resolver.timeout = self._policy.call_timeout / 2
        return resolver

    def _instances(self, named: list[tuple[str, list[_Found]]]) -> tuple[Instance, ...]:
        """Records of one host are one instance with several wires, unless a wire is there several times."""
        alone = all(len({each.host for each in records}) == len(records) for _, records in named)
        made: dict[str, tuple[dict[str, str], float]] = {}
        for wire, records in named:
            for each in records:
                host = f"[{each.host}]" if ":" in each.host else each.host
                identity = host if alone else f"{host}:{each.port}"
                endpoints, weight = made.setdefault(identity, ({}, each.weight))
                endpoints[wire] = address(wire, f"{host}:{each.port}")
        found = []
        for identity, (endpoints, weight) in made.items():
            try:
                found.append(Instance(identity.strip("[]"), self._service, endpoints=endpoints, weight=weight))
            except Fault:
                continue
        return tuple(found)


def server_of(told: str) -> tuple[str, int]:
    """Host and port of a name server: `10.0.0.2`, `10.0.0.2:53`, `[::1]:53`. Raises InvalidArgument."""
    import ipaddress
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(f"//{told}")
        return str(ipaddress.ip_address(parts.hostname or "")), parts.port or 53
    except ValueError as error:
        raise InvalidArgument(
            f"'{told[:100]}' is no address of a DNS server",
            code="invalid_registry_url",
            hint="an IP address and a port, such as 10.0.0.2:53",
        ) from error


def _weight(told: int, *, weighed: bool) -> float:
    """The weights of SRV reach 65535; shares stay what they are up to a thousand."""
    if not weighed:
        return 1.0
    return min(float(told) or _LIGHT, HEAVIEST)


def _library() -> Any:
    try:
        import dns.asyncresolver
        import dns.exception
        import dns.name
        import dns.resolver
    except ImportError as error:
        raise missing("dnspython", "dns") from error
    return dns
