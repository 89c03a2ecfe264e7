"""The xDS stream as a pure state machine: requests and views in, responses out. No I/O, no clock.

One `Stream` serves one gRPC stream, of the aggregated service or of one type, state of the world or
delta. Time comes in as a number of seconds; `wake_at` says when the stream wants to be woken.

What may travel when (make before break):

- clusters travel at once; endpoints follow the cluster they belong to, and come again when it changed;
- a listener or route config travels when every cluster it names is acknowledged, endpoints included;
- a cluster leaves when nothing the client may be using names it, plus `grace` seconds;
- endpoints, route configs and secrets leave after whatever names them;
- listeners leave together with the additions that replace them.

Each rule looks only at types that this stream carries and at names the client subscribed to, so that a
client that asks in another order (gRPC: listener, route, cluster) is never left waiting.

A push waits for the answer to the one before, per type. A NACK quarantines the version it is about, for
this client only, and what it held stays served; when the NACK does not say which of several resources it
is about, they are tried in halves. Source: Envoy's xds_protocol.rst; gRFC A27 for the gRPC client.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, SECRET, TYPES, Resource
from headgate.controlplane.xds.channel import FULL_STATE, WILDCARD, Channel, Delivery, Keep, version_of
from headgate.controlplane.xds.order import Order
from headgate.controlplane.xds.view import View, set_version

_MESSAGE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """A discovery request of either kind. `names` is for state of the world, the last three for delta."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    version: str = ""
    names: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A discovery response of either kind; `removed` is for delta."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: what the client said, and which resources are quarantined for it now (none while halving)."""

    type_url: str
    nonce: str
    message: str
    resources: tuple[Resource, ...]
    last_good: Mapping[str, Resource]


@dataclass(slots=True)
class Counters:
    """What happened on a stream."""

    responses: int = 0
    acks: int = 0
    nacks: int = 0
    stale: int = 0


