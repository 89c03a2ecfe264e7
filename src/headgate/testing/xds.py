"""An xDS client for tests: real gRPC streams, both modes, aggregated or one service per type.

    async with XdsClient(f"127.0.0.1:{port}", Mode(delta=True)) as client:
        await client.request(CLUSTER, "default/a")
        answer = await client.expect(CLUSTER, [a])
        await client.ack(answer)
        await client.silence()

It sends nothing on its own: no subscription, no ACK and no NACK. What the server sends is kept in the order
of its arrival; `next` and `expect` take it from there. `barrier` returns when the server has dealt with all
that was sent before, `silence` holds when nothing comes for a while.

Names and versions are checked as the protocol has them: state of the world carries no version per resource.
Source: envoy/service/discovery/v3, and Envoy's xds_protocol.rst.
"""

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from headgate.controlplane.translate.resource import Resource
from headgate.kit.tasks import end
from headgate.testing.xds_messages import FULL_STATE, SERVICES, WILDCARD, Answer, Mode, decode, node

__all__ = ["FULL_STATE", "WILDCARD", "Answer", "Mode", "XdsClient", "node"]

_END: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - the stubs do not know it


@dataclass(slots=True)
class _Stream:
    call: Any
    fresh: bool = True
    reader: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class _Type:
    """What the client said and heard of one type."""

    names: set[str] = field(default_factory=set)
    legacy: bool = False
    version: str = ""
    nonce: str = ""


