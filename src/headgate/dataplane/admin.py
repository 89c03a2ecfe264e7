"""Envoy's own administration, asked over loopback with nothing but the standard library: `up` stays light."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from headgate.dataplane.bootstrap import Address
from headgate.kit.controls.faults import Unavailable


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who answers: version (`1.40.0`), state as Envoy calls it (`LIVE`, `PRE_INITIALIZING`, ...), seconds up."""

    version: str
    state: str
    uptime: int


class Admin:
    """Asks one Envoy. Every method raises Unavailable (`envoy_admin_unreachable`) when it does not answer."""

    def __init__(self, address: Address, *, timeout: float = 2.0) -> None:
        self.address = address
        self._timeout = timeout

    async def ready(self) -> bool:
        """Whether Envoy has a configuration and serves it."""
        try:
            status, _ = await self._ask("GET", "/ready")
        except Unavailable:
            return False
        return status == http.HTTPStatus.OK

    async def server_info(self) -> ServerInfo:
        """Say who runs there."""
        info = await self.get_json("/server_info")
        version = str(info["version"]).split("/")
        uptime = int(str(info.get("uptime_current_epoch", "0s")).rstrip("s") or 0)
        return ServerInfo(version[1] if len(version) > 1 else version[0], info["state"], uptime)

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Return counters and gauges whose names match the regular expression."""
        query = f"&filter={quote(pattern)}" if pattern else ""
        found = await self.get_json(f"/stats?format=json{query}")
        return {entry["name"]: entry["value"] for entry in found["stats"] if isinstance(entry.get("value"), int)}

    async def drain_listeners(self) -> None:
        """Ask connections to finish: Envoy answers with `Connection: close` and GOAWAY, and goes on serving."""
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def get_json(self, path: str) -> Any:
        """Return the answer to a GET, read as JSON."""
        status, body = await self._ask("GET", path)
        if status != http.HTTPStatus.OK:
            raise Unavailable(f"Envoy's admin answered {status} to {path}", code="envoy_admin_unreachable")
        try:
            return json.loads(body)
        except ValueError as error:
            raise Unavailable(f"Envoy's admin answered {path} with no JSON", code="envoy_admin_unreachable") from error

    async def get_text(self, path: str) -> str:
        """Return the answer to a GET as text."""
        return (await self._ask("GET", path))[1].decode("utf-8", "replace")

    async def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._ask_blocking, method, path)

    def _ask_blocking(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=self._timeout)
        try:
            connection.request(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"Envoy's admin at {self.address} does not answer: {error}", code="envoy_admin_unreachable"
            ) from error
        finally:
            connection.close()
