"""A client we did not write: gRPC's own, which resolves `xds:///` names over the same server."""

import asyncio
import json
import subprocess
import sys

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.any_pb2 import Any

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, content_hash
from headgate.testing.envoy import eventually
from tests.scenarios.xds.world import TEAM

NAME = f"{TEAM}/greeter"
METHOD = "/test.Echo/Say"

CALLER = f"""
import sys
import grpc

with grpc.insecure_channel("xds:///{NAME}") as channel:
    say = channel.unary_unary("{METHOD}")
    for line in sys.stdin:
        try:
            print(say(line.strip().encode(), timeout=20, wait_for_ready=True).decode(), flush=True)
        except grpc.RpcError as error:
            print(error.code(), error.details(), flush=True)
"""


class Echo:
    """A gRPC server that answers with its name and what it was told."""

    def __init__(self, name: str) -> None:
        def say(told: bytes, _: object) -> bytes:
            return f"{name}: {told.decode()}".encode()

        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(say)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def __aenter__(self) -> "Echo":
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


def packed(message):
    """A message as `Any`."""
    box = Any()
    box.Pack(message)
    return box


def resource(kind, message, *refs):
    """A resource made of a message."""
    body = message.SerializeToString(deterministic=True)
    return Resource(kind, NAME, content_hash(body), body, frozenset((ref, NAME) for ref in refs))


def load(port):
    """Endpoints that lead to one port."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    locality = {
        "locality": {"zone": "here"},
        "load_balancing_weight": {"value": 1},
        "lb_endpoints": [{"endpoint": {"address": address}}],
    }
    return resource(ENDPOINT, ClusterLoadAssignment(cluster_name=NAME, endpoints=[locality]))


def service(port, path=""):
    """All that leads from the name to a port."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    manager = HttpConnectionManager(
        rds={"route_config_name": NAME, "config_source": ads},
        http_filters=[{"name": "router", "typed_config": packed(Router())}],
    )
    routes = [{"match": {"prefix": path}, "route": {"cluster": NAME}}]
    return [
        resource(CLUSTER, Cluster(name=NAME, type="EDS", eds_cluster_config={"eds_config": ads})),
        load(port),
        resource(LISTENER, Listener(name=NAME, api_listener={"api_listener": packed(manager)}), ROUTE),
        resource(
            ROUTE,
            RouteConfiguration(name=NAME, virtual_hosts=[{"name": "all", "domains": ["*"], "routes": routes}]),
            CLUSTER,
        ),
    ]


class Caller:
    """A process that calls the service once for each line it is given."""

    def __init__(self, port: int, directory) -> None:
        self._file = directory / "bootstrap.json"
        server = {
            "server_uri": f"127.0.0.1:{port}",
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }
        who = {"id": "grpc", "cluster": TEAM, "locality": {"zone": "here"}, "metadata": {"headgate": {"team": TEAM}}}
        self._file.write_text(json.dumps({"xds_servers": [server], "node": who}), encoding="utf-8")

    async def __aenter__(self) -> "Caller":
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"GRPC_XDS_BOOTSTRAP": str(self._file), "PATH": ""},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def say(self, what: str) -> str:
        """Call the service; return its answer, or what went wrong."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{what}\n".encode())
        return (await asyncio.wait_for(self._process.stdout.readline(), 40.0)).decode().strip()


@pytest.fixture
async def caller(rig, tmp_path):
    """A gRPC client that takes its configuration from the server."""
    async with Caller(rig.server.port, tmp_path) as made:
        yield made


async def test_a_grpc_client_finds_its_service(rig, source, caller):
    """A gRPC client resolves listener, routes, cluster and endpoints from us, calls the service, and accepts it all."""
    async with Echo("one") as one:
        source.put(*service(one.port))
        assert await caller.say("hello") == "one: hello"

        async def settled():
            report = rig.ledger.report("grpc")
            return set(report.types) == {"cds", "eds", "lds", "rds"} and all(t.in_sync for t in report.types.values())

        await eventually(settled, 5.0, f"{rig.ledger.report('grpc')}")
        assert rig.metric("headgate_xds_nacks_total") == 0


async def test_a_grpc_client_follows_its_endpoints(source, caller):
    """A gRPC client follows a change of endpoints, without a call that fails."""
    async with Echo("one") as one, Echo("two") as two:
        source.put(*service(one.port))
        assert await caller.say("hello") == "one: hello"
        source.put(load(two.port))

        async def moved():
            answer = await caller.say("again")
            assert answer in {"one: again", "two: again"}
            return answer == "two: again"

        await eventually(moved, 10.0, "the endpoints were not followed")


async def test_a_grpc_client_waits_for_its_service(rig, source, caller):
    """A gRPC client that asks for a service that does not exist yet finds it when it is made."""
    waiting = asyncio.create_task(caller.say("early"))

    async def asked():
        return rig.metric("headgate_xds_responses_total", type="lds") >= 1

    await eventually(asked, 10.0, "the client did not ask")
    async with Echo("late") as late:
        source.put(*service(late.port))
        assert await waiting == "late: early"


async def test_a_refusal_of_a_grpc_client_is_recorded(rig, source, caller):
    """What a gRPC client refuses is recorded in its words, while it goes on with what it had."""
    async with Echo("one") as one:
        source.put(*service(one.port))
        assert await caller.say("hello") == "one: hello"
        broken = resource(CLUSTER, Cluster(name=NAME, type="STRICT_DNS"))
        source.put(broken)

        async def refused():
            return (CLUSTER, NAME) in rig.ledger.report("grpc").refused

        await eventually(refused, 10.0, "the client did not refuse it")
        assert rig.ledger.report("grpc").refused[CLUSTER, NAME].message
        assert await caller.say("still") == "one: still"
