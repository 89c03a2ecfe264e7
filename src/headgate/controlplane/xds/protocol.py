"""The xDS stream as a pure state machine: requests and views in, responses out. No I/O, no clock.

One `Stream` serves one gRPC stream, of the aggregated service or of one type, state of the world or
delta. Time comes in as a number of seconds; `wake_at` says when the stream wants to be woken.

What may travel when (make before break):

- clusters travel at once; endpoints follow the cluster they belong to, and come again when it changed;
- a listener or route config travels when every cluster it names is acknowledged, endpoints and secrets included;
- a cluster leaves when nothing the client may be using names it, plus `grace` seconds;
- endpoints, route configs and secrets leave after whatever names them;
- a listener that waits for what it names keeps its predecessor at work, and all that may belong to it;
- listeners leave together with the additions that replace them.

Each rule looks only at types that this stream carries and at names the client subscribed to, so that a
client that asks in another order (gRPC: listener, route, cluster) is never left waiting.

A push waits for the answer to the one before, per type. A NACK quarantines the version it is about, for
this client only, and what it held stays served; when the NACK does not say which of several resources it
is about, they are tried in groups. What was not to blame comes again.

Source: Envoy's xds_protocol.rst; gRFC A27 for the gRPC client.
"""

import itertools
from collections.abc import Iterable, Mapping

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, TYPES, Resource
from headgate.controlplane.xds.channel import FULL_STATE, Channel, Delivery, Keep, version_of
from headgate.controlplane.xds.messages import Counters, Refusal, Request, Response
from headgate.controlplane.xds.order import Order
from headgate.controlplane.xds.suspects import accuses
from headgate.controlplane.xds.view import View, set_version

_MESSAGE_LIMIT = 4096
_ANSWERS_LIMIT = 16
"""Answers to new subscriptions that may wait for their ACK; further ones wait for these."""


