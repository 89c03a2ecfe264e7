"""The client behind trusted proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.proxies import TrustedProxies, parse_address
from tests.kit.controls.calls import call_of

control = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
rfc7239 = TrustedProxies(["10.0.0.0/8"], "forwarded")


def seen(by: TrustedProxies, peer: str, **headers: str) -> tuple[str, str]:
    """Client and scheme of a call from `peer`."""
    call = call_of(peer=peer, headers={name.replace("_", "-"): value for name, value in headers.items()})
    by.identify(call)
    return call.client, call.scheme


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 10.1.1.1", "198.51.100.7"),
        ("198.51.100.7:5123", "198.51.100.7"),
        ("[2001:db8::1]:5123", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("nonsense", "10.0.0.1"),
        ("198.51.100.7, nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_d22_the_client_is_the_first_address_no_trusted_proxy_has(forwarded: str, client: str) -> None:
    """Behind a balancer each user has an address of its own, and what users write before it is ignored."""
    assert seen(control, "10.0.0.1", x_forwarded_for=forwarded)[0] == client


def test_strangers_are_not_believed() -> None:
    """Who is no trusted proxy cannot choose an address or a scheme."""
    assert seen(control, "203.0.113.9", x_forwarded_for="1.1.1.1", x_forwarded_proto="https") == ("203.0.113.9", "http")


def test_a_scheme_is_taken_over() -> None:
    """HTTPS that a trusted proxy ended counts as HTTPS, also with one value for several hops."""
    assert seen(control, "10.0.0.1", x_forwarded_for="1.1.1.1", x_forwarded_proto="https")[1] == "https"
    assert seen(control, "10.0.0.1", x_forwarded_for="1.1.1.1, 10.0.0.2", x_forwarded_proto="https")[1] == "https"
    two = seen(control, "10.0.0.1", x_forwarded_for="1.1.1.1, 10.0.0.2", x_forwarded_proto="https, http")
    assert two == ("1.1.1.1", "https")
    assert seen(control, "10.0.0.1", x_forwarded_for="1.1.1.1", x_forwarded_proto="gopher")[1] == "http"
    assert seen(control, "10.0.0.1", x_forwarded_proto="https") == ("10.0.0.1", "https")


def test_the_other_header_is_ignored() -> None:
    """A client cannot speak in the header that the proxies do not write."""
    assert seen(control, "10.0.0.1", forwarded="for=6.6.6.6;proto=https") == ("10.0.0.1", "http")
    assert seen(rfc7239, "10.0.0.1", x_forwarded_for="6.6.6.6", x_forwarded_proto="https") == ("10.0.0.1", "http")


def test_forwarded_is_read() -> None:
    """RFC 7239: quoted IPv6 with port, several elements, obfuscated names."""
    assert seen(rfc7239, "10.0.0.1", forwarded='for="[2001:db8::1]:4711";proto=https') == ("2001:db8::1", "https")
    assert seen(rfc7239, "10.0.0.1", forwarded="for=6.6.6.6, for=1.1.1.1;proto=https, for=10.3.3.3")[0] == "1.1.1.1"
    assert seen(rfc7239, "10.0.0.1", forwarded="for=6.6.6.6, for=_hidden")[0] == "10.0.0.1"
    assert seen(rfc7239, "10.0.0.1", forwarded="for=6.6.6.6;proto=https, by=10.0.0.1;host=a") == ("10.0.0.1", "http")


def test_a_unix_socket_is_a_proxy() -> None:
    """Without an address the peer sits on this machine, and may tell who calls."""
    assert seen(control, "", x_forwarded_for="1.1.1.1")[0] == "1.1.1.1"


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_may_be_presented(forwarded: str, proto: str) -> None:
    """Whatever comes, the client is an address and the scheme is HTTP or HTTPS."""
    latin = {"x_forwarded_for": forwarded, "x_forwarded_proto": proto, "forwarded": forwarded}
    latin = {name: value.encode("latin-1", "replace").decode("latin-1") for name, value in latin.items()}
    for by in (control, rfc7239):
        client, scheme = seen(by, "10.0.0.1", **latin)
        assert parse_address(client) is not None
        assert scheme in {"http", "https"}
