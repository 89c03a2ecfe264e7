"""What is asked of a Consul agent: requests with its token and datacentre, answers as JSON or faults.

The token goes in a header, never into a URL, a log or a fault; one in a file is read for each request, so that it can
be changed. Proxies in the environment are not used.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, Violation
from headgate.service.registry.asking import body, decoded, fault_of, library, unreachable

_WHO: Final = "Consul"
_HINTS: Final = {
    403: "does the token have service:write to register, service:read and node:read to ask?",
    429: "Consul limits requests; watch fewer services or raise its limits",
}

Consistency = Literal["default", "stale", "consistent"]


@dataclass(frozen=True, slots=True)
class ConsulOptions:
    """How Consul is asked. Times in seconds. Raises InvalidArgument.

    `dc` asks another datacentre. `consistency`: `stale` lets any server answer. `wait`: how long a query blocks.
    `check`: `ttl`, for which the lease says all `ttl`/3 that it is alive, or `http`, for which the agent asks
    `check_path` of the endpoint `http` all `ttl`/3. Instances that are critical for `deregister_after` are removed
    (Consul takes no less than 60). `wire` is whose port it is when an entry of others is read. `tags` are added.
    `ca_file` verifies an agent on https. Queries for one service are at least `least_pause` apart.
    """

    dc: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    consistency: Consistency = "default"
    wait: float = 55.0
    check: Literal["ttl", "http"] = "ttl"
    ttl: float = 15.0
    check_path: str = "/ready"
    deregister_after: float = 60.0
    wire: str = "http"
    tags: tuple[str, ...] = ()
    ca_file: str = ""
    least_pause: float = 0.1

    def __post_init__(self) -> None:
        rules = {
            "wait": 0 < self.wait <= 600,
            "ttl": self.ttl >= 0.3,
            "deregister_after": self.deregister_after > 0,
            "least_pause": self.least_pause >= 0,
            "check": self.check in ("ttl", "http"),
            "consistency": self.consistency in ("default", "stale", "consistent"),
            "token": not (self.token and self.token_file),
        }
        if wrong := [name for name in rules if not rules[name]]:
            raise InvalidArgument(
                "Consul cannot be asked like this: " + ", ".join(wrong),
                code="invalid_registry_policy",
                violations=[Violation(f"/{name}", "is not possible") for name in wrong],
                hint="wait up to 600, ttl from 0.3, check ttl or http, a token or a file of one",
            )


class ConsulApi:
    """One agent, at `url`."""

    def __init__(self, url: str, options: ConsulOptions, timeout: float) -> None:
        self._url, self._options, self._timeout = url.rstrip("/"), options, timeout
        self._httpx = library("http")
        self._client: Any = None

    async def ask(self, path: str, parameters: dict[str, str], *, wait: float = 0.0) -> tuple[Any, Any]:
        """What `GET path` says, and its headers; `wait` is how long it may block. Raises faults."""
        return await self._request("GET", path, parameters, wait=wait)

    async def tell(self, path: str, content: Any = None, parameters: dict[str, str] | None = None) -> None:
        """`PUT path`. Raises faults."""
        await self._request("PUT", path, parameters or {}, content=content)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _request(
        self, verb: str, path: str, parameters: dict[str, str], *, content: Any = None, wait: float = 0.0
    ) -> tuple[Any, Any]:
        # Consul adds up to a sixteenth to what was asked, so that not all who wait come back at once.
        patience = self._timeout + wait * 17 / 16
        headers = await self._headers()
        try:
            async with (
                asyncio.timeout(patience),
                self._connections().stream(
                    verb, path, params=parameters, json=content, headers=headers, timeout=patience
                ) as response,
            ):
                answer = await body(response, _WHO)
        except (self._httpx.HTTPError, self._httpx.InvalidURL, TimeoutError, OSError) as error:
            raise unreachable(error, f"{_WHO} at {self._url}") from error
        if response.status_code >= 300:
            raise self._fault(response, answer)
        return decoded(answer, _WHO) if verb == "GET" else None, response.headers

    def _connections(self) -> Any:
        if self._client is None:
            verify = self._httpx.create_ssl_context(verify=self._options.ca_file or True, trust_env=False)
            # As many as are watched at once; each blocks one.
            limits = self._httpx.Limits(max_connections=None, max_keepalive_connections=64)
            self._client = self._httpx.AsyncClient(
                base_url=self._url, verify=verify, limits=limits, trust_env=False, follow_redirects=False
            )
        return self._client

    async def _headers(self) -> dict[str, str]:
        token = self._options.token
        if self._options.token_file:
            try:
                token = (await asyncio.to_thread(Path(self._options.token_file).read_text)).strip()
            except OSError as error:
                raise FailedPrecondition(
                    f"the token of Consul cannot be read: {self._options.token_file}: {error.strerror}",
                    code="token_unreadable",
                ) from error
        return {"X-Consul-Token": token} if token else {}

    def _fault(self, response: Any, answer: bytes) -> Fault:
        status = response.status_code
        text = answer.decode(errors="replace")
        after = response.headers.get("retry-after", "")
        return fault_of(status, text, after, who=_WHO, hint=_HINTS.get(status, ""))
