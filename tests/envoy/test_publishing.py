"""What is exposed and imported is there, through a real Envoy fed by the control plane."""

import asyncio
from base64 import b64encode
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import running_control_plane
from headgate.testing.echo import Echo
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually, require_envoy
from headgate.testing.server import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]


class Gateway:
    """An Envoy, the API that configures it, and an upstream that echoes."""

    def __init__(self, api: httpx.AsyncClient, port: int, echo: Echo) -> None:
        self.api = api
        self.port = port
        self.echo = echo
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    async def expose(self, **body: Any) -> None:
        """Expose, and wait until Envoy has it."""
        answer = await self.api.post("/api/v1/platform/expose", json=body)
        assert answer.is_success, answer.text
        await self.served(answer.json()["revision"])

    async def served(self, revision: int) -> None:
        """Wait until Envoy has acknowledged a revision."""

        async def acknowledged() -> bool:
            items = (await self.api.get("/api/v1/native/dataplanes")).json()["items"]
            return bool(items) and all(item["revision_acked"] >= revision for item in items)

        await eventually(acknowledged)

    async def arrives(self, path: str, **headers: str) -> tuple[str, str, str]:
        """The path, the query and the host which the upstream sees."""
        seen = (await self.client.get(path, headers=headers)).json()
        return seen["path"], seen["query"], dict(seen["headers"])["host"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory):
    """A gateway with nothing published."""
    require_envoy()
    directory = tmp_path_factory.mktemp("publishing")
    port = free_port()
    async with (
        Echo() as echo,
        running_control_plane(directory / "cp", gateway_port=port) as running,
        RealEnvoy(bootstrap_for(running.xds_port), directory / "envoy"),
    ):
        made = Gateway(running.client, port, echo)
        yield made
        await made.client.aclose()


@pytest.mark.parametrize(
    ("url", "path", "asked", "arriving"),
    [
        ("", "/keep", "/keep/a%20b?q=1", "/keep/a%20b"),
        ("", "/keep", "/keep?q=1", "/keep"),
        ("/", "/swap", "/swap/a/b?q=1", "/a/b"),
        ("/", "/swap", "/swap?q=1", "/"),
        ("/", "/swap", "/swap/?q=1", "/"),
        ("/base", "/swap", "/swap/a?q=1", "/base/a"),
        ("/base", "/swap", "/swap?q=1", "/base"),
        ("/base/", "/swap", "/swap/a?q=1", "/base/a"),
        ("/base/", "/swap", "/swap?q=1", "/base/"),
        ("/base", "/", "/a?q=1", "/base/a"),
        ("/base/", "/", "/?q=1", "/base/"),
    ],
)
async def test_the_path_that_arrives(gateway, url, path, asked, arriving):
    """The path of the URL takes the place of the one exposed under; without one, the path arrives as it was sent."""
    await gateway.expose(name="it", url=gateway.echo.url + url, path=path)
    assert await gateway.arrives(asked) == (arriving, "q=1", "127.0.0.1")


async def test_only_whole_segments_match(gateway):
    """A path is served with what is below it, not with what merely starts alike."""
    await gateway.expose(name="it", url=gateway.echo.url, path="/hello")
    assert (await gateway.client.get("/helloworld")).status_code == 404


async def test_names_are_looked_up(gateway):
    """An upstream given by name is looked up, and sees its own name as host."""
    await gateway.expose(name="it", url=f"http://localhost:{gateway.echo.port}", path="/named")

    async def answers() -> bool:
        return (await gateway.client.get("/named")).status_code == 200

    await eventually(answers)
    assert (await gateway.arrives("/named"))[2] == "localhost"


async def test_domains_keep_to_themselves(gateway):
    """What is exposed for a domain answers there only, and is gone when it is taken back."""
    await gateway.expose(name="shop", url=gateway.echo.url, path="/shop", domain="shop.example")
    assert (await gateway.client.get("/shop", headers={"host": "shop.example"})).status_code == 200
    assert (await gateway.client.get("/shop")).status_code == 404
    answer = await gateway.api.delete("/api/v1/platform/expose/shop")
    await gateway.served(answer.json()["revision"])
    assert (await gateway.client.get("/shop", headers={"host": "shop.example"})).status_code == 404


async def test_websockets_pass(gateway):
    """A WebSocket through the gateway reaches the upstream and back."""
    await gateway.expose(name="chat", url=gateway.echo.url, path="/chat")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    key = b64encode(bytes(16)).decode()
    writer.write(
        f"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    writer.write(b"\x81\x85\0\0\0\0hello")
    assert await reader.readexactly(7) == b"\x81\x05hello"
    writer.close()


async def test_an_import_and_its_change_reach_envoy(gateway):
    """An imported API answers under its path; what a changed document drops answers no longer."""
    document = {"openapi": "3.1.0", "info": {"title": "x"}, "paths": {"/a": {"get": {}}, "/b/{id}": {"get": {}}}}
    query = {"name": "api", "upstream": gateway.echo.url + "/up", "path": "/api"}
    for paths, statuses in ((("/a", "/b/{id}"), (200, 200)), (("/a",), (200, 404))):
        wanted = {**document, "paths": {path: document["paths"][path] for path in paths}}
        answer = await gateway.api.post("/api/v1/platform/import/openapi", params=query, json=wanted)
        await gateway.served(answer.json()["revision"])
        found = [(await gateway.client.get(path)).status_code for path in ("/api/a", "/api/b/1")]
        assert tuple(found) == statuses
    assert (await gateway.arrives("/api/a?q"))[:2] == ("/up/a", "q")
    assert (await gateway.client.post("/api/a")).status_code == 404
