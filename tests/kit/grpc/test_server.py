"""The server: its port, its limits, its health, and what tools may ask it."""

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from headgate.kit.asgi.health import Health
from headgate.kit.controls.call import Pipeline
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.grpc.client import client_interceptors
from headgate.kit.grpc.health import MOST_WATCHERS, HealthService
from headgate.kit.grpc.reflection import SERVICES
from headgate.kit.grpc.server import Transport, grpc_server
from tests.kit.grpc.echo import SERVICE, Ask, Echo, Recorder, begin, invoke, path

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


@pytest.fixture
async def start():
    """Starts servers with the given options, and gives them with a channel."""
    running = []

    async def make(**options):
        recorder, echo = Recorder(), Echo()
        options = {"services": [echo.add_to], "port": 0, **options}
        server = grpc_server(Pipeline([recorder], frozenset(("grpc",))), **options)
        server.echo, server.recorder = echo, recorder
        await server.start()
        channel = grpc.aio.insecure_channel(server.address)
        running.append((server, channel))
        return server, channel

    yield make
    for server, channel in running:
        await channel.close()
        await server.stop(None)


def health_stub(channel, method):
    """A method of the health service."""
    make = channel.unary_stream if method == "Watch" else channel.unary_unary
    return make(
        f"/grpc.health.v1.Health/{method}",
        health_pb2.HealthCheckRequest.SerializeToString,
        (health_pb2.HealthListResponse if method == "List" else health_pb2.HealthCheckResponse).FromString,
    )


async def check(channel, service=""):
    """What health says of a service."""
    return (await health_stub(channel, "Check")(health_pb2.HealthCheckRequest(service=service))).status


async def test_a_server_serves_and_stops(start):
    """A service is added, called through the controls, and gone after the stop; `wait` returns then."""
    server, channel = await start()
    assert (await invoke(channel, "Unary", Ask(text="a")))[0].text == "a"
    assert (await server.recorder.settled())[0].route == path("Unary")
    waiting = asyncio.ensure_future(server.wait())
    await server.stop(1)
    await asyncio.wait_for(waiting, 10)
    with pytest.raises(grpc.aio.AioRpcError):
        await invoke(channel, "Unary", Ask())


async def test_a_taken_port_names_its_setting(start):
    """Who takes a port that is in use is told which, and what to set."""
    first, _ = await start()
    with pytest.raises(FailedPrecondition) as caught:
        await start(port=first.port)
    assert caught.value.code == "address_in_use"
    assert caught.value.message.startswith(f"grpc_port: 127.0.0.1:{first.port} is in use; set HEADGATE_GRPC_PORT")


async def test_an_address_that_is_not_there():
    """A host that is none of this machine's, or no host at all, is a fault that says so."""
    for host, kind in (("192.0.2.1", FailedPrecondition), ("nowhere.invalid", InvalidArgument)):
        server = grpc_server(Pipeline([]), host=host, port=1)
        with pytest.raises(kind):
            await server.start()


async def test_a_port_that_grpc_cannot_have(start):
    """A port that only gRPC itself finds taken is the same fault, and the process lives on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for _ in range(3):
            with pytest.raises(FailedPrecondition) as caught:
                await start(port=other.getsockname()[1], transport=Transport(reuse_port=True))
            assert caught.value.code == "address_in_use"
    await start()


async def test_two_servers_share_a_port(start):
    """With `reuse_port` several processes may listen on one port, without it none may."""
    first, _ = await start(transport=Transport(reuse_port=True))
    second, _ = await start(transport=Transport(reuse_port=True), port=first.port)
    assert first.port == second.port
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", first.port))


async def test_options_reach_the_connection(start):
    """Every limit of the transport is an option of the server, and 0 is without limit."""
    options = dict(Transport(max_receive=1_000, max_streams=3, max_connection_age=2, max_connection_idle=5).options())
    assert options["grpc.max_receive_message_length"] == 2_000
    assert options["grpc.max_concurrent_streams"] == 3
    assert (options["grpc.max_connection_age_ms"], options["grpc.max_connection_idle_ms"]) == (2_000, 5_000)
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (60_000, 20_000)
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 10_000
    free = dict(Transport(max_receive=0, keepalive=0).options())
    assert (free["grpc.max_receive_message_length"], free["grpc.keepalive_time_ms"]) == (-1, 2**31 - 1)
    assert "grpc.max_concurrent_streams" not in free


async def test_sizes_are_limited_both_ways(start):
    """The transport's sizes hold for requests and responses."""
    _, channel = await start(transport=Transport(max_receive=1_000, max_send=500))
    for ask, code in ((Ask(blob=bytes(1_100)), "larger than 1000"), (Ask(how="large", count=600), "larger than 500")):
        with pytest.raises(grpc.aio.AioRpcError, match=code):
            await invoke(channel, "Unary", ask)


