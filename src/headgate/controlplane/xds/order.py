"""The order in which resources may travel on one stream: make before break, as `protocol` states it.

Pure. An `Order` looks at the channels of a stream and its view; it is made anew for each decision round.
"""

from collections.abc import Mapping

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Ref, Resource
from headgate.controlplane.xds.channel import Channel, Keep, version_of
from headgate.controlplane.xds.view import View

_USERS = {
    CLUSTER: (LISTENER, ROUTE),
    ENDPOINT: (CLUSTER,),
    LISTENER: (),
    ROUTE: (LISTENER,),
    SECRET: (CLUSTER, LISTENER),
}


class Order:
    """The rules, over the channels of one stream and what it is to have."""

    def __init__(self, channels: Mapping[str, Channel], view: View) -> None:
        self._channels = channels
        self._view = view
        self._referenced: dict[str, frozenset[Ref] | None] = {}

    def _carried(self, type_url: str) -> Channel | None:
        channel = self._channels.get(type_url)
        return channel if channel and channel.started else None

    def ready(self, channel: Channel, resource: Resource) -> bool:
        """Whether all that must be with the client before `resource` is."""
        if channel.type_url == ENDPOINT:
            clusters = self._carried(CLUSTER)
            if clusters is None or not clusters.subscribed(resource.name):
                return True
            wanted = clusters.wanted(resource.name, self._view)
            return not isinstance(wanted, Resource) or clusters.sent_version(resource.name) == wanted.version
        return channel.type_url not in (LISTENER, ROUTE) or not self.missing(resource)

    def missing(self, resource: Resource) -> list[str]:
        """Clusters `resource` names that the client follows and has not acknowledged, endpoints included."""
        clusters, endpoints = self._carried(CLUSTER), self._carried(ENDPOINT)
        if clusters is None:
            return []
        return [
            name
            for type_url, name in sorted(resource.refs)
            if type_url == CLUSTER
            and clusters.subscribed(name)
            and not (self._acknowledged(clusters, name) and (endpoints is None or self._arrived(endpoints, name)))
        ]

    def _acknowledged(self, channel: Channel, name: str) -> bool:
        wanted = channel.wanted(name, self._view)
        held = channel.held(name)
        return held is not None and (
            isinstance(wanted, Keep) or (wanted is not None and version_of(held) == wanted.version)
        )

    def _arrived(self, endpoints: Channel, name: str) -> bool:
        known = name in self._view.resources[ENDPOINT]
        return not (known and endpoints.subscribed(name)) or self._acknowledged(endpoints, name)

    def users(self, type_url: str) -> list[Channel]:
        """Channels whose resources may name one of `type_url`."""
        channels = (self._channels.get(user) for user in _USERS[type_url])
        return [channel for channel in channels if channel and channel.started]

    def in_use(self, type_url: str, name: str) -> bool:
        """Whether the client may be working with something that names this resource."""
        if type_url not in self._referenced:
            self._referenced[type_url] = self._references_to(type_url)
        referenced = self._referenced[type_url]
        return referenced is None or (type_url, name) in referenced

    def _references_to(self, type_url: str) -> frozenset[Ref] | None:
        """All that is named; None when the client holds a version from before we knew it."""
        users = self.users(type_url)
        if type_url == ENDPOINT:
            names = {name for channel in users for name, _ in channel.all_held()}
            names.update(r.name for channel in users for d in channel.in_flight.values() for r in d.resources)
            return frozenset((ENDPOINT, name) for name in names)
        refs: set[Ref] = set()
        for channel in users:
            for held in channel.possible():
                if isinstance(held, str):
                    return None
                refs.update(held.refs)
        return frozenset(refs)
