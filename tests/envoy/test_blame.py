"""A real Envoy's refusals lead to the field that caused them."""

import socket

import pytest
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig

from headgate.controlplane.model.rows import Row, RowChange, explode
from headgate.controlplane.translate.blame import blame
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from headgate.controlplane.translate.template import MATCHER
from headgate.controlplane.translate.tree import decoded
from headgate.controlplane.translate.wire import encode, extension
from headgate.testing.envoy import RealEnvoy, bootstrap_for
from headgate.testing.server import free_port
from tests.envoy.ads import FixedAds

pytestmark = pytest.mark.envoy

ENDPOINTS = {"endpoints": [{"address": "192.0.2.1", "port": 80}, {"address": "192.0.2.2", "port": 80}]}
PEM = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n"


def routes(*more, host=None, **config):
    """A route config: a route that is fine, and those given."""
    fine = {"name": "fine", "match": {"path": {"exact": "/fine"}}, "direct_response": {"status": 200}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [fine, *more], **(host or {})}]
    return {"virtual_hosts": hosts, **config}


def route(**more):
    """A route with a method among its matches, and a body."""
    match = {"path": {"prefix": "/"}, "methods": ["GET"]}
    return {"name": "bad", "match": match, "direct_response": {"status": 200, "body": "x"}, **more}


def served(**more):
    """A listener on a free port with an HTTP chain."""
    return {"port": free_port(), "filter_chains": [{"name": "http", "http": {"route_config": "rc", **more}}]}


def resources(**documents):
    """The resources of a team with cluster `c`, route config `rc`, listener `l` and secret `s`."""
    documents = {"cluster": ENDPOINTS, "route_config": routes(), "listener": served()} | documents
    config, route_rows = explode("rc", documents.pop("route_config"))
    names = {"cluster": "c", "listener": "l", "secret": "s"}
    rows = [Row(kind, names[kind], document) for kind, document in documents.items()]
    rows += [
        Row("route_config", "rc", config),
        *(Row("route", name, spec, i) for i, (name, spec) in enumerate(route_rows)),
    ]
    snapshot = TeamCompiler("team", system_ca="").apply([RowChange(None, row) for row in rows], 1)
    assert not snapshot.problems
    return snapshot


async def refusal(snapshot, type_url, directory, change=None):
    """What Envoy says to the only resource of a type, after `change` of its proto, and whom we blame."""
    (resource,) = snapshot.resources[type_url].values()
    body = resource.body
    if change:
        message = decoded(type_url, body)
        change(message)
        body = encode(message)
        object.__setattr__(resource, "body", body)
    ads = FixedAds.of(snapshot)
    async with ads, RealEnvoy(bootstrap_for(ads.port, mode="sotw"), directory, log_level="critical"):
        message = await ads.verdict(type_url)
    assert message, "Envoy accepted it"
    return blame(resource, message)


LOGS = "/filter_chains/0/http/access_logs"
BAD_HEADER = {"set": [{"name": "x-fine", "value": "fine"}, {"name": "x-bad", "value": "%NO_SUCH%"}]}
UNCLOSED = {"set": [{"name": "x-bad", "value": "100%"}]}


HOST = "/virtual_hosts/0"


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (routes(route(request_headers=BAD_HEADER)), ("route", "rc/all/bad", "/request_headers/set/1/value")),
        (routes(route(response_headers=UNCLOSED)), ("route", "rc/all/bad", "/response_headers/set/0/value")),
        (routes(host={"request_headers": UNCLOSED}), ("route_config", "rc", f"{HOST}/request_headers/set/0")),
        (routes(response_headers=BAD_HEADER), ("route_config", "rc", "/response_headers/set/1/value")),
    ],
)  # fmt: skip
async def test_route_documents(document, place, tmp_path):
    """What a user can write into routes that Envoy refuses is found: format commands, at every level."""
    found = await refusal(resources(route_config=document), ROUTE, tmp_path)
    assert found[:3] == place
    assert found.explanation


def _regex(message):
    message.virtual_hosts[0].routes[1].match.safe_regex.regex = "/a("


def _program(message):
    message.virtual_hosts[0].routes[1].match.safe_regex.regex = "((a{100}){100}){10}"


def _template(message):
    config = UriTemplateMatchConfig(path_template="/{a}{b}")
    message.virtual_hosts[0].routes[1].match.MergeFrom(
        EnvoyRoute(match={"path_match_policy": extension(MATCHER, config)}).match
    )


def _header_match(message):
    message.virtual_hosts[0].routes[1].match.headers.add()


def _retry(message):
    message.virtual_hosts[0].routes[1].ClearField("direct_response")
    message.virtual_hosts[0].routes[1].route.cluster = "x"
    message.virtual_hosts[0].routes[1].route.retry_policy.retry_back_off.base_interval.seconds = 0


