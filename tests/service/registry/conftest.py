"""Shared by the tests of registries: patience that is short, and the marks of those that need real servers."""

import pytest

from headgate.service.registry.policy import RegistryPolicy


def pytest_configure(config: pytest.Config) -> None:
    """Tell the marks."""
    config.addinivalue_line("markers", "consul: asks a real Consul; run by `make test-consul`")
    config.addinivalue_line("markers", "kube: asks a real Kubernetes API server; run by `make test-kube`")


@pytest.fixture
def policy() -> RegistryPolicy:
    """Impatient, so that tests are quick."""
    return quick()


def quick(**changes) -> RegistryPolicy:
    """A policy whose pauses are those of tests."""
    told = {
        "first_pause": 0.02, "longest_pause": 0.1, "settled": 0.2, "empty_grace": 0.4, "first_answer": 2.0,
        "linger": 0.05, "call_timeout": 2.0, "rejoin_within": 0.05,
    }  # fmt: skip
    return RegistryPolicy(**{**told, **changes})
