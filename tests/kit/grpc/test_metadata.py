"""Metadata and peers, between gRPC's forms and a call's."""

import pytest

from headgate.kit.grpc import metadata
from headgate.kit.grpc.metadata import from_headers, host_of_peer, to_headers


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv6:[::1]:50051", "::1"),
        ("ipv6:%5B2001:db8::1%5D:443", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:443", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/socket", ""),
        ("", ""),
        ("vsock:3:1024", ""),
    ],
)
def test_peers_in_every_form(peer, host):
    """The address of a peer is told without its port, "" where there is none."""
    assert host_of_peer(peer) == host


def test_metadata_becomes_headers():
    """Text becomes bytes, and the bytes of a `-bin` value stay as they are."""
    assert to_headers([("x-a", "1"), ("x-b-bin", b"\x00")]) == [(b"x-a", b"1"), (b"x-b-bin", b"\x00")]


def test_headers_become_metadata():
    """What gRPC would refuse, and end the call for, is left out; names are lower case."""
    headers = [
        (b"X-Request-ID", b"1"),
        (b"ratelimit", b'"default";r=1;t=60'),
        (b"bad name", b"1"),
        (b"", b"1"),
        (b"grpc-status", b"0"),
        (b"x-text", b"\xc3\xa9"),
        (b"x-control", b"a\nb"),
        (b"x-raw-bin", b"\x00\xff"),
    ]
    assert from_headers(headers) == (
        ("x-request-id", "1"),
        ("ratelimit", '"default";r=1;t=60'),
        ("x-raw-bin", b"\x00\xff"),
    )


def test_remembered_names_are_bounded():
    """Names of headers that are remembered never number more than the limit."""
    from_headers([(f"x-{number}".encode(), b"1") for number in range(5_000)])
    assert len(metadata._names) <= metadata._REMEMBERED
