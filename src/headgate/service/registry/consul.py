"""Consul: instances are services of its agents, watched by blocking queries, kept alive by TTL or HTTP checks.

    registry = ConsulRegistry("http://127.0.0.1:8500", ConsulOptions(dc="eu", token_file="/run/secrets/consul"))

Only instances whose checks pass are told of. An index that goes back means that Consul lost its state or was
replaced: what it says then is doubted when it is empty. Needs the extra `http`.

What Consul should allow the token (ACL rules): to callers `service_prefix "" { policy = "read" }` and
`node_prefix "" { policy = "read" }`, to an instance of orders also `service "orders" { policy = "write" }`.

Source: Consul's HTTP API, "Blocking Queries", "Agent - Check". Namespaces and partitions are not used.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

from headgate.kit.controls.faults import Fault, InvalidArgument, NotFound, Unavailable, Violation
from headgate.service.registry.base import BaseRegistry, Versions
from headgate.service.registry.consul_api import ConsulApi, ConsulOptions
from headgate.service.registry.consul_form import definition, instance_of, versions_of
from headgate.service.registry.instance import Instance
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.watcher import Answer

_POLL_SECONDS: Final = 5.0


class ConsulRegistry(BaseRegistry):
    """See the module. `url` is an agent's, best the one of this machine."""

    name = "consul"

    def __init__(
        self,
        url: str = "http://127.0.0.1:8500",
        options: ConsulOptions | None = None,
        *,
        policy: RegistryPolicy | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        super().__init__(policy, observer)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InvalidArgument("the URL of Consul is http(s)://HOST:PORT", code="invalid_registry_url")
        self.options = options or ConsulOptions()
        self._api = ConsulApi(url, self.options, self.policy.call_timeout)

    async def services(self) -> Versions:
        """All services of the datacentre, and the versions that their tags tell. Raises faults of asking."""
        found, _ = await self._api.ask("/v1/catalog/services", reading(self.options))
        return {name: versions_of(tags or []) for name, tags in sorted(found.items()) if name != "consul"}

    def _source(self, service: str) -> "_Source":
        return _Source(self._api, self.options, service)

    def _keeper(self) -> "_Keeper":
        return _Keeper(self._api, self.options)

    async def _shut(self) -> None:
        await self._api.aclose()


class _Source:
    def __init__(self, api: ConsulApi, options: ConsulOptions, service: str) -> None:
        self._api, self._options, self._service = api, options, service
        self._index = 0

    async def follow(self) -> AsyncIterator[Answer]:
        path = f"/v1/health/service/{quote(self._service, safe='')}"
        asked = {"passing": "true", **reading(self._options)}
        # After a failure the first query must not block: what changed meanwhile is wanted now.
        index, before = 0, self._index
        while True:
            wait = self._options.wait if index else 0.0
            blocking = {"index": str(index), "wait": f"{wait * 1000:.0f}ms"} if index else {}
            found, headers = await self._api.ask(path, {**asked, **blocking}, wait=wait)
            self._index = _index(headers)
            backwards = self._index < before
            before, index = self._index, 0 if backwards and index else self._index
            yield Answer(self._instances(found), doubtful=backwards or _without_leader(headers))
            # Without an index nothing blocks.
            await asyncio.sleep(self._options.least_pause if "x-consul-index" in headers else _POLL_SECONDS)

    def _instances(self, found: Any) -> tuple[Instance, ...]:
        if not isinstance(found, list):
            raise Unavailable("Consul answered with something else than a list", code="registry_unavailable")
        made = (instance_of(entry, self._service, self._options.wire) for entry in found)
        return tuple(each for each in made if each is not None)

    async def aclose(self) -> None:
        pass


class _Keeper:
    def __init__(self, api: ConsulApi, options: ConsulOptions) -> None:
        self._api, self._options = api, options
        self.interval = options.ttl / 3

    async def put(self, instance: Instance) -> None:
        body = definition(instance, self._options.tags, self._check(instance))
        await self._api.tell("/v1/agent/service/register", body, {"replace-existing-checks": "true"})

    async def renew(self, instance: Instance) -> bool:
        try:
            if self._options.check == "ttl":
                await self._api.tell(f"/v1/agent/check/pass/{quote('service:' + instance.id, safe='')}")
            else:
                await self._api.ask(f"/v1/agent/service/{quote(instance.id, safe='')}", {})
        except NotFound:
            return False
        except Fault as fault:
            # Consul before 1.11 answers 500 here.
            if "does not have associated TTL" in fault.message or "Unknown check" in fault.message:
                return False
            raise
        return True

    async def remove(self, instance: Instance) -> None:
        try:
            await self._api.tell(f"/v1/agent/service/deregister/{quote(instance.id, safe='')}")
        except NotFound:
            return
        except Fault as fault:
            if "Unknown service" not in fault.message:
                raise

    def _check(self, instance: Instance) -> dict[str, Any]:
        after = f"{self._options.deregister_after:g}s"
        common = {"CheckID": f"service:{instance.id}", "DeregisterCriticalServiceAfter": after}
        if self._options.check == "ttl":
            # Passing from the start: an update would else take it away until the next renewal.
            return {**common, "TTL": f"{self._options.ttl:g}s", "Status": "passing"}
        if "http" not in instance.endpoints:
            raise InvalidArgument(
                f"'{instance.id}' has no endpoint 'http' that Consul could check",
                code="invalid_instance",
                violations=[Violation("/endpoints/http", "is required")],
                hint="check='ttl' needs none",
            )
        url = instance.endpoints["http"].rstrip("/") + self._options.check_path
        each = f"{self._options.ttl / 3:g}s"
        return {**common, "HTTP": url, "Method": "GET", "Interval": each, "Timeout": each}


def reading(options: ConsulOptions) -> dict[str, str]:
    """The parameters of every query."""
    parameters = {"dc": options.dc} if options.dc else {}
    if options.consistency != "default":
        parameters[options.consistency] = ""
    return parameters


def _index(headers: Any) -> int:
    """The index to go on from: at least 1, for 0 would not block."""
    told = headers.get("x-consul-index", "")
    return max(int(told), 1) if told.isdigit() else 1


def _without_leader(headers: Any) -> bool:
    return bool(headers.get("x-consul-knownleader", "true") == "false")
