"""Which hosts are served."""

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.controls.hosts import TrustedHosts
from tests.kit.controls.calls import call_of

control = TrustedHosts(["api.example", "*.shop.example", "[::1]"], exempt=["/health"])


@pytest.mark.parametrize("host", ["api.example", "API.example:8080", "api.example.", "a.shop.example", "[::1]:80"])
def test_a_trusted_host_is_served(host: str) -> None:
    """Case, port and trailing dot make no other host; a wildcard covers every name below."""
    control.admit(call_of(headers={"host": host}))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "shop.example", "xshop.example", "api.example.evil", "", "::1"),
        *("api.example:80@evil.example", "api.example:evil", "[::1]:80@evil.example", "[::1]evil"),
    ],
)
def test_a_foreign_host_is_refused(host: str) -> None:
    """Anything else is told so, without being repeated to it."""
    with pytest.raises(InvalidArgument) as refused:
        control.admit(call_of(headers={"host": host}))
    assert refused.value.code == "untrusted_host"
    assert not host or host not in str(refused.value)


def test_one_host_only() -> None:
    """No host, or two of them, is no trusted host."""
    for headers in ([], [("host", "api.example"), ("host", "evil.example")]):
        with pytest.raises(InvalidArgument):
            control.admit(call_of(headers=headers))


def test_probes_may_use_any_host() -> None:
    """A kubelet asks by address."""
    control.admit(call_of("/health", headers={"host": "10.1.2.3:8080"}))


def test_a_star_serves_all() -> None:
    """`*` says in words that any host will do."""
    TrustedHosts(["*"]).admit(call_of(headers={"host": "any.example"}))