async def test_health_follows_the_checks(start):
    """Health is what the readiness checks say, for the whole and each service; others are not found."""
    health, failing = Health(), []

    async def works() -> None:
        if failing:
            raise Unavailable("no")

    health.add("store", works)
    server, channel = await start(health=health)
    server.health._period = 0
    assert (await check(channel), await check(channel, SERVICE)) == (SERVING, SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(channel, "no.Such")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    failing.append(1)
    assert (await check(channel), await check(channel, SERVICE)) == (NOT_SERVING, NOT_SERVING)


async def test_one_service_may_be_out_of_order(start):
    """A service that says it does not serve is told from the others."""
    server, channel = await start()
    server.health.set_serving(SERVICE, False)
    listed = (await health_stub(channel, "List")(health_pb2.HealthCheckRequest())).statuses
    assert {name: each.status for name, each in listed.items()} == {
        "": SERVING,
        SERVICE: NOT_SERVING,
        "grpc.health.v1.Health": SERVING,
    }


async def test_draining_flips_health(start):
    """Who watches is told at once when the server drains, and let go; calls are still answered."""
    server, channel = await start(health=Health())
    watch = health_stub(channel, "Watch")(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    server.drain()
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    assert await check(channel) == NOT_SERVING
    assert await invoke(channel, "Unary", Ask())


async def test_a_process_that_drains_flips_health(start):
    """The process's own drain counts for gRPC too."""
    health = Health()
    server, channel = await start(health=health)
    server.health._period = 0.02
    watch = health_stub(channel, "Watch")(health_pb2.HealthCheckRequest(service=SERVICE))
    assert (await watch.read()).status == SERVING
    health.draining = True
    assert (await watch.read()).status == NOT_SERVING


async def test_watching_an_unknown_service(start):
    """A service that is not there yet can be watched until it is."""
    server, channel = await start()
    watch = health_stub(channel, "Watch")(health_pb2.HealthCheckRequest(service="later.Service"))
    assert (await watch.read()).status == UNKNOWN
    server.health.set_serving("later.Service", True)
    assert (await watch.read()).status == SERVING


async def test_watchers_are_bounded_and_forgotten(start):
    """No more watch than may, and one who leaves makes room."""
    server, channel = await start()
    server.health._watchers.update(asyncio.Event() for _ in range(MOST_WATCHERS))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health_stub(channel, "Watch")(health_pb2.HealthCheckRequest()).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    server.health._watchers.clear()
    watch = health_stub(channel, "Watch")(health_pb2.HealthCheckRequest())
    await watch.read()
    assert len(server.health._watchers) == 1
    watch.cancel()
    async with asyncio.timeout(10):
        while server.health._watchers:
            await asyncio.sleep(0.005)


async def test_checks_run_once_for_all_who_ask():
    """However many ask for health at a time, and within a period, the checks run once."""
    runs = []

    class Slow:
        draining = False

        async def report(self):
            runs.append(1)
            await asyncio.sleep(0.01)
            return True, {}

    now = [0.0]
    service = HealthService(Slow(), period=1.0, clock=lambda: now[0])
    request = health_pb2.HealthCheckRequest()
    await asyncio.gather(*(service.check(request, None) for _ in range(20)))
    await service.check(request, None)
    assert len(runs) == 1
    now[0] = 1.5
    await service.check(request, None)
    assert len(runs) == 2


async def test_a_broken_report_is_not_ready():
    """A report that raises means not serving, not an error."""

    class Broken:
        draining = False

        async def report(self):
            raise RuntimeError("broken")

    service = HealthService(Broken())
    assert (await service.check(health_pb2.HealthCheckRequest(), None)).status == NOT_SERVING


async def test_streams_of_health_have_no_deadline():
    """Whoever watches health may do so for longer than calls may take."""
    from headgate.kit.grpc.methods import Method

    found = grpc.unary_stream_rpc_method_handler(lambda _request, _context: None)
    assert Method("/grpc.health.v1.Health/Watch", found).untimed
    assert not Method("/shop.v1.Shop/Watch", found).untimed


async def test_stopping_lets_calls_finish(start):
    """What is under way at the stop is finished within the grace, and cut off after it."""
    server, channel = await start()
    quick = asyncio.ensure_future(invoke(channel, "Unary", Ask(how="nap", count=150, text="done")))
    stuck = asyncio.ensure_future(invoke(channel, "Unary", Ask(how="wait")))
    await asyncio.wait_for(server.echo.started.wait(), 10)
    await server.stop(0.6)
    assert (await quick)[0].text == "done"
    with pytest.raises(grpc.aio.AioRpcError):
        await stuck


async def test_reflection_is_for_debugging(start):
    """Tools may ask for schemas where that is switched on, under both names, and nowhere else."""
    request = reflection_pb2.ServerReflectionRequest
    asks = [request(list_services=""), request(file_containing_symbol=SERVICE)]

    async def ask(channel, service, expected=True):
        stub = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = stub(_each(asks if expected else ()))
        return [await call.read() for _ in asks]

    _, channel = await start(reflection=True)
    for service in SERVICES:
        listed, file = await ask(channel, service)
        assert {each.name for each in listed.list_services_response.service} == {
            SERVICE,
            "grpc.health.v1.Health",
            SERVICES[1],
        }
        assert b"headgate.test.v1" in file.file_descriptor_response.file_descriptor_proto[0]
    _, channel = await start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, SERVICES[0], expected=False)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def _each(asks):
    for ask in asks:
        yield ask
    await asyncio.Event().wait()  # a client of grpc.aio that still sends misses why it was refused


async def test_interceptors_of_ones_own_come_after_the_controls(start):
    """Interceptors given to the server see admitted calls, in their original kind."""
    kinds = []

    class Mine(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation, handler_call_details):
            handler = await continuation(handler_call_details)
            kinds.append((handler.request_streaming, handler.response_streaming))
            return handler

    server, channel = await start(interceptors=[Mine()])
    await invoke(channel, "ServerStream", Ask(count=2))
    assert kinds == [(False, True)]
    assert (await server.recorder.settled())[0].messages_out == 2


async def test_our_clients_read_our_faults(start):
    """A fault raised in a handler is the same fault for a caller with our interceptors."""
    server, _ = await start()
    async with grpc.aio.insecure_channel(server.address, interceptors=client_interceptors()) as channel:
        with pytest.raises(FailedPrecondition) as caught:
            await begin(channel, "Unary", Ask(how="fault"))
    assert caught.value.code == "shop_closed"