class Stream:
    """One stream. `identity` makes its nonces unique among streams; `types` are those it carries.

    `max_bytes` bounds the resources in one delta response; the rest follows when it is acknowledged.
    `introduction` is how many seconds a client that comes back may take to name all types it knows of:
    until then nothing that these may stand on is removed.
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
        introduction: float = 1.0,
        refused: Mapping[tuple[str, str], Refused] | None = None,
    ) -> None:
        self.identity = identity
        self.view = view
        self.delta = delta
        self.grace = grace
        self.max_bytes = max_bytes
        self.introduction = introduction
        self.channels = {type_url: Channel(type_url) for type_url in TYPES if type_url in set(types)}
        self.counters = Counters()
        self.refusals: list[Refusal] = []
        """NACKs since the owner last took them away."""
        self.wake_at: float | None = None
        self._introduced_at = 0.0
        self._freed = False
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
            self._start(channel, request, now)
        elif self.delta:
            self._settle_nonce(channel, request)
            channel.join(request.subscribe, self.view)
            channel.leave(request.unsubscribe)
        elif request.nonce and request.nonce != channel.last_nonce:
            self.counters.stale += 1
            channel.overhear(request.names)
        else:
            self._settle_nonce(channel, request)
            channel.follow(request.names, self.view)
        answers = self._answer(channel, now) if self.delta else []
        return answers + self._flush(now)

    def update(self, view: View, now: float) -> list[Response]:
        """Take a new view; return what to send."""
        changed = view.changed_from(self.view)
        self.view = view
        for channel in self.channels.values():
            if channel.started:
                names = changed[channel.type_url]
                channel.pending |= names if channel.wildcard else names & channel.names
                channel.reconsider(names, self.view)
        return self._flush(now)

    def wake(self, now: float) -> list[Response]:
        """Time has passed; return what to send."""
        return self._flush(now)

    # What others want to know

    def in_sync(self, type_url: str) -> bool:
        """Whether the client has acknowledged all it is to have of a type."""
        channel = self.channels[type_url]
        return channel.started and not (channel.pending or channel.in_flight or channel.quarantined)

    @property
    def idle(self) -> bool:
        """Whether nothing is to be sent or awaited."""
        return not any(channel.pending or channel.in_flight for channel in self.channels.values() if channel.started)

    @property
    def acknowledged_revision(self) -> int | None:
        """The view's revision when all of it is acknowledged, names not yet asked for included; else None."""
        started = [channel for channel in self.channels.values() if channel.started]
        silent = [t for t, c in self.channels.items() if t in FULL_STATE and not c.started and self.view.resources[t]]
        if silent or not started or not all(self.in_sync(channel.type_url) for channel in started):
            return None
        order = Order(self.channels, self.view, introducing=False)
        return self.view.revision if all(order.complete(channel) for channel in started) else None

    def waiting_for(self, type_url: str) -> dict[str, list[str]]:
        """Per held-back resource of a type, the names of the clusters it waits for."""
        channel = self.channels[type_url]
        order = Order(self.channels, self.view, introducing=False)
        waiting = {}
        for name in sorted(channel.pending):
            wanted = channel.wanted(name, self.view)
            if isinstance(wanted, Resource) and (missing := order.missing(wanted)):
                waiting[name] = missing
        return waiting

    # Subscriptions

    def _start(self, channel: Channel, request: Request, now: float) -> None:
        if (request.initial_versions or request.version) and not self._introduced_at:
            self._introduced_at = now + self.introduction
        names = request.subscribe if self.delta else request.names
        channel.start(self.view, names, request.initial_versions if self.delta else {})
        if self.delta:
            channel.leave(request.unsubscribe)
        elif channel.type_url in FULL_STATE:
            same = request.version == self.view.version(channel.type_url)
            if same and channel.wildcard and not channel.names:
                channel.resume(self.view)
            else:
                channel.must_reply = channel.unknown = True
        channel.reconsider(list(channel.refused), self.view)

    # ACK and NACK

    def _settle_nonce(self, channel: Channel, request: Request) -> None:
        delivery = channel.in_flight.pop(request.nonce, None)
        if delivery is None:
            if request.nonce and request.nonce != channel.last_nonce:
                self.counters.stale += 1
            return
        if channel.type_url == CLUSTER:
            self._forgive(delivery)
        if request.error is None:
            self.counters.acks += 1
            self._acknowledge(channel, delivery)
        else:
            self.counters.nacks += 1
            self._refuse(channel, delivery, request.error[:_MESSAGE_LIMIT])

    def _acknowledge(self, channel: Channel, delivery: Delivery) -> None:
        channel.acknowledge(delivery)
        guilty = channel.suspects.accepted(delivery.fresh.keys())
        wanted = channel.wanted(guilty, self.view) if guilty else None
        if isinstance(wanted, Resource):
            self._blame(channel, [wanted], channel.suspects.nonce, channel.suspects.message)

    def _refuse(self, channel: Channel, delivery: Delivery, message: str) -> None:
        suspects = list(delivery.fresh.values())
        names = delivery.fresh.keys()
        accused = [resource for resource in suspects if accuses(message, resource.name)]
        blamed = accused or (suspects if len(suspects) == 1 else [])
        channel.suspects.forget(names)
        channel.uncertain.update({r.name: r for r in suspects if channel.subscribed(r.name)})
        self._blame(channel, blamed, delivery.nonce, message)
        if not blamed and suspects and all(self._still_wanted(channel, resource) for resource in suspects):
            channel.suspects.refused(names, message, delivery.nonce)
        if suspects:
            channel.pending |= names | delivery.removed
        else:
            channel.unknown = False
            for name in delivery.removed:
                channel.drop(name)

    def _blame(self, channel: Channel, blamed: list[Resource], nonce: str, message: str) -> None:
        last_good = {}
        for resource in blamed:
            channel.disown(resource)
            if self._still_wanted(channel, resource) and (good := channel.refuse(resource, message)):
                last_good[resource.name] = good
        self.refusals.append(Refusal(channel.type_url, nonce, message, tuple(blamed), last_good))

    def _still_wanted(self, channel: Channel, resource: Resource) -> bool:
        wanted = channel.wanted(resource.name, self.view)
        return isinstance(wanted, Resource) and wanted.version == resource.version

    # What to send

    def _order(self, now: float) -> Order:
        return Order(self.channels, self.view, introducing=now < self._introduced_at)

    def _flush(self, now: float) -> list[Response]:
        waiting = any(channel.pending for channel in self.channels.values())
        self.wake_at = self._introduced_at if waiting and now < self._introduced_at else None
        responses = []
        self._freed = True
        while self._freed:
            self._freed = False
            for channel in self.channels.values():
                if channel.unknown and not (channel.pending or channel.in_flight or channel.quarantined):
                    channel.must_reply = True
                if channel.started and not channel.in_flight and (channel.pending or channel.must_reply):
                    response = self._compose(channel, now)
                    if response:
                        responses.append(response)
                if channel.started:
                    channel.settle(self.view)
        return responses

    def _answer(self, channel: Channel, now: float) -> list[Response]:
        """Delta: names just asked for are answered even while a push is in flight."""
        if not channel.due or not 0 < len(channel.in_flight) < _ANSWERS_LIMIT:
            return []
        order = self._order(now)
        resources, removed = [], []
        for name in sorted(channel.due & channel.pending):
            wanted = channel.wanted(name, self.view)
            if isinstance(wanted, Resource):
                if order.ready(channel, wanted) and name not in channel.suspects:
                    resources.append(wanted)
            elif channel.held(name) is None:
                removed.append(name)
        resources = _first_bytes(resources, self.max_bytes)
        return [self._send(channel, resources, removed)] if resources or removed else []

    def _compose(self, channel: Channel, now: float) -> Response | None:
        upserts, removals, newcomer_waits = self._sort_pending(channel, now)
        if channel.type_url == LISTENER and newcomer_waits:
            removals = [name for name in removals if channel.held(name) is None]
        if self.delta:
            upserts = _first_bytes(upserts, self.max_bytes)
        elif channel.type_url not in FULL_STATE:
            for name in removals:
                channel.drop(name)
                self._done(channel, name)
                self._freed = True
            removals = []
        return self._send(channel, upserts, removals) if upserts or removals or channel.must_reply else None

    def _sort_pending(self, channel: Channel, now: float) -> tuple[list[Resource], list[str], bool]:
        """Split the pending names into what can be sent, what can be removed, and whether a new name must wait."""
        ready: dict[str, Resource] = {}
        removals: list[str] = []
        newcomers: set[str] = set()
        order = self._order(now)
        for name in sorted(channel.pending):
            wanted = channel.wanted(name, self.view)
            if not channel.subscribed(name):
                channel.pending.discard(name)
                channel.due.discard(name)
            elif not isinstance(wanted, Resource):
                self._sort_unwanted(order, channel, name, now, removals)
            elif channel.has(wanted) and name not in channel.due and name not in channel.owed:
                self._freed = channel.recognise(wanted) or self._freed
                self._done(channel, name)
            else:
                if order.ready(channel, wanted):
                    ready[name] = wanted
                if channel.held(name) is None and not order.hopeless(wanted):
                    newcomers.add(name)
        turn = channel.suspects.turn(ready.keys())
        upserts = [resource for name, resource in ready.items() if name in turn or name not in channel.suspects]
        return upserts, removals, bool(newcomers.difference(resource.name for resource in upserts))

    def _sort_unwanted(self, order: Order, channel: Channel, name: str, now: float, removals: list[str]) -> None:
        """A name the client is to lose, or (quarantined without a last good version) to keep as it is."""
        kept = isinstance(channel.wanted(name, self.view), Keep)
        if channel.held(name) is None and name not in channel.uncertain:
            if name in channel.due and self.delta:
                removals.append(name)
            else:
                self._done(channel, name)
        elif kept:
            self._done(channel, name)
        elif self._may_leave(order, channel, name, now):
            removals.append(name)

    def _done(self, channel: Channel, name: str) -> None:
        channel.pending.discard(name)
        channel.due.discard(name)
        channel.owed.pop(name, None)
        channel.idle_since.pop(name, None)

    def _send(self, channel: Channel, upserts: list[Resource], removals: list[str]) -> Response:
        fresh = {r.name: r for r in upserts if version_of(channel.held(r.name)) != r.version}
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
        for resource in upserts:
            wanted = channel.wanted(resource.name, self.view)
            if not isinstance(wanted, Keep) and version_of(wanted) != resource.version:
                channel.pending.add(resource.name)
        complete = not self.delta and channel.type_url in FULL_STATE
        delivery = Delivery(channel.last_nonce, tuple(resources), frozenset(removals), fresh, complete)
        channel.in_flight[delivery.nonce] = delivery
        if channel.type_url == CLUSTER:
            for resource in upserts:
                self._owe(resource)
        shown = tuple(removals) if self.delta else ()
        return Response(channel.type_url, version, delivery.nonce, delivery.resources, shown)

    def _owe(self, cluster: Resource) -> None:
        """A cluster that is sent waits for its endpoints to come again, changed or not, and for its secrets."""
        for type_url, name in ((ENDPOINT, cluster.name), *cluster.refs):
            channel, resource = self.channels.get(type_url), self.view.resources[type_url].get(name)
            if channel and resource and (type_url == ENDPOINT or channel.held(name) is None):
                channel.owed[name] = resource
                if channel.subscribed(name):
                    channel.pending.add(name)

    def _forgive(self, delivery: Delivery) -> None:
        """A client that answered about its clusters waits for nothing it has not asked for."""
        for cluster in delivery.resources:
            for type_url, name in ((ENDPOINT, cluster.name), *cluster.refs):
                channel = self.channels.get(type_url)
                if channel and not channel.subscribed(name):
                    channel.owed.pop(name, None)

    def _may_leave(self, order: Order, channel: Channel, name: str, now: float) -> bool:
        if not order.users(channel.type_url) and not order.unheard(channel.type_url):
            return True
        if order.unheard(channel.type_url) or order.in_use(channel.type_url, name):
            channel.idle_since.pop(name, None)
            return False
        if channel.type_url != CLUSTER:
            return True
        leaves_at = channel.idle_since.setdefault(name, now) + self.grace
        if now >= leaves_at:
            return True
        self.wake_at = leaves_at if self.wake_at is None else min(self.wake_at, leaves_at)
        return False


def _first_bytes(resources: list[Resource], limit: int) -> list[Resource]:
    """The first of the resources, at least one, that have not more bytes than `limit`."""
    sizes = itertools.accumulate(len(resource.body) for resource in resources)
    return resources[: max(1, sum(1 for size in sizes if size <= limit))]