class XdsClient:
    """One dataplane, as far as the protocol goes. `who` is its node; None says nothing of a node at all.

    With `credentials` the channel is TLS. `within` is how many seconds an awaited answer may take.
    """

    def __init__(
        self,
        target: str,
        mode: Mode | None = None,
        who: Node | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        within: float = 10.0,
    ) -> None:
        self.mode = mode or Mode()
        self.who = who
        self.within = within
        options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        self._channel: Any = (
            grpc.aio.secure_channel(target, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(target, options)
        )
        self._streams: dict[str, _Stream] = {}
        self._types: dict[str, _Type] = {}
        self._unread: list[Answer] = []
        self._arrived = asyncio.Condition()
        self._reading = asyncio.Event()
        self._reading.set()
        self._barriers = itertools.count(1)

    @property
    def delta(self) -> bool:
        """Whether it speaks delta."""
        return self.mode.delta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What the client says

    async def request(self, type_url: str, *names: str, versions: Mapping[str, str] | None = None) -> None:
        """Follow these names too; none at all, in the first request of a type, is the legacy wildcard.

        `versions` says what the client holds from an earlier stream: by name for delta, and for state of the
        world under the key "" the version of the type.
        """
        first = type_url not in self._types
        state = self._types.setdefault(type_url, _Type())
        state.legacy = state.legacy or (first and not names)
        state.names |= set(names)
        if self.delta:
            await self.send(type_url, subscribe=names, versions=versions or {})
        else:
            state.version = (versions or {}).get("", state.version)
            await self._send_names(type_url)

    async def unsubscribe(self, type_url: str, *names: str) -> None:
        """Follow these names no more (`*`: not everything any more)."""
        state = self._types[type_url]
        state.names -= set(names)
        state.legacy = state.legacy and WILDCARD not in names
        if self.delta:
            await self.send(type_url, unsubscribe=names)
        else:
            await self._send_names(type_url)

    async def ack(self, answer: Answer) -> None:
        """Accept an answer."""
        state = self._types.setdefault(answer.type_url, _Type())
        state.version = answer.version
        if self.delta:
            await self.send(answer.type_url, nonce=answer.nonce)
        else:
            await self._send_names(answer.type_url, nonce=answer.nonce)

    async def nack(self, answer: Answer, message: str, *, version: str | None = None) -> None:
        """Refuse an answer. `version` is what the client says it has instead, if not the one it accepted last."""
        if self.delta:
            await self.send(answer.type_url, nonce=answer.nonce, error=message)
        else:
            await self._send_names(answer.type_url, nonce=answer.nonce, error=message, version=version)

    async def send(
        self,
        type_url: str,
        *,
        service: str | None = None,
        names: Iterable[str] = (),
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        versions: Mapping[str, str] | None = None,
        version: str = "",
        nonce: str = "",
        error: str | None = None,
        who: Node | None = None,
    ) -> None:
        """Send a request exactly so; the node goes along when it is the stream's first, or when `who` is given.

        `service` is the type whose service it goes to, when that is not the request's.
        """
        key = "" if self.mode.aggregated else (service or type_url)
        stream = self._stream(key)
        message: Any
        if self.delta:
            message = DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=versions or {},
                response_nonce=nonce,
            )
        else:
            message = DiscoveryRequest(
                type_url=type_url, resource_names=names, version_info=version, response_nonce=nonce
            )
        said = who or (self.who if stream.fresh else None)
        if said is not None:
            message.node.CopyFrom(said)
        if error is not None:
            message.error_detail.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            message.error_detail.message = error
        stream.fresh = False
        # A stream that the server has ended refuses to be written to; `ended` tells how it did.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await stream.call.write(message)

    async def _send_names(
        self, type_url: str, *, nonce: str | None = None, version: str | None = None, error: str | None = None
    ) -> None:
        state = self._types[type_url]
        await self.send(
            type_url,
            names=sorted(state.names),
            nonce=state.nonce if nonce is None else nonce,
            version=state.version if version is None else version,
            error=error,
        )

    # What the client hears

    async def next(self, type_url: str | None = None, *, within: float | None = None) -> Answer:
        """Take the oldest answer not yet taken (of a type). AssertionError when none comes, or the stream ends."""
        wanted = f"answer of {type_url.rsplit('.', 1)[-1]}" if type_url else "answer"
        try:
            async with asyncio.timeout(within or self.within), self._arrived:
                while True:
                    for index, answer in enumerate(self._unread):
                        if type_url in (None, answer.type_url):
                            return self._unread.pop(index)
                    assert not self._over(type_url), f"no {wanted}: the stream has ended"
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted} in time; unread: {self._unread}") from None

    async def expect(
        self,
        type_url: str,
        changed: Iterable[Resource],
        *,
        full: Iterable[Resource] | None = None,
        removed: Iterable[str] = (),
    ) -> Answer:
        """Take the next answer of a type and check that it carries exactly this.

        `changed` and `removed` are for delta. State of the world sends `full` instead, if given and if the
        type is one of which it sends everything, and never speaks of what is removed.
        """
        whole = full is not None and not self.delta and type_url in FULL_STATE
        wanted = {resource.name: resource for resource in ((full or ()) if whole else changed)}
        answer = await self.next(type_url)
        assert sorted(answer.names) == sorted(wanted), f"{answer} has not exactly {sorted(wanted)}"
        assert sorted(answer.removed) == sorted(removed if self.delta else ()), answer
        for name, resource in wanted.items():
            assert answer.resources[name] == resource.body, f"{name} is another one"
            assert not self.delta or answer.versions[name] == resource.version, f"{name} has another version"
        return answer

    async def accept(
        self,
        type_url: str,
        changed: Iterable[Resource],
        *,
        full: Iterable[Resource] | None = None,
        removed: Iterable[str] = (),
    ) -> Answer:
        """`expect`, and ACK it."""
        answer = await self.expect(type_url, changed, full=full, removed=removed)
        await self.ack(answer)
        return answer

    async def silence(self, seconds: float = 0.1, *types: str) -> None:
        """Hold when no answer (of these types) is there or comes within `seconds`, and no stream ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._arrived:
                await self._arrived.wait_for(lambda: self._heard(types) or self._over(None))
        assert not self._heard(types), f"there should be silence: {self._unread}"
        assert not self._over(None), "a stream has ended"

    async def barrier(self, type_url: str) -> None:
        """Return when the server has dealt with all requests of a type that were sent so far.

        Nothing of the type may be unacknowledged. Delta asks for a name that does not exist. State of the
        world does so for clusters and listeners that are followed by name; for other types it needs a
        resource `TEAM/barrier`.
        """
        state = self._types[type_url]
        if self.delta:
            name = f"barrier/{next(self._barriers)}"
            await self.send(type_url, subscribe=[name])
            await self.accept(type_url, [], removed=[name])
            await self.send(type_url, unsubscribe=[name])
            if state.legacy or WILDCARD in state.names:
                await self.accept(type_url, [], removed=[name])
            return
        assert not state.legacy, "the legacy wildcard has no barrier: a name would end it"
        team = self.who.cluster if self.who else ""
        name = f"barrier/{next(self._barriers)}" if type_url in FULL_STATE else f"{team}/barrier"
        names = set(state.names)
        await self.request(type_url, name)
        answer = await self.next(type_url)
        assert type_url in FULL_STATE or answer.names == (name,), answer
        state.names = names
        await self.ack(answer)

    async def ended(self, type_url: str = "") -> grpc.StatusCode:
        """Wait until the stream (of a type, when they are separate) has ended; return its status."""
        stream = self._streams["" if self.mode.aggregated else type_url]
        async with asyncio.timeout(self.within):
            code: grpc.StatusCode = await stream.call.code()
        return code

    # The connection

    def pause(self) -> None:
        """Read no more until `resume`: what the server writes piles up in the network."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    async def half_close(self) -> None:
        """Tell the server that no more requests will come."""
        for stream in self._streams.values():
            await stream.call.done_writing()

    async def reset(self) -> None:
        """Cut all streams off; what was said and heard is forgotten, the connection stays."""
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.call.cancel()
            await end(stream.reader)
        self._types.clear()
        self._unread.clear()

    async def close(self) -> None:
        """End the streams and the connection."""
        await self.reset()
        await self._channel.close(None)

    def _stream(self, key: str) -> _Stream:
        if key not in self._streams:
            service, suffix = SERVICES[key]
            prefix, request, response = (
                ("Delta", DeltaDiscoveryRequest, DeltaDiscoveryResponse)
                if self.delta
                else ("Stream", DiscoveryRequest, DiscoveryResponse)
            )
            method = self._channel.stream_stream(
                f"/{service}/{prefix}{suffix}", request.SerializeToString, response.FromString
            )
            stream = self._streams[key] = _Stream(method(wait_for_ready=True))
            stream.reader = asyncio.create_task(self._read(stream))
        return self._streams[key]

    async def _read(self, stream: _Stream) -> None:
        with suppress(grpc.aio.AioRpcError):
            while True:
                await self._reading.wait()
                message = await stream.call.read()
                if message is _END:
                    break
                await self._take(decode(message, delta=self.delta))
        async with self._arrived:
            self._arrived.notify_all()

    async def _take(self, answer: Answer) -> None:
        async with self._arrived:
            self._types.setdefault(answer.type_url, _Type()).nonce = answer.nonce
            self._unread.append(answer)
            self._arrived.notify_all()

    def _heard(self, types: Collection[str]) -> bool:
        return any(not types or answer.type_url in types for answer in self._unread)

    def _over(self, type_url: str | None) -> bool:
        streams = self._streams.items()
        return any(stream.call.done() and (self.mode.aggregated or type_url in (None, key)) for key, stream in streams)
