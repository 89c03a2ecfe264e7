"""Watches what a stream sends, and fails on what no stream may do, whoever the client is."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, LISTENER, TYPES
from headgate.controlplane.xds.messages import Request, Response
from headgate.controlplane.xds.protocol import Stream
from headgate.controlplane.xds.view import View
from tests.controlplane.xds.world import view_of

GRACE = 0.05
OWN_STATE = (
    "changes",
    "pending",
    "due",
    "owed",
    "in_flight",
    "refused",
    "suspects",
    "uncertain",
    "forgotten",
    "idle_since",
)
"""What a channel keeps only while it is out of sync."""

Content = tuple[frozenset[tuple[str, str]], frozenset[str]]


def content(response: Response) -> Content:
    """What a response says, whatever its nonce."""
    return frozenset((r.name, r.version) for r in response.resources), frozenset(response.removed)


class Line:
    """A stream with its two queues: what the client has not read yet, and what the server has not read yet."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.now = 100.0
        self.number = 0
        self.view: View = view_of(revision=0)
        self.nonces: set[str] = set()
        self.on_response: Callable[[Response], None] = lambda _: None
        self.open({})

    def open(self, refused: Mapping[tuple[str, str], Refused]) -> None:
        """A new stream of the same client."""
        self.number += 1
        self.stream = Stream(f"s{self.number}", self.view, delta=self.delta, grace=GRACE, refused=refused)
        self.to_client: deque[Response] = deque()
        self.to_server: deque[Request] = deque()
        self.unanswered: dict[str, dict[str, Response]] = {t: {} for t in TYPES}
        self.refused: dict[str, list[Content]] = {t: [] for t in TYPES}

    def reopen(self) -> None:
        """The client comes back, with what is remembered of its refusals."""
        remembered = {
            (t, name): refused
            for t, channel in self.stream.channels.items()
            for name, refused in channel.refused.items()
        }
        self.open(remembered)

    @property
    def introductions(self) -> bool:
        """Whether a client that came back has said things that the server has not read."""
        return self.number > 1 and any(not request.nonce for request in self.to_server)

    def change(self, view: View) -> list[Response]:
        """The view changes."""
        for type_url, names in view.changed_from(self.view).items():
            if names:
                self.refused[type_url].clear()
        self.view = view
        responses = self.stream.update(view, self.now)
        return self._sent(responses, "update")

    def server_takes(self) -> tuple[Request, list[Response]]:
        """The server reads one request."""
        request = self.to_server.popleft()
        delivered = self.unanswered[request.type_url].pop(request.nonce, None)
        if delivered and request.error:
            self.refused[request.type_url].append(content(delivered))
        if request.subscribe or request.unsubscribe or not self.delta:
            asked = set(request.subscribe) | set(request.unsubscribe) | set(request.names)
        else:
            asked = set()
        if asked and request.error is None:
            self.refused[request.type_url].clear()
        newest = self.stream.channels[request.type_url].last_nonce
        if self.delta or request.nonce in ("", newest) or not newest:
            return request, self._sent(self.stream.receive(request, self.now), "receive")
        self.time_passes(0.0)
        assert self.stream.receive(request, self.now) == [], f"a stale request is answered: {request}"
        return request, []

    def time_passes(self, seconds: float) -> list[Response]:
        """Time passes; the stream is woken when it wanted to be."""
        self.now += seconds
        if self.stream.wake_at is None or self.now < self.stream.wake_at:
            return []
        return self._sent(self.stream.wake(self.now), "wake")

    def _sent(self, responses: Iterable[Response], cause: str) -> list[Response]:
        sent = list(responses)
        for response in sent:
            self._check(response, cause)
            self.unanswered[response.type_url][response.nonce] = response
            self.to_client.append(response)
            self.on_response(response)
        return sent

    def _check(self, response: Response, cause: str) -> None:
        assert response.nonce not in self.nonces, "a nonce is used twice"
        self.nonces.add(response.nonce)
        names = [resource.name for resource in response.resources] + list(response.removed)
        assert len(names) == len(set(names)), f"a name is in a response twice: {names}"
        waiting = self.unanswered[response.type_url]
        assert not waiting or (self.delta and cause == "receive"), f"two pushes in flight: {waiting} and {response}"
        assert content(response) not in self.refused[response.type_url], f"the same again after a NACK: {response}"
        if not self.delta and response.type_url in (CLUSTER, LISTENER):
            assert not response.removed

    def check_at_rest(self) -> None:
        """In sync, a stream says nothing without cause and keeps no more than it must."""
        assert self.stream.wake(self.now + 100) == [], "time alone makes it talk"
        again = View(self.view.revision, {t: dict(self.view.resources[t]) for t in TYPES})
        self.view = again
        assert self.stream.update(again, self.now) == [], "an equal view makes it talk"
        self.stream.refusals.clear()

    def check_small(self) -> None:
        """In sync, a stream keeps nothing of its own."""
        for channel in self.stream.channels.values():
            if channel.started:
                left = {name: value for name in OWN_STATE if (value := getattr(channel, name))}
                assert not left, f"{channel.type_url} keeps {left}"
                assert channel.base is self.view.resources[channel.type_url]
