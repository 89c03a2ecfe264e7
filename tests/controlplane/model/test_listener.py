"""What listeners and secrets may and may not say, and whom they name."""

import pytest

from headgate.controlplane.model.kinds import references
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.secret import Secret
from tests.controlplane.model.refusals import one_refusal

HTTP = {"route_config": "rc"}
CERT = {"certificate_secrets": ["cert"]}
TARGETS = [{"cluster": "a", "weight": 1}, {"cluster": "b", "weight": 0}]
PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def listener(*chains, **more):
    """A listener with these filter chains."""
    named = [{"name": f"chain{index}", **chain} for index, chain in enumerate(chains)]
    return {"port": 80, "filter_chains": named, **more}


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ({"port": 80}, "filter_chains", "Field required"),
        (listener(), "filter_chains", "at least 1 item"),
        (listener({"http": HTTP}, address="localhost"), "address", "IPv4 or IPv6 address"),
        (listener({"http": HTTP}, port=65_536), "port", "less than or equal to 65535"),
        (listener({}), "filter_chains.0", "exactly one of http and tcp"),
        (listener({"http": HTTP, "tcp": {"cluster": "c"}}), "filter_chains.0", "exactly one of http and tcp"),
        (
            listener({"http": HTTP, "name": "a"}, {"http": HTTP, "name": "a", "server_names": ["a"]}),
            "",
            "the same name",
        ),
        (listener({"http": HTTP}, {"http": HTTP}), "", "both match every connection"),
        (
            listener({"http": HTTP, "server_names": ["a"]}, {"http": HTTP, "server_names": ["b", "a"]}),
            "",
            "both match server name 'a'",
        ),
        (listener({"http": HTTP, "server_names": ["a", "a"]}), "filter_chains.0", "names one twice"),
        (listener({"http": HTTP, "server_names": ["A"]}), "filter_chains.0.server_names.0", "match pattern"),
        (listener({"http": HTTP, "server_names": ["a*"]}), "filter_chains.0.server_names.0", "match pattern"),
        (
            listener({"http": {**HTTP, "codec": "http1"}, "tls": {**CERT, "alpn": ["h2"]}}),
            "filter_chains.0",
            "offers 'h2', which http.codec does not speak",
        ),
        (
            listener({"http": {**HTTP, "codec": "http2"}, "tls": {**CERT, "alpn": ["http/1.1"]}}),
            "filter_chains.0",
            "does not speak",
        ),
        (
            listener({"http": HTTP, "tls": {"certificate_secrets": []}}),
            "filter_chains.0.tls.certificate_secrets",
            "at least 1 item",
        ),
        (
            listener({"http": HTTP, "tls": {**CERT, "require_client_certificate": True}}),
            "filter_chains.0.tls",
            "needs client_ca_secret",
        ),
        (
            listener({"http": HTTP, "tls": {**CERT, "min_version": "1.3", "max_version": "1.2"}}),
            "filter_chains.0.tls",
            "must not exceed",
        ),
        (
            listener({"http": {**HTTP, "initial_stream_window_bytes": 1}}),
            "filter_chains.0.http.initial_stream_window_bytes",
            "greater than or equal to 65535",
        ),
        (listener({"http": {**HTTP, "server_name": "a b"}}), "filter_chains.0.http.server_name", "match pattern"),
        (
            listener({"http": {**HTTP, "access_logs": [{"destination": "file"}]}}),
            "filter_chains.0.http.access_logs.0",
            "path goes with destination 'file'",
        ),
        (
            listener({"http": {**HTTP, "access_logs": [{"path": "/a"}]}}),
            "filter_chains.0.http.access_logs.0",
            "path goes with",
        ),
        (
            listener({"http": {**HTTP, "access_logs": [{"json_format": {}}]}}),
            "filter_chains.0.http.access_logs.0",
            "1 to 64 fields",
        ),
        (
            listener({"http": {**HTTP, "access_logs": [{"json_format": {"a": "b"}, "text_format": "c"}]}}),
            "filter_chains.0.http.access_logs.0",
            "takes one of",
        ),
        (listener({"tcp": {}}), "filter_chains.0.tcp", "either cluster or weighted_clusters"),
        (listener({"tcp": {"weighted_clusters": TARGETS[1:]}}), "filter_chains.0.tcp", "weight above 0"),
        (listener({"tcp": {"weighted_clusters": TARGETS + TARGETS}}), "filter_chains.0.tcp", "names a cluster twice"),
    ],
)
def test_refused(document, place, words):
    """A wrong listener is refused at its place, in words that say what is right."""
    one_refusal(Listener, document, place, words)


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        ({}, "", "exactly one of tls_certificate and trusted_ca"),
        ({"trusted_ca": PEM, "tls_certificate": {"certificate_chain": PEM, "private_key": PEM}}, "", "exactly one of"),
        ({"trusted_ca": "not PEM"}, "trusted_ca", "match pattern"),
    ],
)
def test_refused_secret(document, place, words):
    """A wrong secret is refused at its place."""
    one_refusal(Secret, document, place, words)


def test_a_private_key_is_not_shown():
    """The key is in no representation of the model."""
    spec = Secret.model_validate({"tls_certificate": {"certificate_chain": PEM, "private_key": PEM + "hush"}})
    assert "hush" not in repr(spec)


def test_references_of_a_listener():
    """A listener's references come with the places where they stand."""
    tls = {"certificate_secrets": ["one", "two"], "client_ca_secret": "ca"}
    spec = Listener.model_validate(
        listener({"http": HTTP, "tls": tls}, {"server_names": ["a"], "tcp": {"weighted_clusters": TARGETS}})
    )
    assert [tuple(reference) for reference in references(spec)] == [
        ("/filter_chains/0/tls/certificate_secrets/0", "secret", "one"),
        ("/filter_chains/0/tls/certificate_secrets/1", "secret", "two"),
        ("/filter_chains/0/tls/client_ca_secret", "secret", "ca"),
        ("/filter_chains/0/http/route_config", "route_config", "rc"),
        ("/filter_chains/1/tcp/weighted_clusters/0/cluster", "cluster", "a"),
        ("/filter_chains/1/tcp/weighted_clusters/1/cluster", "cluster", "b"),
    ]
