"""What a cluster's document may and may not say."""

import pytest

from headgate.controlplane.model.cluster import Cluster
from tests.controlplane.model.refusals import one_refusal

HERE = {"address": "192.0.2.1", "port": 80}
NAMED = {"address": "a.example", "port": 80}
TLS = {"sni": "a.example"}


def test_an_empty_document_is_a_cluster():
    """Every field has a default."""
    assert Cluster.model_validate({}).endpoints == []


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ({"endpoint": []}, "endpoint", "Extra inputs"),
        ({"endpoints": [{**HERE, "port": "80"}]}, "endpoints.0.port", "valid integer"),
        ({"endpoints": [{**HERE, "port": 0}]}, "endpoints.0.port", "greater than or equal to 1"),
        ({"endpoints": [{**HERE, "address": "not a host"}]}, "endpoints.0.address", "IP address or a DNS name"),
        ({"endpoints": [{**HERE, "address": "1.2.3"}]}, "endpoints.0.address", "IP address or a DNS name"),
        ({"endpoints": [{**HERE, "weight": 0}]}, "endpoints.0.weight", "greater than or equal to 1"),
        ({"endpoints": [HERE, HERE]}, "", "endpoints[1] has the address and port of an endpoint before it"),
        ({"endpoints": [{**HERE, "priority": 1}]}, "", "without gaps; got [1]"),
        ({"endpoints": [NAMED]}, "", "endpoints[0].address is a name"),
        ({"discovery": "strict_dns"}, "", "needs an endpoint"),
        ({"discovery": "logical_dns", "endpoints": [NAMED, HERE]}, "", "exactly one endpoint"),
        ({"dns_refresh_ms": 1000}, "", "dns_refresh_ms has no meaning with discovery 'static'"),
        ({"dns_family": "v4_only"}, "", "dns_family has no meaning"),
        ({"protocol": "auto"}, "", "needs tls"),
        ({"connect_timeout_ms": 0}, "connect_timeout_ms", "greater than or equal to 1"),
        ({"connect_timeout_ms": 1.5}, "connect_timeout_ms", "valid integer"),
        ({"load_balancing": {"policy": "fastest"}}, "load_balancing.policy", "Input should be"),
        ({"load_balancing": {"policy": "maglev", "table_size": 65_536}}, "load_balancing", "prime number"),
        (
            {"load_balancing": {"policy": "ring_hash", "minimum_ring_size": 9, "maximum_ring_size": 8}},
            "load_balancing",
            "must not exceed",
        ),
        (
            {"load_balancing": {"choice_count": 3}},
            "load_balancing",
            "choice_count has no meaning with policy 'round_robin'",
        ),
        (
            {"load_balancing": {"policy": "random", "slow_start_ms": 1}},
            "load_balancing",
            "slow_start_ms has no meaning",
        ),
        ({"health_checks": [{}]}, "health_checks.0", "exactly one of http, tcp, grpc"),
        ({"health_checks": [{"http": {}, "tcp": {}}]}, "health_checks.0", "exactly one of"),
        ({"health_checks": [{"http": {}, "timeout_ms": 10_000}]}, "health_checks.0", "less than interval_ms"),
        ({"health_checks": [{"http": {}}, {"tcp": {}}]}, "health_checks", "at most 1 item"),
        ({"health_checks": [{"grpc": {}}]}, "", "needs protocol 'http2'"),
        ({"health_checks": [{"http": {"path": "health"}}]}, "health_checks.0.http.path", "match pattern"),
        ({"health_checks": [{"http": {"path": "/a\r\nx: y"}}]}, "health_checks.0.http.path", "control characters"),
        ({"health_checks": [{"http": {"host": "a\nb"}}]}, "health_checks.0.http.host", "control characters"),
        (
            {"health_checks": [{"http": {"expected_statuses": [{"start": 300, "end": 200}]}}]},
            "health_checks.0.http.expected_statuses.0",
            "start must not exceed end",
        ),
        ({"health_checks": [{"tcp": {"send": "abc"}}]}, "health_checks.0.tcp.send", "match pattern"),
        (
            {"outlier_detection": {"max_ejection_percent": 101}},
            "outlier_detection.max_ejection_percent",
            "less than or equal to 100",
        ),
        ({"outlier_detection": {"base_ejection_ms": 400_000}}, "outlier_detection", "must not exceed max_ejection_ms"),
        (
            {"circuit_breakers": {"default": {"max_requests": 0}}},
            "circuit_breakers.default.max_requests",
            "greater than or equal to 1",
        ),
        ({"tls": {}}, "tls", "verification needs sni or subject_alt_names"),
        ({"tls": {**TLS, "verify": "secret"}}, "tls", "ca_secret goes with"),
        ({"tls": {**TLS, "ca_secret": "ca"}}, "tls", "ca_secret goes with"),
        ({"tls": {"verify": "none", "subject_alt_names": ["a.example"]}}, "tls", "needs verification"),
        ({"tls": {**TLS, "min_version": "1.3", "max_version": "1.2"}}, "tls", "must not exceed"),
        ({"tls": {"sni": "not a host"}}, "tls.sni", "IP address or a DNS name"),
        ({"tls": {**TLS, "client_certificate_secret": "No Name"}}, "tls.client_certificate_secret", "match pattern"),
    ],
)
def test_refused(document, place, words):
    """A wrong document is refused at its place, in words that say what is right."""
    one_refusal(Cluster, document, place, words)


def test_what_nobody_wrote_is_not_kept():
    """A document read and written again is the one that was written: defaults are not frozen into it."""
    document = {"endpoints": [HERE], "tls": {"verify": "none"}, "load_balancing": {"policy": "random"}}
    spec = Cluster.model_validate(document)
    assert spec.model_dump(mode="json", exclude_unset=True, exclude_none=True) == document


def test_a_cluster_cannot_be_changed():
    """A specification is a value."""
    with pytest.raises(ValueError, match="frozen"):
        Cluster().discovery = "strict_dns"
