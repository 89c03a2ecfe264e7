"""What the model accepts and we translate, a real Envoy accepts."""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import RouteConfig
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.listener import listener
from headgate.controlplane.translate.route import route, route_config, virtual_host
from headgate.controlplane.translate.static import bootstrap, masked_route, static_cluster, static_listener
from headgate.dataplane.validate import EnvoyValidator
from headgate.testing.envoy import require_envoy
from tests.controlplane.translate import documents

pytestmark = pytest.mark.envoy

# Not shrunk: every step would be a run of Envoy, and its reason says enough.
many = settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


def accepts(**resources) -> None:
    """Fail with Envoy's reason unless it accepts the resources."""
    reason = asyncio.run(EnvoyValidator(require_envoy()).check(bootstrap(**resources)))
    assert reason is None


def config_of(name: str, document):
    """A whole RouteConfiguration, cluster names masked."""
    spec = RouteConfig.model_validate(document)
    message = route_config("team", name, spec)
    for host in spec.virtual_hosts:
        translated = virtual_host(host)
        translated.routes.extend(masked_route(route("team", each)) for each in host.routes)
        message.virtual_hosts.append(translated)
    return message


@many
@given(st.lists(documents.clusters(), min_size=5, max_size=20))
def test_clusters(specs):
    """Envoy accepts the translation of every cluster the model accepts."""
    messages = []
    for index, document in enumerate(specs):
        spec = Cluster.model_validate(document)
        messages.append(static_cluster(cluster("team", f"c{index}", spec), assignment("team", f"c{index}", spec)))
    accepts(clusters=messages)


@many
@given(st.lists(documents.route_configs(), min_size=2, max_size=5))
def test_route_configs(specs):
    """Envoy accepts the translation of every route config the model accepts."""
    accepts(route_configs=[config_of(f"rc{index}", document) for index, document in enumerate(specs)])


@many
@given(st.lists(documents.listeners(), min_size=5, max_size=10))
def test_listeners(specs):
    """Envoy accepts the translation of every listener the model accepts."""
    messages = [
        static_listener(listener("team", f"l{index}", Listener.model_validate(document)))
        for index, document in enumerate(specs)
    ]
    accepts(listeners=messages)
