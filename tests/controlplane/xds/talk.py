"""A client that says exactly what a test tells it to, to a pure stream, in either mode."""

from headgate.controlplane.translate.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    SHORT_NAMES,
    TYPES,
    Resource,
)
from headgate.controlplane.xds.messages import Request, Response
from headgate.controlplane.xds.protocol import Stream
from headgate.controlplane.xds.view import View
from tests.controlplane.xds.world import make, view_of


def cluster(name: str, version: int = 1, *secrets: str) -> Resource:
    """A cluster."""
    return make(CLUSTER, name, [(SECRET, secret) for secret in secrets], version=version)


def endpoints(name: str, version: int = 1, of: int = 1) -> Resource:
    """The endpoints of version `of` of a cluster."""
    return make(ENDPOINT, name, covers=str(of).encode(), version=version)


def table(name: str, *clusters: str, version: int = 1) -> Resource:
    """A route config with routes to these clusters."""
    return make(ROUTE, name, [(CLUSTER, cluster) for cluster in clusters], version=version, clusters=clusters)


def listener(name: str, *tables: str, version: int = 1, clusters: tuple[str, ...] = ()) -> Resource:
    """A listener with these route configs; `clusters` are those it names itself."""
    refs = [(ROUTE, table) for table in tables] + [(CLUSTER, cluster) for cluster in clusters]
    return make(LISTENER, name, refs, version=version, tables=tables, clusters=clusters)


def secret(name: str, version: int = 1) -> Resource:
    """A secret."""
    return make(SECRET, name, version=version)


class Talk:
    """One stream and its only client. Methods return what the stream sent in answer."""

    def __init__(self, *resources: Resource, delta: bool, revision: int = 1, **options: object) -> None:
        self.delta = delta
        self.now = 0.0
        self.revision = revision
        self.resources = {(r.type_url, r.name): r for r in resources}
        self.options = options
        self.stream = self._open("s1")
        self.names: dict[str, set[str]] = {}
        self.sent: list[Response] = []
        self.versions: dict[str, str] = {}

    @property
    def view(self) -> View:
        """The view of all resources, made anew."""
        return view_of(*self.resources.values(), revision=self.revision)

    def request(self, type_url: str, *names: str, **more: object) -> list[Response]:
        """Ask for names too; the first time for a type, without names, for everything."""
        self.names.setdefault(type_url, set()).update(names)
        if self.delta:
            return self.send(Request(type_url, subscribe=names, **more))
        return self.send(self._sotw(type_url, **more))

    def leave(self, type_url: str, *names: str) -> list[Response]:
        """Ask for these names no more."""
        self.names[type_url].difference_update(names)
        if self.delta:
            return self.send(Request(type_url, unsubscribe=names))
        return self.send(self._sotw(type_url))

    def ack(self, *responses: Response) -> list[Response]:
        """Accept responses; return what came in answer."""
        answers = []
        for response in responses:
            self.versions[response.type_url] = response.version
            answers += self.send(self._answer(response))
        return answers

    def nack(self, response: Response, message: str = "no") -> list[Response]:
        """Refuse a response."""
        return self.send(self._answer(response, error=message))

    def send(self, request: Request) -> list[Response]:
        """Send a request as it is."""
        return self._note(self.stream.receive(request, self.now))

    def put(self, *resources: Resource) -> list[Response]:
        """Add or change resources, in one revision."""
        return self.change(put=resources)

    def drop(self, *resources: Resource) -> list[Response]:
        """Remove resources, in one revision."""
        return self.change(drop=resources)

    def change(self, put: tuple[Resource, ...] = (), drop: tuple[Resource, ...] = ()) -> list[Response]:
        """Change and remove resources, in one revision."""
        self.revision += 1
        for resource in drop:
            del self.resources[resource.type_url, resource.name]
        self.resources.update({(r.type_url, r.name): r for r in put})
        return self._note(self.stream.update(self.view, self.now))

    def wait(self, seconds: float) -> list[Response]:
        """Let time pass; the stream is woken when it asked for it."""
        self.now += seconds
        due = self.stream.wake_at is not None and self.stream.wake_at <= self.now
        return self._note(self.stream.wake(self.now)) if due else []

    def settle(self, responses: list[Response]) -> list[str]:
        """Accept everything until nothing comes any more; return what came, in order, as `type names -removed`."""
        order, queue = [], list(responses)
        while queue or self.stream.wake_at is not None:
            if queue:
                response = queue.pop(0)
                order.append(shown(response))
                queue += self.ack(response)
            else:
                queue += self.wait(max(0.0, self.stream.wake_at - self.now))
        return order

    def sync(self, *wanted: tuple[str, ...]) -> list[str]:
        """Ask for (type, names...) one after the other and accept everything."""
        return [line for type_url, *names in wanted for line in self.settle(self.request(type_url, *names))]

    def reconnect(self) -> None:
        """Come back on a new stream, with what was refused remembered."""
        refused = {
            (t, name): entry for t, channel in self.stream.channels.items() for name, entry in channel.refused.items()
        }
        self.stream = self._open(f"{self.stream.identity}+", refused=refused)
        self.names = {t: set() for t in TYPES}

    def _open(self, identity: str, **more: object) -> Stream:
        return Stream(identity, self.view, delta=self.delta, **{**self.options, **more})

    def _sotw(self, type_url: str, **more: object) -> Request:
        newest = [response.nonce for response in self.sent if response.type_url == type_url]
        nonce = more.pop("nonce", newest[-1] if newest else "")
        return Request(type_url, nonce=nonce, names=tuple(sorted(self.names[type_url])), **more)

    def _answer(self, response: Response, error: str | None = None) -> Request:
        names = () if self.delta else tuple(sorted(self.names[response.type_url]))
        version = "" if self.delta else self.versions.get(response.type_url, "")
        return Request(response.type_url, nonce=response.nonce, error=error, names=names, version=version)

    def _note(self, responses: list[Response]) -> list[Response]:
        self.sent += responses
        return responses


def shown(response: Response) -> str:
    """A response in short: `cds a b -c`."""
    names = [r.name for r in response.resources] + [f"-{name}" for name in response.removed]
    return " ".join([SHORT_NAMES[response.type_url], *names])


def only(responses: list[Response]) -> Response:
    """The one response there is."""
    (response,) = responses
    return response
