"""What requests experience through Envoy when the API said so: the edge, time, failure, balance and protocols."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import running_control_plane
from headgate.testing.echo import Echo
from headgate.testing.envoy import eventually
from headgate.testing.server import free_port
from tests.envoy.live import Live, cluster, dataplane, forward, http, put, routes
from tests.envoy.upstream import Upstream

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

NAMES = ("a", "b", "c")
STRICT = {
    "xff_trusted_hops": 1,
    "max_request_headers_kb": 2,
    "headers_with_underscores": "reject",
    "escaped_slashes": "unescape_and_redirect",
    "request_headers_timeout_ms": 300,
}
LAX = {
    "headers_with_underscores": "drop",
    "escaped_slashes": "keep",
    "normalize_path": False,
    "merge_slashes": False,
    "server_name": "",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(tmp_path_factory) -> AsyncIterator[Live]:
    """A control plane and an Envoy for all tests of this file."""
    directory = tmp_path_factory.mktemp("features")
    async with running_control_plane(directory / "plane") as plane, dataplane(plane, directory / "envoy") as live:
        yield live


@pytest_asyncio.fixture(loop_scope="module")
async def upstreams() -> AsyncIterator[dict[str, Upstream]]:
    """Three upstreams."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Upstream(name)) for name in NAMES}


@pytest_asyncio.fixture(loop_scope="module")
async def echo() -> AsyncIterator[Echo]:
    """An upstream that says what arrived."""
    async with Echo() as server:
        yield server


async def serve(live, *several, clusters=None, **manager):
    """Serve routes on the listener `web`, over these clusters."""
    await live.settle(
        *(put("cluster", name, spec) for name, spec in (clusters or {}).items()),
        put("route_config", "web", routes(*several)),
        put("listener", "web", http(live.port, "web", **manager)),
    )


async def raw(port, text, until=b"\r\n\r\n"):
    """Send bytes and return the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(10):
            return (await reader.readuntil(until)).decode("latin-1")
    finally:
        writer.close()


async def statuses(live, count, path="/", **options):
    """How often each (status, body) came back."""
    seen = Counter()
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(count):
            answer = await client.get(live.url + path, **options)
            seen[answer.status_code, answer.text] += 1
    return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edges(live) -> AsyncIterator[dict[str, int]]:
    """Ports of two listeners with the opposite of the defaults, in front of an echo."""
    ports = {"strict": free_port(), "lax": free_port()}
    async with Echo() as echo:
        await live.settle(
            put("cluster", "edge", cluster(echo.port)),
            put("route_config", "edge", routes(forward("all", "edge"))),
            put("listener", "strict", http(ports["strict"], "edge", **STRICT)),
            put("listener", "lax", http(ports["lax"], "edge", **LAX)),
        )
        yield ports


def head(path="/", *fields):
    """A request as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nhost: a\r\n" + "".join(f"{field}\r\n" for field in fields) + "\r\n"


