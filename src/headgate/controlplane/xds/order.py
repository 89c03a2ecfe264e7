"""The order in which resources may travel on one stream: make before break, as `protocol` states it.

Pure. An `Order` looks at the channels of a stream and its view; it is made anew for each decision round.
"""

from collections.abc import Iterator, Mapping

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
    """The rules, over the channels of one stream and what it is to have.

    `introducing` says that the client came back and may not have named all the types it knows of.
    """

    def __init__(self, channels: Mapping[str, Channel], view: View, *, introducing: bool) -> None:
        self._channels = channels
        self._view = view
        self._introducing = introducing
        self._referenced: dict[str, frozenset[Ref] | None] = {}
        self._lacking: dict[str, bool] = {}
        self._warming: bool | None = None

    def _carried(self, type_url: str) -> Channel | None:
        channel = self._channels.get(type_url)
        return channel if channel and channel.started else None

    # Additions

    def ready(self, channel: Channel, resource: Resource) -> bool:
        """Whether all that must be with the client before `resource` is."""
        if channel.type_url == ENDPOINT:
            clusters = self._carried(CLUSTER)
            if clusters is None or not clusters.subscribed(resource.name) or resource.name in channel.owed:
                return True
            wanted = clusters.wanted(resource.name, self._view)
            return not isinstance(wanted, Resource) or clusters.sent_version(resource.name) == wanted.version
        return channel.type_url not in (LISTENER, ROUTE) or not self.missing(resource)

    def missing(self, resource: Resource) -> list[str]:
        """Clusters `resource` names that the client follows and has not acknowledged, with all that belongs to them."""
        return sorted(name for name in _clusters(resource) if self._is_lacking(name))

    def hopeless(self, resource: Resource) -> bool:
        """Whether a cluster `resource` names cannot come, because the client refused what belongs to it."""
        return any(
            not isinstance(channel.wanted(name, self._view), Resource) and channel.held(name) is None
            for cluster in _clusters(resource)
            for channel, name in self._foundations(cluster)
        )

    def _is_lacking(self, cluster: str) -> bool:
        if cluster not in self._lacking:
            self._lacking[cluster] = not all(
                self._acknowledged(channel, name) for channel, name in self._foundations(cluster)
            )
        return self._lacking[cluster]

    def _foundations(self, cluster: str) -> Iterator[tuple[Channel, str]]:
        """The cluster and what it cannot work without, as far as the client follows it."""
        clusters = self._carried(CLUSTER)
        if clusters is None or not clusters.subscribed(cluster):
            return
        yield clusters, cluster
        wanted = clusters.wanted(cluster, self._view)
        outdated = wanted is not self._view.resources[CLUSTER].get(cluster)
        refs = wanted.refs if isinstance(wanted, Resource) else ()
        for type_url, name in ((ENDPOINT, cluster), *refs):
            channel = self._channels.get(type_url)
            if channel is None or not (outdated or name in self._view.resources[type_url]):
                continue
            if channel.expects(name) if channel.started else self._introducing:
                yield channel, name

    def _acknowledged(self, channel: Channel, name: str) -> bool:
        if name in channel.forgotten or name in channel.owed:
            return False
        wanted = channel.wanted(name, self._view)
        held = channel.held(name)
        if wanted is None:
            return held is not None and channel.type_url != CLUSTER
        if isinstance(wanted, Keep):
            return held is not None
        return version_of(held) == wanted.version == channel.sent_version(name)

    def complete(self, channel: Channel) -> bool:
        """Whether all that the held resources of a type name is held, too."""
        for _, held in channel.all_held():
            if not isinstance(held, Resource):
                return False
            refs = [(ENDPOINT, held.name)] if channel.type_url == CLUSTER else []
            for type_url, name in [*refs, *held.refs]:
                other = self._channels.get(type_url)
                if other and name in self._view.resources[type_url] and other.held(name) is None:
                    return False
        return True

    # Removals

    def users(self, type_url: str) -> list[Channel]:
        """Channels whose resources may name one of `type_url`."""
        channels = (self._channels.get(user) for user in _USERS[type_url])
        return [channel for channel in channels if channel and channel.started]

    def unheard(self, type_url: str) -> bool:
        """Whether the client may hold users of `type_url` that it has not spoken of yet."""
        return self._introducing and any(
            user in self._channels and not self._channels[user].started for user in _USERS[type_url]
        )

    def in_use(self, type_url: str, name: str) -> bool:
        """Whether the client may be working with something that names this resource."""
        if type_url in (CLUSTER, ROUTE) and self._listener_warming():
            return True
        if type_url not in self._referenced:
            self._referenced[type_url] = self._references_to(type_url)
        referenced = self._referenced[type_url]
        return referenced is None or (type_url, name) in referenced

    def _listener_warming(self) -> bool:
        """Whether a listener waits for what it names: until then its predecessor works on."""
        if self._warming is None:
            listeners = self._carried(LISTENER)
            self._warming = listeners is not None and any(
                (channel := self._carried(type_url)) is not None
                and type_url in (ROUTE, SECRET)
                and channel.expects(name)
                and (channel.held(name) is None or name in channel.forgotten)
                for _, held in listeners.all_held()
                if isinstance(held, Resource)
                for type_url, name in held.refs
            )
        return self._warming

    def _references_to(self, type_url: str) -> frozenset[Ref] | None:
        """All that is named; None when the client holds a version from before we knew it."""
        if type_url == ENDPOINT:
            return frozenset((ENDPOINT, name) for name in self._clusters_with_endpoints())
        refs: set[Ref] = set()
        for channel in self.users(type_url):
            for held in channel.possible():
                if isinstance(held, str):
                    return None
                refs.update(held.refs)
        return frozenset(refs)

    def _clusters_with_endpoints(self) -> Iterator[str]:
        """Clusters that may need the endpoints they had, though there are none in the view."""
        for channel in self.users(ENDPOINT):
            wanted = self._view.resources[CLUSTER]
            for name, held in channel.all_held():
                if name not in wanted or version_of(held) != wanted[name].version:
                    yield name
            for resource in (
                *channel.uncertain.values(),
                *(r for d in channel.in_flight.values() for r in d.resources),
            ):
                if resource.name not in wanted or resource.version != wanted[resource.name].version:
                    yield resource.name


def _clusters(resource: Resource) -> list[str]:
    return [name for type_url, name in resource.refs if type_url == CLUSTER]
