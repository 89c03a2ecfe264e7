"""A model of a client that is no Envoy: it subscribes to whatever it likes, whenever it likes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headgate.controlplane.translate.resource import CLUSTER, LISTENER, SECRET, TYPES, Resource
from headgate.controlplane.xds.channel import WILDCARD
from headgate.controlplane.xds.messages import Request, Response
from tests.controlplane.xds.envoys import Blame, complaint
from tests.controlplane.xds.world import read


@dataclass
class Stranger:
    """The client. What it wants to send is in `outbox`, in order."""

    delta: bool
    held: dict[str, dict[str, Resource]] = field(default_factory=lambda: {t: {} for t in TYPES})
    names: dict[str, set[str]] = field(default_factory=lambda: {t: set() for t in TYPES})
    wild: set[str] = field(default_factory=set)
    legacy: set[str] = field(default_factory=set)
    """Types it follows whole by never having given a name."""
    nonces: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    outbox: list[Request] = field(default_factory=list)

    def ask(self, type_url: str, names: set[str], nonce: str | None = None) -> None:
        """Follow these names, too; the first time, no name means all there are. Delta: with any nonce."""
        if type_url not in self.started and not names and type_url in (CLUSTER, LISTENER):
            self.wild.add(type_url)
            self.legacy.add(type_url)
        elif WILDCARD in names and type_url != SECRET:
            self.wild.add(type_url)
        self.started.add(type_url)
        self.names[type_url] |= names - {WILDCARD}
        self._say(type_url, nonce, subscribe=names)

    def leave(self, type_url: str, names: set[str], nonce: str | None = None) -> None:
        """Follow these names no more."""
        if type_url not in self.started or (not self.delta and type_url in self.legacy):
            return
        self.names[type_url] -= names
        if WILDCARD in names:
            self.wild.discard(type_url)
        if type_url not in self.wild:
            self.held[type_url] = {n: r for n, r in self.held[type_url].items() if n in self.names[type_url]}
        self._say(type_url, nonce, unsubscribe=names)

    def receive(self, response: Response, blame: Blame) -> None:
        """Take a response, or refuse all of it."""
        type_url, held = response.type_url, self.held[response.type_url]
        self.nonces[type_url] = response.nonce
        bad = [resource for resource in response.resources if read(resource)["bad"]]
        if not bad:
            if not self.delta and type_url in (CLUSTER, LISTENER):
                held.clear()
            held.update({r.name: r for r in response.resources if self.follows(type_url, r.name)})
            for name in response.removed:
                held.pop(name, None)
        self._say(type_url, response.nonce, error=complaint(bad, blame) if bad else None)

    def follows(self, type_url: str, name: str) -> bool:
        """Whether it wants to hear of a name."""
        return type_url in self.wild or name in self.names[type_url]

    def connect(self) -> None:
        """Come back on a new stream: delta with what it has, state of the world with nothing."""
        self.outbox.clear()
        self.nonces.clear()
        for type_url in sorted(self.started):
            if self.delta:
                known = {name: resource.version for name, resource in self.held[type_url].items()}
                names = self._given(type_url)
                if not names and type_url in (CLUSTER, LISTENER) and type_url not in self.legacy:
                    self.started.discard(type_url)  # nothing it could say would mean "nothing"
                    self.held[type_url].clear()
                    continue
                self.outbox.append(Request(type_url, subscribe=names, initial_versions=known))
            else:
                self.held[type_url].clear()
                self._say(type_url, None)

    def _given(self, type_url: str) -> tuple[str, ...]:
        """All it follows, as a request says it."""
        if self.names[type_url]:
            self.legacy.discard(type_url)
        wild = {WILDCARD} if type_url in self.wild and type_url not in self.legacy else set()
        return tuple(sorted(self.names[type_url] | wild))

    def _say(
        self,
        type_url: str,
        nonce: str | None,
        *,
        error: str | None = None,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
    ) -> None:
        if self.delta:
            asked, left = tuple(sorted(subscribe)), tuple(sorted(unsubscribe))
            self.outbox.append(Request(type_url, nonce=nonce or "", error=error, subscribe=asked, unsubscribe=left))
        else:
            known = self.nonces.get(type_url, "")
            self.outbox.append(Request(type_url, nonce=known, error=error, names=self._given(type_url)))
