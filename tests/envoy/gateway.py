"""A whole gateway out of documents, static: what the model says, in a real Envoy, without a control plane."""

import http.client
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from google.protobuf.json_format import MessageToDict

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import RouteConfig
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.listener import listener
from headgate.controlplane.translate.route import route, route_config, virtual_host
from headgate.controlplane.translate.static import bootstrap, static_cluster, static_listener
from headgate.dataplane.bootstrap import RUNTIME


def whole_config(document: dict[str, Any]) -> Any:
    """The RouteConfiguration of a document, routes and all."""
    spec = RouteConfig.model_validate(document)
    message = route_config("team", "gateway", spec)
    for host in spec.virtual_hosts:
        translated = virtual_host(host)
        translated.routes.extend(route("team", each) for each in host.routes)
        message.virtual_hosts.append(translated)
    return message


def gateway(port: int, config: dict[str, Any], *, upstream: int | None = None, **manager: Any) -> dict[str, Any]:
    """A bootstrap that serves the route config document on `port`; cluster `echo` leads to `upstream`."""
    chain = {"name": "http", "http": {"route_config": "gateway", **manager}}
    spec = Listener.model_validate({"port": port, "filter_chains": [chain]})
    clusters = []
    if upstream:
        echo = Cluster.model_validate({"endpoints": [{"address": "127.0.0.1", "port": upstream}]})
        clusters.append(static_cluster(cluster("team", "echo", echo), assignment("team", "echo", echo)))
    document = bootstrap(clusters=clusters, listeners=[static_listener(listener("team", "gateway", spec))])
    served = document["static_resources"]["listeners"][0]
    served["address"]["socket_address"]["port_value"] = port
    typed = served["filter_chains"][0]["filters"][0]["typed_config"]
    typed["route_config"] = MessageToDict(whole_config(config), preserving_proto_field_name=True)
    typed.pop("rds", None)
    document["layered_runtime"] = {"layers": [{"name": "headgate", "static_layer": dict(RUNTIME)}]}
    return document


class Echo(BaseHTTPRequestHandler):
    """Answers with the path it was asked for, and each header as `echo-NAME`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode("latin-1")
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        for name, value in self.headers.items():
            self.send_header(f"echo-{name}", value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[int]:
    """Serve in a thread; the port."""
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def echo_upstream() -> AbstractContextManager[int]:
    """The port of an upstream that answers with the path it was asked for, and each header as `echo-NAME`."""
    return served(ThreadingHTTPServer(("127.0.0.1", 0), Echo))


class Answer(dict[str, str]):
    """The headers of an answer, with its status and body."""

    status: int
    body: str


def ask(port: int, path: str, method: str = "GET", host: str = "", headers: dict[str, str] | None = None) -> Answer:
    """Send one request, its path as given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=bool(host), skip_accept_encoding=True)
    if host:
        connection.putheader("host", host)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    answer = Answer((name.lower(), value) for name, value in response.getheaders())
    answer.status, answer.body = response.status, response.read().decode("latin-1")
    connection.close()
    return answer
