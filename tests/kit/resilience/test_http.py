"""The shared HTTP client, against a host on this machine that counts connections."""

import asyncio
import socket
import ssl
import sys
import threading

import httpx
import pytest

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.controls.retry import RetryPolicy
from headgate.kit.resilience.http import HttpClients, HttpPolicy
from headgate.kit.resilience.transport import retry_after_of
from tests.dataplane.certificates import Authority
from tests.kit.resilience.conftest import until
from tests.kit.resilience.hosts import OK, Host, answer

AT_ONCE = RetryPolicy(attempts=3, first_pause=0, longest_pause=0)


def in_turn(*answers: bytes):
    """Give each answer once, then OK."""
    left = list(answers)
    return lambda _: left.pop(0) if left else OK


@pytest.fixture
async def clients():
    """Make `HttpClients` which are closed after the test."""
    made = []

    def make(policy: HttpPolicy | None = None, **fields) -> HttpClients:
        made.append(HttpClients(policy, **{"retry": AT_ONCE, **fields}))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


async def test_d21_the_connection_limit_binds(clients):
    """However many requests are made at once, no more connections are open than the policy allows."""
    async with Host() as host:
        host.hold.clear()
        client = clients(HttpPolicy(max_connections=3, pool_timeout=60)).client()
        requests = [asyncio.create_task(client.get(host.url)) for _ in range(20)]
        await until(lambda: host.open == 3)
        host.hold.set()
        assert [answer.status_code for answer in await asyncio.gather(*requests)] == [200] * 20
        assert host.most == 3


async def test_d21_the_limit_of_idle_connections_binds(clients):
    """After a burst only so many connections are kept for reuse, and those are reused."""
    async with Host() as host:
        host.hold.clear()
        client = clients(HttpPolicy(max_idle=2)).client()
        requests = [asyncio.create_task(client.get(host.url)) for _ in range(6)]
        await until(lambda: host.open == 6)
        host.hold.set()
        await asyncio.gather(*requests)
        await until(lambda: host.open == 2)
        await client.get(host.url)
        assert host.accepted == 6


async def test_d21_the_idle_time_binds(clients):
    """With an idle time of nothing each request makes a connection of its own."""
    async with Host() as host:
        client = clients(HttpPolicy(idle_time=0)).client()
        for _ in range(3):
            await client.get(host.url)
        assert host.accepted == 3


@pytest.mark.parametrize(("phase", "error"), [("read_timeout", httpx.ReadTimeout), ("pool_timeout", httpx.PoolTimeout)])
async def test_d21_waiting_for_an_answer_and_for_the_pool_is_bounded(clients, phase, error):
    """A host that does not answer, and a pool that is used up, each end with the timeout of that phase."""
    async with Host(lambda _: None) as host:
        patience = {"read_timeout": 60, "pool_timeout": 60, phase: 0.1}
        client = clients(HttpPolicy(max_connections=1, **patience)).client()
        first = asyncio.create_task(client.get(host.url))
        if phase == "pool_timeout":
            await until(lambda: host.requests)
            with pytest.raises(error):
                await client.get(host.url)
            first.cancel()
            await asyncio.wait([first])
        else:
            with pytest.raises(error):
                await first


async def test_d21_sending_is_bounded(clients):
    """A host that does not read ends the request with the timeout for writing."""
    async with Host() as host:
        host.hold.clear()
        client = clients(HttpPolicy(write_timeout=0.1)).client()
        with pytest.raises(httpx.WriteTimeout):
            await client.post(host.url, content=b"x" * 50_000_000)


