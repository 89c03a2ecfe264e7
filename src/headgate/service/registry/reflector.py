"""A copy of some objects of the Kubernetes API, kept up by a list and a watch.

    list        all objects and a version; nothing is told before the whole list is here
    watch       from that version; every event and bookmark moves the version on
    resume      a watch that ended or broke goes on from the version it had, so that nothing is missed
    410         the version is too old to go on from: list again. What was deleted meanwhile is gone then

A watch asks to be ended after 240 to 300 seconds, so that servers are not held for ever; and one that says nothing for
`idle` seconds, not even a bookmark, is taken for dead. Source: client-go's Reflector, for what it has learnt.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from headgate.kit.controls.faults import Fault, OutOfRange
from headgate.service.registry.kube_api import KubeApi
from headgate.service.registry.policy import RegistryPolicy

_SHORTEST_WATCH: Final = (240, 60)
"""Seconds, and by how much more at most."""
_CATCH_UP_SECONDS: Final = 0.1
"""For how long a watch that was resumed may tell what was missed before its objects are called those of now."""
_CACHED: Final = "0"
"""The version that lets a server answer from its cache."""


class Reflector:
    """The objects at `path` that `parameters` select, by namespace and name. `news` is called when they change."""

    def __init__(
        self,
        api: KubeApi,
        path: str,
        parameters: Mapping[str, str],
        *,
        policy: RegistryPolicy,
        idle: float,
        news: Callable[[], None],
    ) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.synced = False
        """Whether `objects` is all there is, as of now."""
        self._api, self._path, self._parameters = api, path, parameters
        self._policy, self._idle, self._news = policy, idle, news
        self._version = ""
        self._least = _CACHED

    async def run(self) -> None:
        """Keep the copy until something goes wrong. Raises the fault; `run` again goes on from there."""
        expired = 0
        try:
            while True:
                try:
                    if not self._version:
                        await self._list()
                    started = asyncio.get_running_loop().time()
                    await self._watch()
                    await self._breathe(started)
                    expired = 0
                except OutOfRange as fault:
                    if fault.code != "registry_gone":
                        raise
                    # Lists that expire at once mean a server in trouble.
                    self._version = self._least = ""
                    expired += 1
                    await asyncio.sleep(self._policy.pause(expired))
        finally:
            self.synced = False

    async def _list(self) -> None:
        try:
            items, version = await self._api.list(self._path, self._parameters, self._least)
        except Fault as fault:
            if "Too large resource version" in fault.message:
                self._least = ""
            raise
        self.objects = {_key(item): item for item in items}
        # Never an older list than what was told already.
        self._version = self._least = version
        self._sync()

    async def _watch(self) -> None:
        least, more = _SHORTEST_WATCH
        asked = {
            **self._parameters,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(least + round(self._policy.spread() * more)),
        }
        async with self._api.watch(self._path, asked, self._idle) as events:
            # What happened meanwhile comes first, and nothing marks its end.
            caught_up = asyncio.get_running_loop().call_later(_CATCH_UP_SECONDS, self._sync)
            try:
                async for event in events:
                    self._apply(event)
            finally:
                caught_up.cancel()

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, item = event.get("type"), event["object"]
        if kind in ("ADDED", "MODIFIED"):
            self.objects[_key(item)] = item
        elif kind == "DELETED":
            self.objects.pop(_key(item), None)
        version = (item.get("metadata") or {}).get("resourceVersion")
        if version:
            self._version = self._least = str(version)
        # A bookmark changes nothing, but says that what is known is of now.
        self._news()

    async def _breathe(self, started: float) -> None:
        """A server that ends every watch at once is not asked without a pause."""
        if asyncio.get_running_loop().time() - started < 1.0:
            await asyncio.sleep(self._policy.pause(2))

    def _sync(self) -> None:
        self.synced = True
        self._news()


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
