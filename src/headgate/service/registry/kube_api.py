"""The Kubernetes API as far as watching goes: lists in pages, watches as lines.

Requests carry the token of now; a 401 has it looked up once more. Proxies in the environment are not used.
Source: Kubernetes API concepts, "Efficient detection of changes", "Retrieving large results sets in chunks".
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from headgate.kit.controls.faults import Unavailable
from headgate.service.registry.asking import body, decoded, fault_of, library, unreachable
from headgate.service.registry.kube_config import Access

_WHO: Final = "Kubernetes"
_HINTS: Final = {
    401: "has the token expired?",
    403: "a Role with list and watch of services and endpointslices is needed: see deploy/kubernetes",
    404: "discovery.k8s.io/v1 needs Kubernetes 1.21 or newer",
}
LONGEST_LINE: Final = 8 * 1024 * 1024
"""Bytes of one event; an object in etcd is at most 1.5 MB."""
PAGE: Final = 500


class KubeApi:
    """One API server. `timeout` is what a list, and the opening of a watch, may take, in seconds."""

    def __init__(self, access: Access, timeout: float) -> None:
        self._access, self._timeout = access, timeout
        self._httpx = library("kubernetes")
        self._client: Any = None

    async def list(self, path: str, parameters: Mapping[str, str], version: str) -> tuple[list[Any], str]:
        """All objects, no older than `version` ("" for those of now), and the version of the list. Raises faults."""
        items: list[Any] = []
        asked = {**parameters, "limit": str(PAGE), **({"resourceVersion": version} if version else {})}
        while True:
            async with self._opened(path, asked, self._timeout) as response:
                found = decoded(await self._body(response), _WHO)
            if not isinstance(found, dict):
                raise Unavailable(f"{_WHO} answered with no list", code="registry_unavailable")
            items += found.get("items") or []
            metadata = found.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            asked = {**parameters, "limit": str(PAGE), "continue": metadata["continue"]}

    @asynccontextmanager
    async def watch(
        self, path: str, parameters: Mapping[str, str], idle: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events, once the watch is open. Ends when the server ends it, or says nothing for `idle`. Raises faults."""
        async with self._opened(path, {**parameters, "watch": "true"}, idle) as response:
            yield self._events(response)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _events(self, response: Any) -> AsyncIterator[dict[str, Any]]:
        rest = bytearray()
        try:
            async for part in response.aiter_bytes():
                *lines, last = bytes(rest + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(line)
                rest = bytearray(last)
                if len(rest) > LONGEST_LINE:
                    raise Unavailable(f"{_WHO} told an event of over {LONGEST_LINE} bytes", code="registry_unavailable")
        except self._httpx.ReadTimeout:
            return
        except (self._httpx.HTTPError, OSError) as error:
            raise unreachable(error, _WHO) from error
        if rest.strip():
            raise Unavailable(f"{_WHO} broke off in the midst of an event", code="registry_unavailable")

    @asynccontextmanager
    async def _opened(self, path: str, parameters: Mapping[str, str], read: float) -> AsyncIterator[Any]:
        for attempt in (1, 2):
            bearer = await self._access.credentials.bearer()
            headers = {"Accept": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
            timeout = self._httpx.Timeout(self._timeout, read=read)
            client = self._connections()
            request = client.build_request("GET", path, params=parameters, headers=headers, timeout=timeout)
            try:
                response = await client.send(request, stream=True)
            except (self._httpx.HTTPError, OSError) as error:
                raise unreachable(error, f"{_WHO} at {self._access.server}") from error
            try:
                if response.status_code == 401 and attempt == 1:
                    self._access.credentials.refused()
                    continue
                if response.status_code != 200:
                    await self._refuse(response)
                yield response
                return
            finally:
                await response.aclose()

    async def _refuse(self, response: Any) -> None:
        status, text = response.status_code, await self._body(response)
        after = response.headers.get("retry-after", "")
        raise fault_of(status, _said(text), after, who=_WHO, hint=_HINTS.get(status, ""))

    async def _body(self, response: Any) -> bytes:
        try:
            return await body(response, _WHO)
        except (self._httpx.HTTPError, OSError) as error:
            raise unreachable(error, _WHO) from error

    def _connections(self) -> Any:
        if self._client is None:
            access = self._access
            limits = self._httpx.Limits(max_connections=None, max_keepalive_connections=32)
            self._client = self._httpx.AsyncClient(
                base_url=access.server, verify=access.tls or True, limits=limits, trust_env=False
            )
        return self._client


def _event(line: bytes) -> dict[str, Any]:
    event = decoded(line, _WHO)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise Unavailable(f"{_WHO} told something else than an event", code="registry_unavailable")
    if event.get("type") == "ERROR":
        status = event["object"]
        raise fault_of(int(status.get("code") or 500), str(status.get("message") or ""), who=_WHO)
    return event


def _said(text: bytes) -> str:
    """The message of a Status, or what there is in place of one."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace")
