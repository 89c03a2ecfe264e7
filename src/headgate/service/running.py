"""An application that is served: its parts, and where it answers.

async with app.started() as running:
    httpx.get(f"{running.url}/orders/o-1")
    await running.client(Orders, wire="grpc").get("o-1")
"""

from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Serving
from headgate.kit.serve.ports import shown
from headgate.service.client.client import Client, WireName
from headgate.service.service import Service
from headgate.service.settings import ServiceSettings

if TYPE_CHECKING:
    from headgate.kit.grpc.server import GrpcServer

S = TypeVar("S", bound=Service)


class Running:
    """See the module. Addresses are those of this machine, with the ports that were taken."""

    def __init__(self, serving: Serving, http: HttpServer, rpc: "GrpcServer | None", settings: ServiceSettings) -> None:
        self.serving = serving
        self._http = http
        self._rpc = rpc
        self._settings = settings
        self._clients: list[Client[Any]] = []

    @property
    def url(self) -> str:
        """Where HTTP answers, such as `http://127.0.0.1:8080`."""
        return self._http.url

    @property
    def socket_url(self) -> str:
        """Where the WebSocket answers, such as `ws://127.0.0.1:8080/rpc`."""
        return self.endpoints(self._http.host)["socket"]

    @property
    def grpc_address(self) -> str:
        """Where gRPC answers, `host:port`; "" when it does not."""
        return "" if self._rpc is None else shown(self._http.host, self._rpc.port)

    def endpoints(self, host: str) -> dict[str, str]:
        """The address of each wire, for who reaches this process at `host`."""
        secure = "s" if self._http.certificates is not None else ""
        wires, port = self._settings.wires, self._http.port
        found: dict[str, str] = {}
        if "http" in wires:
            found["http"] = f"http{secure}://{shown(host, port)}"
        if self._rpc is not None:
            found["grpc"] = ("grpcs://" if secure else "") + shown(host, self._rpc.port)
        if "socket" in wires:
            found["socket"] = f"ws{secure}://{shown(host, port)}{self._settings.socket_path}"
        if "nats" in wires and self._settings.nats_url is not None:
            found["nats"] = without_user(self._settings.nats_url.get_secret_value())
        return found

    def client(self, service: type[S], *, wire: WireName = "http", **options: Any) -> S:
        """A stub for one of the services here; `options` are those of Client. It is closed with the application."""
        address = self.endpoints(self._http.host)[wire]
        client = Client(service, address=address, wire=wire, **options)
        self._clients.append(cast("Client[Any]", client))
        return client.stub

    async def aclose(self) -> None:
        """Close the clients that were made here."""
        clients, self._clients = self._clients, []
        for client in clients:
            await client.aclose()


def without_user(url: str) -> str:
    """The URL as others may see it: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
