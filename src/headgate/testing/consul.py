"""A Consul agent for tests: services, TTL checks, blocking queries, tokens; and the faults of real ones.

    async with FakeConsul(token="secret") as consul:
        registry = ConsulRegistry(consul.url, ConsulOptions(token="secret"))
        consul.forget()                                     # as an agent that restarts with nothing on disk
        consul.index = 1                                    # the index goes back
        consul.fail("/v1/health", status=500, times=3)
        await consul.stop(); await consul.start()           # an outage

It speaks real HTTP on 127.0.0.1. Statuses and texts are those of Consul 1.8 (and of 1.11 with `modern=True`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from headgate.testing.http_server import Answered, Asked, HttpFake


class FakeConsul(HttpFake):
    """See the module. `index` is what X-Consul-Index tells."""

    def __init__(self, *, token: str = "", modern: bool = False, node: str = "fake", port: int = 0) -> None:
        super().__init__(port=port)
        self.index = 10
        self.services: dict[str, dict[str, Any]] = {}
        """Definitions by id, as they were registered, with `Passing`."""
        self._token, self._modern, self._node = token, modern, node
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()

    def change(self) -> None:
        """The index grows, and blocked queries return."""
        self.index += 1
        self._wake()

    def forget(self) -> None:
        """All services are gone, and the index starts over: an agent that kept nothing."""
        for timer in self._timers.values():
            timer.cancel()
        self.services.clear()
        self.index = 1
        self._wake()

    def set_passing(self, service_id: str, *, passing: bool) -> None:
        """The check of a service changes."""
        found = self.services[service_id]
        if found["Passing"] is not passing:
            found["Passing"] = passing
            self.change()

    async def stop(self) -> None:
        """Be gone: every connection is reset; services stay, as on disk."""
        for timer in self._timers.values():
            timer.cancel()
        await super().stop()

    async def answer(self, asked: Asked) -> Answered:
        """What Consul says."""
        if self._token and asked.headers.get("x-consul-token") != self._token:
            return Answered(403, "Permission denied" if self._modern else "rpc error making call: ACL not found")
        match asked.method, *asked.path.strip("/").split("/", 4):
            case "GET", "v1", "health", "service", name:
                return await self._health(name, asked.query)
            case "GET", "v1", "catalog", "services":
                return self._indexed(self._listed())
            case "PUT", "v1", "agent", "service", "register":
                return self._register(asked.body)
            case "PUT", "v1", "agent", "service", "deregister", service_id:
                return self._deregister(service_id)
            case "PUT", "v1", "agent", "check", "pass", check:
                return self._pass(check.removeprefix("service:"))
            case "GET", "v1", "agent", "service", *rest if found := self.services.get("/".join(rest)):
                return Answered(200, found)
        return Answered(404, f"unknown: {asked.path}")

    async def _health(self, name: str, query: Mapping[str, str]) -> Answered:
        after = int(query.get("index", "0"))
        seconds = float(query.get("wait", "300000ms").removesuffix("ms")) / 1000
        if 0 < after == self.index:
            news = self._news
            try:
                async with asyncio.timeout(seconds):
                    await news.wait()
            except TimeoutError:
                pass
        found = [each for each in self.services.values() if each["Name"] == name]
        return self._indexed([self._entry(each) for each in found if each["Passing"] or "passing" not in query])

    def _entry(self, found: Mapping[str, Any]) -> dict[str, Any]:
        service = {
            "ID": found["ID"],
            "Service": found["Name"],
            "Tags": found.get("Tags") or [],
            "Meta": found.get("Meta") or {},
            "Address": found.get("Address", ""),
            "Port": found.get("Port", 0),
            "Weights": found.get("Weights") or {"Passing": 1, "Warning": 1},
        }
        status = "passing" if found["Passing"] else "critical"
        return {
            "Node": {"Node": self._node, "Address": "127.0.0.1", "Meta": {}},
            "Service": service,
            "Checks": [{"CheckID": f"service:{found['ID']}", "Status": status}],
        }

    def _listed(self) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {"consul": []}
        for each in self.services.values():
            listed.setdefault(each["Name"], []).extend(each.get("Tags") or [])
        return listed

    def _register(self, told: Mapping[str, Any]) -> Answered:
        meta = told.get("Meta") or {}
        if len(meta) > 64 or any(len(name) > 128 or len(value) > 512 for name, value in meta.items()):
            return Answered(400, "Invalid Service Meta")
        check = told.get("Check") or {}
        self.services[told["ID"]] = {**told, "Passing": check.get("Status", "critical") == "passing" or not check}
        self._expect(told["ID"])
        self.change()
        return Answered(200, "")

    def _deregister(self, service_id: str) -> Answered:
        if self.services.pop(service_id, None) is None:
            text = f'Unknown service ID "{service_id}". Ensure that the service ID is passed, not the service name.'
            return Answered(404 if self._modern else 500, text)
        if timer := self._timers.pop(service_id, None):
            timer.cancel()
        self.change()
        return Answered(200, "")

    def _pass(self, service_id: str) -> Answered:
        if service_id not in self.services:
            if self._modern:
                return Answered(404, f'Unknown check ID "service:{service_id}". Ensure that the check ID is passed.')
            return Answered(500, f'CheckID "service:{service_id}" does not have associated TTL')
        self._expect(service_id)
        self.set_passing(service_id, passing=True)
        return Answered(200, "")

    def _expect(self, service_id: str) -> None:
        """Begin to wait for the next renewal."""
        if timer := self._timers.pop(service_id, None):
            timer.cancel()
        ttl = str((self.services[service_id].get("Check") or {}).get("TTL") or "")
        if ttl:
            loop = asyncio.get_running_loop()
            self._timers[service_id] = loop.call_later(float(ttl.removesuffix("s")), self._expire, service_id)

    def _expire(self, service_id: str) -> None:
        if service_id in self.services:
            self.set_passing(service_id, passing=False)

    def _indexed(self, body: Any) -> Answered:
        headers = {"X-Consul-Index": str(self.index), "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
        return Answered(200, body, headers)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