class Stream:
    """One stream. `identity` makes its nonces unique among streams; `types` are those it carries.

    `max_bytes` bounds the resources in one delta response; the rest follows when it is acknowledged.
    `refused` are versions this client refused on earlier streams: {(type URL, name): Refused}.
    """

    def __init__(
        self,
        identity: str,
        view: View,
        *,
        delta: bool,
        types: Iterable[str] = TYPES,
        grace: float = 0.05,
        max_bytes: int = 3 << 20,
        refused: Mapping[tuple[str, str], Refused] | None = None,
    ) -> None:
        self.identity = identity
        self.view = view
        self.delta = delta
        self.grace = grace
        self.max_bytes = max_bytes
        self.channels = {type_url: Channel(type_url) for type_url in TYPES if type_url in set(types)}
        self.counters = Counters()
        self.refusals: list[Refusal] = []
        """NACKs since the owner last took them away."""
        self.wake_at: float | None = None
        for (type_url, name), entry in (refused or {}).items():
            if type_url in self.channels:
                self.channels[type_url].refused[name] = entry

    # Inputs

    def receive(self, request: Request, now: float) -> list[Response]:
        """Take a request; return what to send. A type the stream does not carry is left unanswered."""
        channel = self.channels.get(request.type_url)
        if channel is None:
            return []
        if not channel.started:
            self._start(channel, request)
        elif self.delta:
            self._settle_nonce(channel, request)
            self._resubscribe_delta(channel, request)
        elif request.nonce and request.nonce != channel.last_nonce:
            self.counters.stale += 1
        else:
            self._settle_nonce(channel, request)
            self._resubscribe_sotw(channel, request)
        answers = self._answer(channel) if self.delta else []
        return answers + self._flush(now)

    def update(self, view: View, now: float) -> list[Response]:
        """Take a new view; return what to send."""
        changed = view.changed_from(self.view)
        self.view = view
        for channel in self.channels.values():
            if channel.started:
                names = changed[channel.type_url]
                channel.pending |= names if channel.wildcard else names & channel.names
                self._drop_outdated_refusals(channel, names)
        return self._flush(now)

    def wake(self, now: float) -> list[Response]:
        """Time has passed; return what to send."""
        return self._flush(now)

    # What others want to know

    def in_sync(self, type_url: str) -> bool:
        """Whether the client has acknowledged all it is to have of a type."""
        channel = self.channels[type_url]
        return channel.started and not (channel.pending or channel.in_flight or channel.refused)

    @property
    def idle(self) -> bool:
        """Whether nothing is to be sent or awaited."""
        return not any(channel.pending or channel.in_flight for channel in self.channels.values() if channel.started)

    @property
    def acknowledged_revision(self) -> int | None:
        """The view's revision when all of it is acknowledged, names not yet asked for included; else None."""
        started = [channel for channel in self.channels.values() if channel.started]
        if not started or not all(self.in_sync(channel.type_url) for channel in started):
            return None
        return self.view.revision if all(self._complete(channel) for channel in started) else None

    def waiting_for(self, type_url: str) -> dict[str, list[str]]:
        """Per held-back resource of a type, the names of the clusters it waits for."""
        channel = self.channels[type_url]
        order = Order(self.channels, self.view)
        waiting = {}
        for name in sorted(channel.pending):
            wanted = channel.wanted(name, self.view)
            if isinstance(wanted, Resource) and (missing := order.missing(wanted)):
                waiting[name] = missing
        return waiting

    # Subscriptions

    def _start(self, channel: Channel, request: Request) -> None:
        names = request.subscribe if self.delta else request.names
        channel.start(self.view, names, request.initial_versions if self.delta else {})
        same = request.version and request.version == self.view.version(channel.type_url)
        if not self.delta and same and channel.wildcard and not channel.names:
            channel.pending.clear()
            channel.must_reply = False
        elif not self.delta and channel.type_url in FULL_STATE:
            channel.must_reply = True
        if self.delta:
            self._unsubscribe(channel, request.unsubscribe)
        self._drop_outdated_refusals(channel, list(channel.refused))

    def _resubscribe_sotw(self, channel: Channel, request: Request) -> None:
        given = set(request.names)
        legacy = not given and not channel.ever_named and channel.type_url in FULL_STATE
        channel.ever_named = channel.ever_named or bool(given)
        wildcard = (WILDCARD in given or legacy) and channel.type_url != SECRET
        names = given - {WILDCARD}
        added = names - channel.names
        if wildcard and not channel.wildcard:
            channel.widen(self.view)
        channel.subscribe(added)
        channel.names = names
        if channel.wildcard and not wildcard:
            channel.narrow()
        channel.prune()
        channel.must_reply = channel.must_reply or (bool(added) and channel.type_url in FULL_STATE)

    def _resubscribe_delta(self, channel: Channel, request: Request) -> None:
        if WILDCARD in request.subscribe and channel.type_url != SECRET and not channel.wildcard:
            channel.widen(self.view)
        channel.subscribe(set(request.subscribe) - {WILDCARD})
        self._unsubscribe(channel, request.unsubscribe)

    def _unsubscribe(self, channel: Channel, names: Iterable[str]) -> None:
        gone = channel.names & set(names)
        channel.names -= gone
        if WILDCARD in names and channel.wildcard:
            channel.narrow()
        if channel.wildcard:
            channel.pending |= gone
            channel.due |= gone
        channel.prune()

    # ACK and NACK

    def _settle_nonce(self, channel: Channel, request: Request) -> None:
        delivery = channel.in_flight.pop(request.nonce, None)
        if delivery is None:
            if request.nonce and request.nonce != channel.last_nonce:
                self.counters.stale += 1
            return
        if request.error is None:
            self.counters.acks += 1
            channel.acknowledge(delivery)
        else:
            self.counters.nacks += 1
            self._refuse(channel, delivery, request.error[:_MESSAGE_LIMIT])

    def _refuse(self, channel: Channel, delivery: Delivery, message: str) -> None:
        suspects = [resource for resource in delivery.resources if resource.name in delivery.fresh]
        blamed = [resource for resource in suspects if _names(message, resource.name)]
        if not blamed and len(suspects) == 1:
            blamed = suspects
        if channel.trials and delivery.fresh & channel.trials[-1]:
            channel.trials.pop()
        last_good = {}
        for resource in blamed:
            held = channel.held(resource.name)
            good = held if isinstance(held, Resource) and held.version != resource.version else None
            channel.refused[resource.name] = Refused(resource.version, message, good, resource)
            if good:
                last_good[resource.name] = good
        if not blamed and suspects:
            names = sorted(resource.name for resource in suspects)
            middle = (len(names) + 1) // 2
            channel.trials += [frozenset(names[middle:]), frozenset(names[:middle])]
        if suspects:
            channel.pending |= {resource.name for resource in suspects} | set(delivery.removed)
        for name in () if suspects else delivery.removed:
            channel.changes[name] = None
        self.refusals.append(Refusal(channel.type_url, delivery.nonce, message, tuple(blamed), last_good))

    def _drop_outdated_refusals(self, channel: Channel, names: Iterable[str]) -> None:
        resources = self.view.resources[channel.type_url]
        for name in names:
            refused = channel.refused.get(name)
            current = resources.get(name)
            if refused and (current is None or current.version != refused.version):
                del channel.refused[name]
                channel.pending.add(name)
            channel.trials = [group - {name} for group in channel.trials if group != {name}]

    # What to send

    def _flush(self, now: float) -> list[Response]:
        self.wake_at = None
        responses = []
        for channel in self.channels.values():
            if channel.started and not channel.in_flight and (channel.pending or channel.must_reply):
                response = self._compose(channel, now)
                if response:
                    responses.append(response)
            if channel.started:
                channel.settle(self.view)
        return responses

    def _answer(self, channel: Channel) -> list[Response]:
        """Delta: names just asked for are answered even while a push is in flight."""
        if not (channel.in_flight and channel.due):
            return []
        order = Order(self.channels, self.view)
        resources, removed = [], []
        for name in sorted(channel.due & channel.pending):
            wanted = channel.wanted(name, self.view)
            if isinstance(wanted, Resource) and order.ready(channel, wanted) and not channel.on_trial(name):
                resources.append(wanted)
            elif wanted is None and channel.held(name) is None:
                removed.append(name)
        return [self._send(channel, resources, removed)] if resources or removed else []

    def _compose(self, channel: Channel, now: float) -> Response | None:
        upserts, removals, newcomer_waits = self._sort_pending(channel, now)
        if channel.type_url == LISTENER and newcomer_waits:
            removals = [name for name in removals if channel.held(name) is None]
        if self.delta:
            upserts = self._within_limit(upserts)
            if upserts or removals or channel.must_reply:
                return self._send(channel, upserts, removals)
            return None
        if channel.type_url not in FULL_STATE:
            for name in removals:
                channel.changes[name] = None
                self._done(channel, name)
            return self._send(channel, upserts, []) if upserts else None
        if upserts or removals or channel.must_reply:
            return self._send(channel, upserts, removals)
        return None

    def _sort_pending(self, channel: Channel, now: float) -> tuple[list[Resource], list[str], bool]:
        """Split the pending names into what can be sent, what can be removed, and whether a new name must wait."""
        upserts: list[Resource] = []
        removals: list[str] = []
        newcomer_waits = False
        order = Order(self.channels, self.view)
        for name in sorted(channel.pending):
            wanted = channel.wanted(name, self.view)
            held = channel.held(name)
            if isinstance(wanted, Keep) or not channel.subscribed(name):
                self._done(channel, name)
            elif wanted is None:
                if held is None:
                    if name in channel.due and self.delta:
                        removals.append(name)
                    else:
                        self._done(channel, name)
                elif self._may_leave(order, channel, name, now):
                    removals.append(name)
            elif version_of(held) == wanted.version and name not in channel.due:
                self._done(channel, name)
            elif order.ready(channel, wanted) and not channel.on_trial(name):
                upserts.append(wanted)
            elif held is None:
                newcomer_waits = True
        return upserts, removals, newcomer_waits

    def _done(self, channel: Channel, name: str) -> None:
        channel.pending.discard(name)
        channel.due.discard(name)
        channel.idle_since.pop(name, None)

    def _within_limit(self, resources: list[Resource]) -> list[Resource]:
        size = 0
        for index, resource in enumerate(resources):
            size += len(resource.body)
            if size > self.max_bytes and index:
                return resources[:index]
        return resources

    def _send(self, channel: Channel, upserts: list[Resource], removals: list[str]) -> Response:
        fresh = frozenset(r.name for r in upserts if version_of(channel.held(r.name)) != r.version)
        resources = upserts
        version = self.view.version(channel.type_url)
        if not self.delta and channel.type_url in FULL_STATE:
            full = {name: held for name, held in channel.all_held() if isinstance(held, Resource)}
            full.update({resource.name: resource for resource in upserts})
            for name in removals:
                full.pop(name, None)
            resources = [full[name] for name in sorted(full)]
            version = set_version(resources)
        self.counters.responses += 1
        channel.last_nonce = f"{self.identity}-{self.counters.responses}"
        channel.must_reply = False
        for name in [resource.name for resource in upserts] + removals:
            self._done(channel, name)
        delivery = Delivery(channel.last_nonce, tuple(resources), tuple(removals), fresh)
        channel.in_flight[delivery.nonce] = delivery
        shown = delivery.removed if self.delta else ()
        return Response(channel.type_url, version, delivery.nonce, delivery.resources, shown)

    def _may_leave(self, order: Order, channel: Channel, name: str, now: float) -> bool:
        if not order.users(channel.type_url):
            return True
        if order.in_use(channel.type_url, name):
            channel.idle_since.pop(name, None)
            return False
        if channel.type_url != CLUSTER:
            return True
        leaves_at = channel.idle_since.setdefault(name, now) + self.grace
        if now >= leaves_at:
            return True
        self.wake_at = leaves_at if self.wake_at is None else min(self.wake_at, leaves_at)
        return False

    def _complete(self, channel: Channel) -> bool:
        """Whether all that the held resources of a type name is held, too."""
        for _, held in channel.all_held():
            if not isinstance(held, Resource):
                return False
            refs = [(ENDPOINT, held.name)] if channel.type_url == CLUSTER else []
            for type_url, name in [*refs, *held.refs]:
                other = self.channels.get(type_url)
                if other and name in self.view.resources[type_url] and other.held(name) is None:
                    return False
        return True


def _names(message: str, name: str) -> bool:
    """Whether an error text names a resource, as a word of its own."""
    return re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|\.\w)", message) is not None
