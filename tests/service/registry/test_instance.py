"""Tests of what a registry tells of."""

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry import Instance, RegistryPolicy


def pointers(**told) -> list[str]:
    """Where an instance is wrong."""
    with pytest.raises(InvalidArgument) as raised:
        Instance(**{"id": "a", "service": "orders", **told})
    assert raised.value.code == "invalid_instance"
    return [each.pointer for each in raised.value.violations]


def test_all_that_is_wrong_is_told():
    """Everything that is wrong with an instance is told at once, each with where it is."""
    wrong = pointers(id="a b", service="Orders", version="1 2", weight=-1.0, endpoints={"HTTP": "x", "grpc": ""})
    assert wrong == ["/id", "/service", "/version", "/endpoints", "/endpoints/grpc", "/weight"]


def test_addresses_carry_no_secrets():
    """An address with a user or a password is refused: everybody can read the registry."""
    assert pointers(endpoints={"nats": "nats://user:secret@host:4222"}) == ["/endpoints/nats"]


def test_secrets_in_addresses_are_not_repeated():
    """A refused address is not told in the fault."""
    with pytest.raises(InvalidArgument) as raised:
        Instance(id="a", service="orders", endpoints={"nats": "nats://user:hunter2@host"})
    assert "hunter2" not in str(raised.value) + repr(raised.value.violations)


def test_metadata_is_bounded():
    """Metadata has at most 48 pairs, of short names and values."""
    assert pointers(metadata={f"k{n}": "" for n in range(49)}) == ["/metadata"]
    assert pointers(metadata={"a/b": "x" * 513}) == ["/metadata/a~1b"]
    assert pointers(metadata={"no name": ""}) == ["/metadata"]


def test_weight_zero_is_a_weight():
    """An instance may be there and take no calls."""
    assert Instance(id="a", service="orders", weight=0.0).weight == 0.0
    assert pointers(weight=float("nan")) == ["/weight"]


def test_pauses_grow_within_bounds():
    """Pauses double up to the longest, spread over their upper half, and keep what the registry asks for."""
    policy = RegistryPolicy(first_pause=1.0, longest_pause=8.0, spread=lambda: 0.0)
    assert [policy.pause(each) for each in (1, 2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert policy.pause(1, 7.0) == 7.5
    assert policy.pause(1, 1e9) == 80.5


def test_impossible_policies_are_refused():
    """A policy that cannot be is refused with what is wrong with it."""
    with pytest.raises(InvalidArgument) as raised:
        RegistryPolicy(first_pause=0, linger=-1)
    assert [each.pointer for each in raised.value.violations] == ["/first_pause", "/linger"]