def _big_body(message):
    message.virtual_hosts[0].routes[1].direct_response.body.inline_string = "x" * 16_385


def _two_wildcards(message):
    message.virtual_hosts.add(name="other", domains=["a.example", "*"])


def _same_domain(message):
    message.virtual_hosts.add(name="other", domains=["a.example", "b.example", "a.example"])


def _unknown_cluster(message):
    message.validate_clusters.value = True
    message.virtual_hosts[0].routes[1].ClearField("direct_response")
    message.virtual_hosts[0].routes[1].route.cluster = "team/gone"


def _no_match(message):
    message.virtual_hosts[0].routes[1].match.Clear()


BAD = ("route", "rc/all/bad")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_regex, (*BAD, "/match/path/regex")),
        (_program, (*BAD, "/match/path/regex")),
        (_template, (*BAD, "/match/path/template")),
        (_header_match, (*BAD, "/match/headers/0")),
        (_retry, (*BAD, "/forward/retry/base_interval_ms")),
        (_big_body, (*BAD, "/direct_response/body")),
        (_unknown_cluster, (*BAD, "/forward/cluster")),
        (_no_match, (*BAD, "/match")),
        (_two_wildcards, ("route_config", "rc", "/virtual_hosts/1/domains/1")),
        (_same_domain, ("route_config", "rc", "/virtual_hosts/1/domains/2")),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
async def test_route_protos(change, place, tmp_path):
    """What only another Envoy, or an older model, could have let through is found as well."""
    found = await refusal(resources(route_config=routes(route())), ROUTE, tmp_path, change)
    assert found[:3] == place
    assert "goo.gle" not in found.explanation


def _timeout(message):
    message.health_checks.add().interval.seconds = 1


def _ejection(message):
    message.outlier_detection.max_ejection_percent.value = 300


def _extension(message):
    message.ClearField("type")
    message.ClearField("eds_cluster_config")
    message.cluster_type.name = "envoy.clusters.of_tomorrow"
    message.cluster_type.typed_config.type_url = "type.googleapis.com/envoy.config.route.v3.Route"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (_timeout, "/health_checks/0/timeout_ms"),
        (_ejection, "/outlier_detection/max_ejection_percent"),
        (_extension, "/discovery"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
async def test_cluster_protos(change, pointer, tmp_path):
    """A cluster's refusal names its field."""
    found = await refusal(resources(), CLUSTER, tmp_path, change)
    assert found[:3] == ("cluster", "c", pointer)


async def test_endpoints_lead_to_their_cluster(tmp_path):
    """An endpoint that Envoy refuses is named in the cluster's document."""

    def change(message):
        message.endpoints[0].lb_endpoints[1].endpoint.address.socket_address.address = "not-an-ip"

    found = await refusal(resources(), ENDPOINT, tmp_path, change)
    assert found[:3] == ("cluster", "c", "/endpoints/1/address")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (served(access_logs=[{}, {"json_format": {"fine": "x", "bad": "%NO_SUCH%"}}]), f"{LOGS}/1/json_format/bad"),
        (served(access_logs=[{"text_format": "%REQ(%"}]), f"{LOGS}/0/text_format"),
        (served(access_logs=[{"destination": "file", "path": "/no/such/dir/x.log"}]), f"{LOGS}/0/path"),
        ({**served(), "address": "203.0.113.77"}, "/address"),
    ],
    ids=["json", "text", "file", "address"],
)  # fmt: skip
async def test_listener_documents(document, pointer, tmp_path):
    """What a user can write into a listener that Envoy refuses is found."""
    found = await refusal(resources(listener=document), LISTENER, tmp_path)
    assert found[:3] == ("listener", "l", pointer)


async def test_a_taken_port(tmp_path):
    """A listener whose port another process has is told so at its port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = await refusal(resources(listener={**served(), "port": taken.getsockname()[1]}), LISTENER, tmp_path)
    assert found[:3] == ("listener", "l", "/port")
    assert "Address already in use" in found.explanation


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"tls_certificate": {"certificate_chain": PEM, "private_key": KEY}}, "/tls_certificate/certificate_chain"),
        ({"trusted_ca": PEM}, "/trusted_ca"),
    ],
)
async def test_secrets(document, pointer, tmp_path):
    """A certificate that Envoy cannot read is named, and nothing of it is quoted."""
    tls = {"client_certificate_secret": "s", "verify": "none"}
    if "trusted_ca" in document:
        tls = {"verify": "secret", "ca_secret": "s", "sni": "a.example"}
    found = await refusal(resources(secret=document, cluster={**ENDPOINTS, "tls": tls}), SECRET, tmp_path)
    assert found[:3] == ("secret", "s", pointer)
    assert "hush" not in found.explanation
