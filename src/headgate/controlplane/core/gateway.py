"""The default gateway, and the spot in a listener where something is published.

`expose` and `import` make the listener `gateway` with its route config when they are absent, in the
same revision as what they publish.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from headgate.controlplane.core.changes import Change
from headgate.controlplane.model.route_config import Domain
from headgate.controlplane.model.rows import Document, assemble
from headgate.controlplane.store.view import StoredRow, TeamView
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, NotFound, Violation

LISTENER: Final = "gateway"
ROUTE_CONFIG: Final = "gateway"
VIRTUAL_HOST: Final = "default"
EVERY_DOMAIN: Final = "*"

_DOMAIN: Final = TypeAdapter[str](Domain)
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where the default listener is made."""

    host: str = "127.0.0.1"
    port: int = 10_000


@dataclass(frozen=True, slots=True)
class Spot:
    """Where routes go: the virtual host of a route config that a listener serves, and the URL of it all.

    `making` are the changes that make the listener and its route config when they are absent. `new_host`
    is the virtual host to add to a route config that is there, if there is none for the domain.
    """

    listener: str
    url: str
    route_config: str
    virtual_host: str
    domains: Sequence[str]
    making: Sequence[Change] = ()
    new_host: Document | None = None
    makes_host: bool = False
    """Whether the virtual host is made for whoever is being published, and nobody else."""


def default_listener(address: GatewayAddress) -> dict[str, Any]:
    """The document of the listener `gateway`; its access log goes to Envoy's standard output."""
    chain = {"name": "http", "http": {"route_config": ROUTE_CONFIG, "access_logs": [{}]}}
    return {"address": address.host, "port": address.port, "filter_chains": [chain]}


def default_route_config() -> dict[str, Any]:
    """The document of the route config `gateway`: one virtual host, for every domain."""
    return {"virtual_hosts": [_host(VIRTUAL_HOST, EVERY_DOMAIN)]}


def _host(name: str, domain: str) -> dict[str, Any]:
    return {"name": name, "domains": [domain]}


def checked_domain(domain: str) -> str:
    """The domain, in lower case. Raises InvalidArgument (`invalid_domain`)."""
    try:
        return _DOMAIN.validate_python(domain.strip()).lower()
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidArgument(
            f"'{domain[:100]}' is not a domain: it {reason}.",
            code="invalid_domain",
            hint="Give it like api.example.com or *.example.com.",
            violations=[Violation("/domain", reason)],
        ) from None


async def find_spot(view: TeamView, listener: str, domain: str, host_name: str, address: GatewayAddress) -> Spot:
    """Find where to publish: on `listener` ("" is the default one), for `domain` ("" is every one).

    A virtual host that has the domain is used; else one named `host_name` is made. Raises NotFound
    (`unknown_listener`), FailedPrecondition (`listener_without_http`), InvalidArgument (`invalid_domain`).
    """
    name = listener or LISTENER
    stored = (await view.rows("listener", [name])).get(name)
    if stored is None and name != LISTENER:
        raise NotFound(
            f"There is no listener '{name}'.",
            code="unknown_listener",
            hint="Create it first, or leave it out for the default one.",
        )
    document: Document = stored.row.spec if stored else default_listener(address)
    making = [] if stored else [Change("create", "listener", name, document, owner="")]
    chain = _http_chain(name, document)
    config = chain["http"]["route_config"]
    known = (await view.rows("route_config", [config])).get(config)
    spec: Document = known.row.spec if known else default_route_config()
    if known is None:
        making.insert(0, Change("create", "route_config", config, spec, owner=""))
    wanted = checked_domain(domain) if domain else EVERY_DOMAIN
    hosts = spec.get("virtual_hosts", [])
    holder = next((host for host in hosts if wanted in [known.lower() for known in host["domains"]]), None)
    new_host = None if holder else _host(_free_name(hosts, host_name if domain else VIRTUAL_HOST), wanted)
    found = holder or new_host or {}
    if new_host and not known:
        made = {"virtual_hosts": [*hosts, new_host]}
        making[0] = Change("create", "route_config", config, made, owner="")
        new_host = None
    url = _url(document, chain)
    return Spot(
        name,
        url,
        config,
        found["name"],
        tuple(found["domains"]),
        tuple(making),
        new_host,
        makes_host=holder is None and bool(domain),
    )


def _http_chain(name: str, document: Document) -> Mapping[str, Any]:
    chains: Sequence[Mapping[str, Any]] = document["filter_chains"]
    chain = next((chain for chain in chains if chain.get("http")), None)
    if chain is None:
        raise FailedPrecondition(
            f"The listener '{name}' serves no HTTP: nothing can be published on it.",
            code="listener_without_http",
            hint="Name a listener that has a filter chain with 'http'.",
        )
    return chain


def _free_name(hosts: Sequence[Mapping[str, Any]], wanted: str) -> str:
    taken = {host["name"] for host in hosts}
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


def _url(listener: Document, chain: Mapping[str, Any]) -> str:
    """The URL of the address; a client on the same machine can use it."""
    scheme = "https" if chain.get("tls") else "http"
    address, port = listener.get("address") or "127.0.0.1", listener["port"]
    host = _LOOPBACK.get(address, address)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"


def with_hosts(
    config: StoredRow, routes: Sequence[StoredRow], add: Document | None, remove: Sequence[str]
) -> dict[str, Any]:
    """The whole document of a route config, with one virtual host more, and some less."""
    document = assemble(config.row.spec, [stored.row for stored in routes])
    hosts = [host for host in document.get("virtual_hosts", []) if host["name"] not in remove]
    return {**document, "virtual_hosts": [*hosts, *([dict(add)] if add else [])]}
