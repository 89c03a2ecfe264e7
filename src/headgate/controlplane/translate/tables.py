"""A route config as it is kept between changes: encoded virtual hosts, and encoded routes in order.

Its version is a hash over the pieces' hashes: as much a function of the content as a hash of the whole, and
an edit of one route among thousands hashes one route.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from headgate.controlplane.model.route_config import Route, RouteConfig
from headgate.controlplane.model.rows import Document
from headgate.controlplane.translate.references import route_refs
from headgate.controlplane.translate.resource import ROUTE, Ref, Resource, content_hash
from headgate.controlplane.translate.route import framed_route, frames, route, route_config, virtual_host
from headgate.controlplane.translate.wire import encode, envoy_name


class _Routes:
    """The encoded routes of a virtual host, in the order they are tried."""

    def __init__(self) -> None:
        self.order: list[tuple[int, str]] = []
        self.framed: list[bytes] = []
        self.digests: list[str] = []
        self.refs: Counter[Ref] = Counter()
        self._held: dict[str, tuple[int, frozenset[Ref]]] = {}

    def put(self, name: str, position: int, framed: bytes, refs: frozenset[Ref]) -> None:
        self.drop(name)
        index = bisect_left(self.order, (position, name))
        self.order.insert(index, (position, name))
        self.framed.insert(index, framed)
        self.digests.insert(index, content_hash(framed))
        self._held[name] = (position, refs)
        self.refs.update(refs)

    def drop(self, name: str) -> None:
        if name not in self._held:
            return
        position, refs = self._held.pop(name)
        index = bisect_left(self.order, (position, name))
        del self.order[index], self.framed[index], self.digests[index]
        self.refs.subtract(refs)
        for ref in refs:
            if not self.refs[ref]:
                del self.refs[ref]


class RouteTable:
    """One route config. Routes may come before the config, and for virtual hosts it does not have (yet)."""

    def __init__(self) -> None:
        self._shell: bytes | None = None
        self._shells: dict[str, bytes] = {}
        self._routes: dict[str, _Routes] = {}

    def put_config(self, team: str, name: str, document: Document) -> None:
        """Take the document without routes. Changes nothing when it raises."""
        spec = RouteConfig.model_validate(document)
        shells = {host.name: encode(virtual_host(host)) for host in spec.virtual_hosts}
        self._shell, self._shells = encode(route_config(team, name, spec)), shells

    def put_route(self, team: str, host: str, name: str, position: int, document: Document) -> None:
        """Take one route. Changes nothing when it raises."""
        spec = Route.model_validate(document)
        framed = framed_route(encode(route(team, spec)))
        self._routes.setdefault(host, _Routes()).put(name, position, framed, route_refs(team, spec))

    def drop_route(self, host: str, name: str) -> None:
        """Forget one route, if it is there."""
        if host in self._routes:
            self._routes[host].drop(name)

    def resource(self, team: str, name: str) -> Resource | None:
        """Return the RouteConfiguration; None as long as the config's own row has not come."""
        if self._shell is None:
            return None
        full = envoy_name(team, name)
        body = b"".join(self._pieces(self._shell))
        served = [self._routes[host] for host in self._shells if host in self._routes]
        refs = frozenset[Ref]().union(*(routes.refs for routes in served))
        return Resource(ROUTE, full, self._version(self._shell), body, refs, ("route_config", name))

    def _pieces(self, shell: bytes) -> Iterator[bytes]:
        yield shell
        for host, host_shell in self._shells.items():
            routes = self._routes.get(host)
            yield from frames(host_shell, routes.framed if routes else [])

    def _version(self, shell: bytes) -> str:
        parts = [shell]
        for host, host_shell in self._shells.items():
            routes = self._routes.get(host)
            parts += [host_shell, "".join(routes.digests).encode() if routes else b""]
        return content_hash(*parts)