async def test_d21_connecting_is_bounded(clients):
    """A host that does not accept ends the request with the timeout for connecting."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        waiting = []
        try:
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            with pytest.raises(httpx.ConnectTimeout):
                await clients(HttpPolicy(connect_timeout=0.2), retry=None).client().get(f"http://127.0.0.1:{port}")
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize(("http2", "protocol"), [(False, "http/1.1"), (True, "h2")])
async def test_d21_http2_is_spoken_when_wished(clients, tmp_path, http2, protocol):
    """HTTP/2 is offered to a TLS host exactly when the policy says so, and the given TLS context is used."""
    authority = Authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("127.0.0.1"))
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with Host(lambda _: b"", tls) as host:
        trust = ssl.create_default_context(cafile=str(authority.file))
        client = clients(HttpPolicy(http2=http2), tls=trust, retry=None).client()
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(host.url)
        assert host.protocols == [protocol]


async def test_d21_the_proxy_is_used(clients):
    """With a proxy set, requests go to it with the whole URL."""
    async with Host() as proxy:
        answered = await clients(HttpPolicy(proxy=proxy.url)).client().get("http://nowhere.invalid/path")
        assert answered.text == "ok"
        assert proxy.requests[0].startswith(b"GET http://nowhere.invalid/path ")


async def test_d21_the_number_of_hosts_remembered_is_bounded(clients):
    """Circuits are kept for no more hosts than the policy allows."""
    one = clients(HttpPolicy(max_hosts=2), retry=None)
    for number in range(5):
        with pytest.raises(httpx.TransportError):
            await one.client().get(f"http://host-{number}.invalid/")
    assert len(one.circuits()) == 2


async def test_d21_the_retry_budget_binds(clients):
    """With an empty retry budget nothing is retried."""
    async with Host(in_turn(answer(503))) as host:
        client = clients(HttpPolicy(retry_ratio=0, retry_reserve=0)).client()
        assert (await client.get(host.url)).status_code == 503
        assert len(host.requests) == 1


@pytest.mark.parametrize("fields", [{"max_connections": 0}, {"read_timeout": 0}, {"max_idle": -1}, {"max_hosts": 0}])
def test_impossible_policies_are_refused(fields):
    """A policy that cannot work is refused with a pointer to the field."""
    with pytest.raises(InvalidArgument) as refused:
        HttpPolicy(**fields)
    assert [each.pointer for each in refused.value.violations] == [f"/{name}" for name in fields]


async def test_redirects_are_not_followed(clients):
    """A redirect is handed to the caller, not followed."""
    async with Host(in_turn(answer(302, "location: /elsewhere"))) as host:
        assert (await clients().client().get(host.url)).status_code == 302
        assert len(host.requests) == 1


async def test_headers_are_propagated(clients):
    """What the provider gives is on each request, unless the request has its own."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    one = clients(headers=lambda: {"traceparent": traceparent, "x-request-id": "r-1"})
    async with Host() as host:
        await one.client().get(host.url)
        await one.client().get(host.url, headers={"X-Request-Id": "mine"})
    assert f"traceparent: {traceparent}".encode() in host.requests[0]
    assert b"x-request-id: r-1" in host.requests[0]
    assert b"X-Request-Id: mine" in host.requests[1]
    assert b"r-1" not in host.requests[1]


async def test_repeatable_requests_are_retried(clients):
    """A GET is repeated after a 503, a broken connection and a 429, within its attempts."""
    async with Host(in_turn(answer(503), b"", answer(429), answer(502))) as host:
        one = clients()
        client = one.client()
        assert (await client.get(host.url)).status_code == 429
        assert (await client.get(host.url)).status_code == 200
        assert len(host.requests) == 5
        assert one.circuits()[host.url].calls == 2


@pytest.mark.parametrize(
    ("given", "fields", "times"),
    [
        (answer(503), {}, 1),
        (b"", {}, 1),
        (answer(502, "retry-after: 0"), {}, 1),
        (answer(503, "retry-after: 0"), {}, 2),
        (answer(429, "retry-after: 0"), {}, 2),
        (answer(503), {"headers": {"idempotency-key": "k"}}, 2),
        (answer(503), {"extensions": {"idempotent": True}}, 2),
        (b"", {"extensions": {"idempotent": True}}, 2),
    ],
)
async def test_other_requests_are_repeated_only_when_that_is_safe(clients, given, fields, times):
    """A POST is repeated only when it was refused with Retry-After or said to be idempotent."""
    async with Host(in_turn(given)) as host:
        try:
            await clients().client().post(host.url, json={"a": 1}, **fields)
        except httpx.TransportError:
            assert times == 1
        assert len(host.requests) == times


async def test_a_streamed_body_is_sent_once(clients):
    """A request whose body is a stream is never repeated."""

    async def body():
        yield b"ab"

    async with Host(in_turn(answer(503))) as host:
        answered = await clients().client().put(host.url, content=body(), headers={"content-length": "2"})
        assert (answered.status_code, len(host.requests)) == (503, 1)


async def test_the_last_answer_is_handed_on_whole(clients):
    """When retries are used up the last answer reaches the caller with its body, and no connection leaks."""
    async with Host(lambda _: answer(503, body=b"sorry")) as host:
        client = clients(HttpPolicy(max_connections=1, pool_timeout=5)).client()
        for _ in range(3):
            assert (await client.get(host.url)).text == "sorry"


