"""Both forms of a path template, in a real Envoy, mean what the reference says."""

import asyncio
import http.client
from collections.abc import Iterator

import pytest
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.route_config import Route, RouteConfig
from headgate.controlplane.translate import template
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.route import route, route_config
from headgate.controlplane.translate.static import bootstrap, static_cluster
from headgate.dataplane.bootstrap import RUNTIME
from headgate.testing.envoy import RealEnvoy
from headgate.testing.server import free_port
from tests.controlplane.translate.reference import bindings, rewritten
from tests.envoy.gateway import echo_upstream

pytestmark = pytest.mark.envoy

# Each a template, what it is rewritten to, and paths to ask for.
CASES = [
    ("/a/{x}", "/b/{x}", ["/a/1", "/a/", "/a", "/a/1/", "/a/1/2", "/a/%2F", "/a/*", "/a/x|y", "/a/~!$&'()+,;=:@"]),
    ("/a/{x}.json", "/{x}", ["/a/1.json", "/a/.json", "/a/1.json.json", "/a/1xjson", "/a/1.JSON"]),
    ("/p{x}s/end", "/{x}", ["/pXs/end", "/ps/end", "/pss/end", "/pX/s/end"]),
    ("/{x}/{y}/{z}", "/{z}/{y}/{x}", ["/1/2/3", "/1//3", "/1/2", "/1/2/3/4"]),
    ("/{a}/{b}/{c}/{d}/{e}", "/{e}{a}", ["/1/2/3/4/5", "/1/2/3/4"]),
    ("/{a}/{b}/{c}/{d}/{e}/{f}", "/{f}/{a}", ["/1/2/3/4/5/6", "/1/2/3/4/5"]),
    ("/files/{rest=**}", "/r/{rest}", ["/files/", "/files", "/files/a", "/files/a/b/", "/files//a", "/files/a|b"]),
    ("/v1/{name=*}/tail", "/tail/{name}", ["/v1/n/tail", "/v1//tail", "/v1/n/m/tail"]),
    ("/f(x={x},y={y})", "/{y}/{x}", ["/f(x=1,y=2)", "/f(x=1,y=)", "/f(x=1,y=2,y=3)"]),
    ("/{a}.{b}", "/{a}/{b}", ["/1.2", "/1.2.3", "/.", "/1."]),
    ("/plain", "/other", ["/plain", "/plain/", "/Plain", "/plain?q=1"]),
    ("/slash/{x}/", "/{x}/", ["/slash/1/", "/slash/1"]),
    ("/", "/root", ["/", "/x"]),
    ("/*/{x}", "/{x}", ["/*/1", "/a/1"]),
    ("/a+b/{x}", "/c+d/{x}", ["/a+b/1", "/aab/1"]),
    ("/mixed{rest=**}", "/m/{rest}", ["/mixed", "/mixed/a", "/mixeda/b"]),
    ("/q/{x}", "/q2/{x}", ["/q/1?a=/q/2", "/q/1?"]),
    ("/back\\slash/{x}", "/\\{x}", ["/back\\slash/1"]),
    ("/no/variables/used/{x}", "/fixed", ["/no/variables/used/1"]),
]  # fmt: skip


def both_forms(number: int, text: str, replacement: str) -> Iterator[EnvoyRoute]:
    """The route as we translate it, and as an expression; a header tells them apart."""
    document = {
        "name": f"case{number}",
        "match": {"path": {"template": text}, "headers": [{"name": "x-case", "exact": f"{number}"}]},
        "forward": {"cluster": "echo", "template_rewrite": replacement},
    }
    translated = route("team", Route.model_validate(document))
    yield translated
    other = EnvoyRoute()
    other.CopyFrom(translated)
    other.match.headers[0].string_match.exact = f"{number}-regex"
    parts = template.parse(text)
    other.match.safe_regex.regex = template._regex(parts)
    other.route.ClearField("path_rewrite_policy")
    rewrite = template._regex_rewrite(parts, template.parse(replacement))
    other.route.regex_rewrite.CopyFrom(RegexMatchAndSubstitute(**rewrite))
    yield other


def config(port: int, upstream: int) -> dict:
    """A bootstrap with both forms of every case on `port`."""
    spec = Cluster.model_validate({"endpoints": [{"address": "127.0.0.1", "port": upstream}]})
    table = route_config("team", "cases", RouteConfig())
    host = table.virtual_hosts.add(name="all", domains=["*"])
    for number, (text, replacement, _) in enumerate(CASES):
        host.routes.extend(both_forms(number, text, replacement))
    document = bootstrap(
        clusters=[static_cluster(cluster("team", "echo", spec), assignment("team", "echo", spec))],
        route_configs=[table],
    )
    document["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    document["layered_runtime"] = {"layers": [{"name": "headgate", "static_layer": dict(RUNTIME)}]}
    return document


def ask_all(port: int) -> list[str]:
    """What differs from the reference."""
    wrong = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for number, (text, replacement, paths) in enumerate(CASES):
        for path in paths:
            bare, question, query = path.partition("?")
            matched = bindings(text, bare) is not None
            wanted = (200, rewritten(text, replacement, bare) + question + query) if matched else (404, "")
            for form in (f"{number}", f"{number}-regex"):
                connection.putrequest("GET", path)
                connection.putheader("x-case", form)
                connection.endheaders()
                response = connection.getresponse()
                got = (response.status, response.read().decode("latin-1"))
                if got != wanted:
                    wrong.append(f"{text} -> {replacement}, form {form}, {path}: {got}, wanted {wanted}")
    connection.close()
    return wrong


async def test_both_forms_mean_the_same(tmp_path):
    """For every case, Envoy's template matcher and our expression match and rewrite as the reference does."""
    port = free_port()
    with echo_upstream() as upstream:
        async with RealEnvoy(config(port, upstream), tmp_path) as envoy:
            await envoy.wait_live()
            assert await asyncio.to_thread(ask_all, port) == []