@pytest.mark.parametrize(
    ("edge", "request_", "status"),
    [
        ("strict", head("/", "x-small: 1"), 200),
        ("strict", head("/", f"x-large: {'1' * 3000}"), 431),
        ("strict", head("/", "x_under: 1"), 400),
        ("strict", head("/a%2Fb"), 307),
        ("strict", head("/a%5cb"), 307),
        ("strict", "GET / HTTP/1.1\r\nhost: a\r\n", 408),
        ("strict", "GET / HTTP/1.1\r\n\r\n", 400),
        (
            "strict",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("lax", head("/a%2Fb"), 200),
        ("lax", head("/", "x_under: 1"), 200),
    ],
)
async def test_the_edge_refuses(edges, edge, request_, status):
    """Header size, names with underscores, escaped slashes, slow headers and smuggling end as the listener says."""
    assert (await raw(edges[edge], request_)).split(" ")[1] == str(status)


@pytest.mark.parametrize(
    ("edge", "path", "arrives"),
    [
        ("strict", "/a/../b", "/b"),
        ("strict", "/a//b/./c", "/a/b/c"),
        ("lax", "/a/../b", "/a/../b"),
        ("lax", "//a", "//a"),
        ("lax", "/a%2Fb", "/a%2Fb"),
    ],
)
async def test_the_edge_normalises_unless_told_otherwise(edges, edge, path, arrives):
    """A path arrives normalised, or as it was sent when the listener says so."""
    assert f"x-echo-path: {arrives}\r\n" in await raw(edges[edge], head(path))


async def test_trusted_hops(edges):
    """With one trusted hop the client's address is the last one the proxy in front wrote; without, the peer's."""
    sent = {"x-forwarded-for": "203.0.113.7, 198.51.100.9", "x_dropped": "1"}
    async with httpx.AsyncClient(trust_env=False) as client:
        seen = {}
        for edge, headers in (("strict", {"x-forwarded-for": sent["x-forwarded-for"]}), ("lax", sent)):
            answer = await client.get(f"http://127.0.0.1:{edges[edge]}/", headers=headers)
            seen[edge] = dict(answer.json()["headers"])
    assert seen["strict"]["x-envoy-external-address"] == "198.51.100.9"
    assert seen["lax"]["x-envoy-external-address"] == "127.0.0.1"
    assert "x_dropped" not in seen["lax"]


async def test_nobody_is_internal(edges):
    """What Envoy takes from its own kind is not believed from clients on the same machine, nor behind a proxy."""
    claims = {
        "x-envoy-internal": "true",
        "x-envoy-upstream-rq-timeout-ms": "77",
        "x-envoy-upstream-rq-per-try-timeout-ms": "7",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        for edge, more in (("lax", {}), ("strict", {}), ("strict", {"x-forwarded-for": "255.255.255.255"})):
            answer = await client.get(f"http://127.0.0.1:{edges[edge]}/", headers={**claims, **more})
            arrived = dict(answer.json()["headers"])
            assert not arrived.keys() & claims.keys(), (edge, more)
            assert arrived["x-envoy-expected-rq-timeout-ms"] == "15000", (edge, more)


async def test_a_timeout_cuts_and_none_lets_stream(live, upstreams):
    """A route's timeout is 504, or cuts a stream that began; a timeout of 0 lets the same stream run to its end."""
    upstream = upstreams["a"]
    upstream.held = {"/cut", "/stream"}
    upstream.silent = {"/slow"}
    await serve(
        live,
        forward("slow", "a", "/slow", timeout_ms=200),
        forward("cut", "a", "/cut", timeout_ms=200),
        forward("stream", "a", "/stream", timeout_ms=0),
        clusters={"a": cluster(upstream.port)},
        request_timeout_ms=400,
        stream_idle_timeout_ms=60_000,
    )
    async with (
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
        client.stream("GET", live.url + "/stream") as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == "data: first"
        assert (await client.get(live.url + "/slow")).status_code == httpx.codes.GATEWAY_TIMEOUT
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(live.url + "/cut")
        upstream.release.set()
        assert [line async for line in lines if line] == ["data: last"]


async def test_stream_limits(live, upstreams):
    """A stream ends at its longest duration, and when nothing moves for the route's idle time."""
    upstream = upstreams["a"]
    upstream.held = {"/long", "/idle"}
    await serve(
        live,
        forward("long", "a", "/long", timeout_ms=0, max_stream_duration_ms=300),
        forward("idle", "a", "/idle", timeout_ms=0, idle_timeout_ms=300),
        clusters={"a": cluster(upstream.port)},
    )
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        for path in ("/long", "/idle"):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(live.url + path)


async def test_retries(live, upstreams):
    """What the policy names is tried again as often as it says; what it does not name is not."""
    upstream = upstreams["a"]
    upstream.statuses = {"/twice": [503, 503, 200], "/often": [503], "/teapot": [418, 200], "/other": [500, 200]}
    quick = {"base_interval_ms": 1, "max_interval_ms": 2}
    await serve(
        live,
        forward("twice", "a", "/twice", retry={"retry_on": ["5xx"], "attempts": 2, **quick}),
        forward("often", "a", "/often", retry={"retry_on": ["5xx"], "attempts": 3, **quick}),
        forward("teapot", "a", "/teapot", retry={"retriable_status_codes": [418], **quick}),
        forward("other", "a", "/other", retry={"retry_on": ["gateway-error"], "attempts": 3, **quick}),
        clusters={"a": cluster(upstream.port)},
    )
    got = {path: (await live.get(path)).status_code for path in ("/twice", "/often", "/teapot", "/other")}
    assert got == {"/twice": 200, "/often": 503, "/teapot": 200, "/other": 500}
    assert upstream.asked == {"/twice": 3, "/often": 4, "/teapot": 2, "/other": 1}


async def test_a_retry_goes_to_another_endpoint(live, upstreams):
    """A request that finds a dead endpoint is tried again at another one: nobody notices."""
    dead = free_port()
    await serve(
        live,
        forward("all", "half", retry={"attempts": 3}),
        clusters={"half": cluster(dead, upstreams["a"].port, connect_timeout_ms=500)},
    )
    assert await statuses(live, 20) == {(200, "a"): 20}


async def test_mirroring(live, upstreams):
    """A copy of each request goes to the other cluster, whose failures nobody sees."""
    upstreams["b"].statuses = {"/m": [500]}
    await serve(
        live,
        forward("all", "a", mirrors=[{"cluster": "b"}]),
        clusters={name: cluster(upstreams[name].port) for name in ("a", "b")},
    )
    assert await statuses(live, 10, "/m") == {(200, "a"): 10}

    async def copied() -> bool:
        return upstreams["b"].asked["/m"] == 10

    await eventually(copied)
    assert f"host: 127.0.0.1:{live.port}\r\n" in upstreams["b"].heads[0]


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
async def test_a_hash_sticks(live, upstreams, policy):
    """Equal hashes go to one endpoint, different ones to all of them; a cookie is made for who has none."""
    balance = {"policy": policy} | ({"table_size": 251} if policy == "maglev" else {})
    await serve(
        live,
        forward("user", "sticky", "/user", hash_policy=[{"header": "x-user"}]),
        forward("cookie", "sticky", "/cookie", hash_policy=[{"cookie": "session", "cookie_ttl_ms": 60_000}]),
        clusters={"sticky": cluster(*(one.port for one in upstreams.values()), load_balancing=balance)},
    )
    reached = set()
    for user in range(20):
        (answer,) = await statuses(live, 3, "/user", headers={"x-user": f"u{user}"})
        reached.add(answer[1])
    assert reached == set(NAMES)
    async with httpx.AsyncClient(trust_env=False) as client:
        first = await client.get(live.url + "/cookie")
        assert "session" in first.cookies
        assert {(await client.get(live.url + "/cookie")).text for _ in range(10)} == {first.text}


async def test_weights(live, upstreams):
    """Weighted clusters and weighted endpoints get about their share, and a weight of 0 nothing."""
    shares = [{"cluster": "a", "weight": 80}, {"cluster": "b", "weight": 20}, {"cluster": "c", "weight": 0}]
    endpoints = [
        {"address": "127.0.0.1", "port": upstreams[name].port, "weight": weight}
        for name, weight in (("a", 3), ("b", 1))
    ]
    split = forward("split", "", "/split")
    split["forward"] = {"weighted_clusters": shares}
    await serve(
        live,
        split,
        forward("heavy", "heavy", "/heavy"),
        clusters={
            **{name: cluster(upstreams[name].port) for name in NAMES},
            "heavy": {"endpoints": endpoints},
        },
    )
    split_seen = await statuses(live, 300, "/split")
    assert set(split_seen) == {(200, "a"), (200, "b")}
    # Six standard deviations.
    assert 198 <= split_seen[200, "a"] <= 282
    heavy = await statuses(live, 100, "/heavy")
    assert 65 <= heavy[200, "a"] <= 85


async def test_priorities_take_over(live, upstreams):
    """The second priority gets nothing while the first is healthy, and everything when it is not."""
    health = {"interval_ms": 100, "timeout_ms": 90, "unhealthy_threshold": 1, "healthy_threshold": 1}
    endpoints = [
        {"address": "127.0.0.1", "port": upstreams[name].port, "priority": priority}
        for priority, name in enumerate(("a", "b"))
    ]
    checked = {"endpoints": endpoints, "health_checks": [{**health, "http": {"path": "/health"}}]}
    await serve(live, forward("all", "checked"), clusters={"checked": checked})
    assert await statuses(live, 10) == {(200, "a"): 10}
    upstreams["a"].statuses["/health"] = [503]

    async def is_over() -> bool:
        return (await live.get()).text == "b"

    await eventually(is_over, why="the sick endpoint still gets requests")
    assert await statuses(live, 10) == {(200, "b"): 10}
    upstreams["a"].statuses["/health"] = [200]

    async def is_back() -> bool:
        return (await live.get()).text == "a"

    await eventually(is_back, why="the recovered endpoint gets no requests")


async def test_outliers_are_left_alone(live, upstreams):
    """An endpoint that fails again and again gets no more requests."""
    upstreams["b"].statuses = {"/": [500]}
    outlier = {"consecutive_5xx": 2, "max_ejection_percent": 100, "base_ejection_ms": 60_000, "interval_ms": 1000}
    await serve(
        live,
        forward("all", "pair"),
        clusters={"pair": cluster(upstreams["a"].port, upstreams["b"].port, outlier_detection=outlier)},
    )

    async def is_ejected() -> bool:
        await live.get()
        stats = await live.envoy.admin.stats("cluster.default/pair.outlier_detection.ejections_active")
        return sum(stats.values()) == 1

    await eventually(is_ejected)
    assert await statuses(live, 20) == {(200, "a"): 20}


async def test_circuit_breakers(live, upstreams):
    """A request over the cluster's limit is answered 503 at once, and passes when there is room again."""
    upstream = upstreams["a"]
    upstream.held = {"/busy"}
    breakers = {"default": {"max_requests": 1}}
    await serve(
        live,
        forward("all", "small", timeout_ms=0),
        clusters={"small": cluster(upstream.port, circuit_breakers=breakers)},
    )
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        async with client.stream("GET", live.url + "/busy") as stream:
            assert stream.status_code == httpx.codes.OK
            assert (await client.get(live.url + "/")).status_code == httpx.codes.SERVICE_UNAVAILABLE
            upstream.release.set()
            await stream.aread()
        assert (await client.get(live.url + "/")).status_code == httpx.codes.OK


async def test_connections_are_limited(live, echo):
    """A listener takes no more connections than it is told to."""
    port = free_port()
    limited = {**http(port, "web"), "max_connections": 1}
    await serve(live, forward("all", "echo"), clusters={"echo": cluster(echo.port)})
    await live.settle(put("listener", "limited", limited))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head().encode())
    assert b"200 OK" in await reader.readline()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await raw(port, head())
    writer.close()


HANDSHAKE = (
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def test_websockets(live, echo):
    """A WebSocket passes where the route allows it, with frames both ways, and is refused elsewhere."""
    await serve(
        live,
        forward("ws", "echo", "/ws", upgrades=["websocket"]),
        forward("plain", "echo", "/plain"),
        clusters={"echo": cluster(echo.port)},
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(head("/ws", *HANDSHAKE).encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert answer.startswith("http/1.1 101")
    assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in answer
    mask = b"\x01\x02\x03\x04"
    writer.write(b"\x81\x85" + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(b"hello")))
    assert await reader.readexactly(7) == b"\x81\x05hello"
    writer.close()
    assert (await raw(live.port, head("/plain", *HANDSHAKE))).split(" ")[1] == "403"


@pytest_asyncio.fixture(loop_scope="module")
async def greeter() -> AsyncIterator[int]:
    """The port of a gRPC server that greets, streams and fails."""

    async def greet(request, context):
        return b"hello " + request

    async def count(request, context):
        for number in range(int(request)):
            yield str(number).encode()

    async def fail(request, context):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    handlers = {
        "Greet": grpc.unary_unary_rpc_method_handler(greet),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("greeter.Greeter", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


async def test_grpc(live, greeter):
    """GRPC passes to an HTTP/2 upstream: messages, streams, and the status with its words."""
    match = {"path": {"prefix": "/greeter.Greeter/"}, "grpc": True}
    await serve(
        live,
        {"name": "grpc", "match": match, "forward": {"cluster": "greeter", "timeout_ms": 0}},
        clusters={"greeter": cluster(greeter, protocol="http2")},
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{live.port}") as channel:
        assert await channel.unary_unary("/greeter.Greeter/Greet")(b"you", timeout=10) == b"hello you"
        counted = channel.unary_stream("/greeter.Greeter/Count")(b"5", timeout=10)
        assert [number async for number in counted] == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/greeter.Greeter/Fail")(b"", timeout=10)
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channel.unary_unary("/other.Service/Call")(b"", timeout=10)
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_grpc_health(live, greeter):
    """A gRPC health check takes an endpoint that does not answer it out."""
    health = {"interval_ms": 100, "timeout_ms": 90, "unhealthy_threshold": 1, "grpc": {}}
    await live.apply(put("cluster", "sick", cluster(greeter, protocol="http2", health_checks=[health])))

    async def is_out() -> bool:
        stats = await live.envoy.admin.stats("cluster.default/sick.(membership_healthy|membership_total)")
        return sorted(stats.values()) == [0, 1]

    await eventually(is_out)