async def test_d15_a_failing_host_opens_its_circuit(clients):
    """After enough failures requests to that host are refused without a connection, others go through."""
    one = clients(breaker=BreakerPolicy(minimum_calls=3, open_time=60), retry=None)
    async with Host(lambda _: answer(500)) as bad, Host() as good:
        for _ in range(3):
            assert (await one.client().get(bad.url)).status_code == 500
        with pytest.raises(Unavailable) as refused:
            await one.client().get(bad.url)
        assert refused.value.code == "circuit_open"
        assert refused.value.retry_after > 0
        assert len(bad.requests) == 3
        assert (await one.client().get(good.url)).status_code == 200
        assert {url: each.state for url, each in one.circuits().items()} == {bad.url: "open", good.url: "closed"}


async def test_refusals_do_not_open_the_circuit(clients):
    """Answers that blame the request, and too many requests, leave the circuit closed."""
    one = clients(breaker=BreakerPolicy(minimum_calls=1), retry=None)
    async with Host(in_turn(answer(400), answer(404), answer(429), answer(501))) as host:
        for _ in range(5):
            await one.client().get(host.url)
        assert one.circuits()[host.url].failures == 0


async def test_a_body_that_breaks_counts(clients):
    """An answer cut off in its body counts against the host, though its head was fine."""
    one = clients()
    async with Host(lambda _: b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nshort") as host:
        with pytest.raises(httpx.RemoteProtocolError):
            await one.client().get(host.url)
        assert one.circuits()[host.url].failures == 1


@pytest.mark.parametrize("head", [None, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
async def test_the_deadline_ends_the_wait(clients, head):
    """When the call's time is up the wait for the answer, or for its rest, ends, and counts not against the host."""
    one = clients(remaining=lambda: 0.2, breaker=BreakerPolicy(minimum_calls=1))
    async with Host(lambda _: head) as host:
        with pytest.raises(DeadlineExceeded):
            await one.client().get(host.url)
        assert (one.circuits()[host.url].state, one.circuits()[host.url].failures) == ("closed", 0)
        await until(lambda: host.open == 0)


async def test_no_time_left_means_no_request(clients):
    """When the call's time is up already nothing is sent."""
    async with Host() as host:
        with pytest.raises(DeadlineExceeded):
            await clients(remaining=lambda: 0.0).client().get(host.url)
        assert host.accepted == 0


async def test_bodies_within_the_deadline_arrive(clients):
    """A call with time left gets its whole answer."""
    async with Host(lambda _: answer(200, body=b"x" * 200_000)) as host:
        assert len((await clients(remaining=lambda: 60.0).client().get(host.url)).content) == 200_000


async def test_cancelling_frees_the_connection(clients):
    """A request that is cancelled gives its connection back to the pool and counts neither way."""
    one = clients(HttpPolicy(max_connections=1, pool_timeout=30))
    async with Host() as host:
        host.hold.clear()
        task = asyncio.create_task(one.client().get(host.url))
        await until(lambda: host.requests)
        task.cancel()
        await asyncio.wait([task])
        host.hold.set()
        assert (await one.client().get(host.url)).status_code == 200
        assert one.circuits()[host.url].calls == 1


async def test_one_client_per_loop(clients):
    """An event loop always gets its own client, and another loop another one."""
    one = clients()
    mine, others = one.client(), []

    async def theirs() -> None:
        others.append(one.client())
        assert one.client() is others[0]
        await one.aclose()
        assert others[0].is_closed

    thread = threading.Thread(target=lambda: asyncio.run(theirs()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert one.client() is mine
    assert others[0] is not mine
    await one.aclose()
    assert mine.is_closed
    await one.aclose()


@pytest.mark.parametrize(("module", "http2", "extra"), [("httpx", False, "http"), ("h2", True, "http2")])
async def test_what_is_missing_is_named(clients, monkeypatch, module, http2, extra):
    """Without the package it needs the client says which extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FailedPrecondition) as refused:
        clients(HttpPolicy(http2=http2)).client()
    assert f"headgate[{extra}]" in refused.value.hint


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_comes_in_two_forms(value, seconds):
    """Retry-After is read as seconds or as a date, and ignored when it is neither."""
    assert retry_after_of({"retry-after": value}, 10) == seconds


async def test_cookies_are_nobodys(clients):
    """What a host sets for one caller is not sent for the next one, and is not kept."""
    async with Host(lambda _: answer(200, "set-cookie: session=one-callers; path=/")) as host:
        client = clients().client()
        await client.get(host.url)
        await client.get(host.url)
        assert not any(b"cookie:" in request.lower() for request in host.requests)
        assert not client.cookies
