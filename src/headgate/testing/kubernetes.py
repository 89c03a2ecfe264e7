"""A Kubernetes API server for tests: Services and EndpointSlices, lists and watches; and the faults of real ones.

    async with FakeKubernetes(token="secret") as kube:
        kube.put_service("orders", ports={"http": 8080}, labels={"headgate.dev/version": "1.2.0"})
        kube.put_slice("orders", {"orders-1": "10.0.0.1"}, ports={"http": 8080})
        registry = KubernetesRegistry(access=kube.access())
        kube.cut_watches()                      # reset in the midst of a stream
        kube.expire()                           # watches end with ERROR 410, older versions are refused
        kube.repeat()                           # every watch is told its last event again
        kube.fail("/api/v1", status=429, headers={"retry-after": "1"})

It speaks real HTTP on 127.0.0.1: pages, label and field selectors, resource versions, bookmarks.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.service.registry.kube_config import Access, Credentials
from headgate.testing.http_server import Answered, Asked, Cut, HttpFake

_KINDS: Final = {"services": "Service", "endpointslices": "EndpointSlice"}
Key = tuple[str, str, str]


@dataclass(eq=False)
class _Watch:
    """An open watch: `queue` holds events, or what ends it."""

    plural: str
    namespace: str
    query: Mapping[str, str]
    queue: asyncio.Queue[dict[str, Any] | type[Cut] | None] = field(default_factory=asyncio.Queue)
    last: dict[str, Any] | None = None


class FakeKubernetes(HttpFake):
    """See the module. `version` is the resource version of now; events of versions before `oldest` are forgotten."""

    def __init__(self, *, token: str = "", port: int = 0) -> None:
        super().__init__(port=port)
        self.version = 100
        self.oldest = 0
        self.token = token
        self.objects: dict[Key, dict[str, Any]] = {}
        self._history: list[tuple[str, str, dict[str, Any]]] = []
        self._watches: set[_Watch] = set()

    def access(self, namespace: str = "default", *, token_file: str = "") -> Access:
        """How to reach it."""
        return Access(self.url, namespace, None, Credentials(token=self.token, token_file=token_file))

    def put_service(
        self,
        name: str,
        *,
        namespace: str = "default",
        ports: Mapping[str, int] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """Create or replace a Service. `spec` may say `clusterIP="None"`, `type="ExternalName"`."""
        listed = [{"name": each, "port": port} for each, port in (ports or {"http": 80}).items()]
        metadata = {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
        body = {"metadata": metadata, "spec": {"clusterIP": "10.96.0.1", "ports": listed, **spec}}
        self.put("services", namespace, name, body)

    def put_slice(
        self,
        service: str,
        pods: Mapping[str, str],
        *,
        name: str = "",
        namespace: str = "default",
        ports: Mapping[str, int] | None = None,
        family: str = "IPv4",
        ready: bool | None = True,
        **endpoint: Any,
    ) -> None:
        """Create or replace a slice of `service`: addresses by the names of pods. `endpoint` is added to each."""
        endpoints = [
            {
                "addresses": [address],
                "conditions": {} if ready is None else {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod},
                **endpoint,
            }
            for pod, address in pods.items()
        ]
        body = {
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": each, "port": port} for each, port in (ports or {"http": 8080}).items()],
        }
        self.put("endpointslices", namespace, name or f"{service}-a", body)

    def put(self, plural: str, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Create or replace an object, and tell those who watch."""
        key = (plural, namespace, name)
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self.version += 1
        metadata = {**body["metadata"], "name": name, "namespace": namespace, "resourceVersion": str(self.version)}
        self.objects[key] = {**body, "metadata": metadata}
        self._tell(kind, plural, self.objects[key])

    def delete(self, plural: str, name: str, namespace: str = "default") -> None:
        """Delete an object, and tell those who watch."""
        gone = self.objects.pop((plural, namespace, name))
        self.version += 1
        metadata = {**gone["metadata"], "resourceVersion": str(self.version)}
        self._tell("DELETED", plural, {**gone, "metadata": metadata})

    def bookmark(self) -> None:
        """Tell every watch the version of now."""
        self.version += 1
        for watch in self._watches:
            if watch.query.get("allowWatchBookmarks") == "true":
                metadata = {"resourceVersion": str(self.version)}
                watch.queue.put_nowait({"type": "BOOKMARK", "object": {"metadata": metadata}})

    def expire(self) -> None:
        """Forget all events until now: watches end with ERROR 410, and older versions are refused."""
        self.version += 1
        self.oldest = self.version
        self._history.clear()
        for watch in self._watches:
            watch.queue.put_nowait({"type": "ERROR", "object": _status(410, "too old resource version")})
            watch.queue.put_nowait(None)

    def end_watches(self) -> None:
        """Every watch ends, as after its timeout."""
        for watch in self._watches:
            watch.queue.put_nowait(None)

    def cut_watches(self) -> None:
        """Every watch is reset in the midst of an event."""
        for watch in self._watches:
            watch.queue.put_nowait(Cut)

    def repeat(self) -> None:
        """Every watch is told its last event again."""
        for watch in self._watches:
            if watch.last is not None:
                watch.queue.put_nowait(watch.last)

    @property
    def watching(self) -> int:
        """Watches that are open."""
        return len(self._watches)

    async def answer(self, asked: Asked) -> Answered:
        """What the API server says."""
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return Answered(401, _status(401, "Unauthorized"))
        match asked.path.strip("/").split("/"):
            case [*_, "namespaces", namespace, plural] if plural in _KINDS:
                pass
            case [*_, plural] if plural in _KINDS:
                namespace = ""
            case _:
                return Answered(404, _status(404, "the server could not find the requested resource"))
        if asked.query.get("watch") == "true":
            return self._watch(plural, namespace, asked.query)
        return self._list(plural, namespace, asked.query)

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> Answered:
        wanted = query.get("resourceVersion", "")
        if wanted.isdigit() and int(wanted) > self.version:
            return Answered(504, _status(504, f"Too large resource version: {wanted}, current: {self.version}"))
        of_kind = [item for key, item in sorted(self.objects.items()) if key[0] == plural]
        found = [item for item in of_kind if _fits(item, namespace, query)]
        start, most = int(query.get("continue", "0")), int(query.get("limit", "500"))
        metadata: dict[str, Any] = {"resourceVersion": str(self.version)}
        if start + most < len(found):
            metadata["continue"] = str(start + most)
        listed = {"kind": f"{_KINDS[plural]}List", "metadata": metadata, "items": found[start : start + most]}
        return Answered(200, listed)

    def _watch(self, plural: str, namespace: str, query: Mapping[str, str]) -> Answered:
        after = int(query.get("resourceVersion", "0") or 0)
        if after < self.oldest:
            gone = {"type": "ERROR", "object": _status(410, f"too old resource version: {after} ({self.oldest})")}
            return Answered(200, stream=_lines([gone]))
        watch = _Watch(plural, namespace, query)
        for kind, told, item in self._history:
            if told == plural and int(item["metadata"]["resourceVersion"]) > after and _fits(item, namespace, query):
                watch.queue.put_nowait({"type": kind, "object": item})
        return Answered(200, stream=self._events(watch))

    async def _events(self, watch: _Watch) -> AsyncIterator[bytes]:
        self._watches.add(watch)
        try:
            async with asyncio.timeout(float(watch.query.get("timeoutSeconds", "300"))):
                while (event := await watch.queue.get()) is not None:
                    if not isinstance(event, dict):
                        yield b'{"type": "MODIFIED", "obj'
                        raise Cut
                    watch.last = event
                    yield json.dumps(event).encode() + b"\n"
        except TimeoutError:
            return
        finally:
            self._watches.discard(watch)

    def _tell(self, kind: str, plural: str, item: dict[str, Any]) -> None:
        self._history.append((kind, plural, item))
        for watch in self._watches:
            if watch.plural == plural and _fits(item, watch.namespace, watch.query):
                watch.queue.put_nowait({"type": kind, "object": item})


async def _lines(events: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for event in events:
        yield json.dumps(event).encode() + b"\n"


def _fits(item: Mapping[str, Any], namespace: str, query: Mapping[str, str]) -> bool:
    metadata = item["metadata"]
    if namespace and metadata["namespace"] != namespace:
        return False
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    if name and metadata["name"] != name:
        return False
    pairs = (pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair)
    return all(metadata.get("labels", {}).get(label) == value for label, _, value in pairs)


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message}
