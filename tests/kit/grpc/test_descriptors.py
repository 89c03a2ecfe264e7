"""Descriptors that handlers bring."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from headgate.kit.grpc.descriptors import Descriptors
from headgate.kit.grpc.registry import Registry


def pool_with(*messages):
    """A pool with a service and these messages."""
    file = descriptor_pb2.FileDescriptorProto(name="own/shop.proto", package="own", syntax="proto3")
    for name in messages:
        file.message_type.add(name=name)
    file.service.add(name="Shop").method.add(name="Order", input_type=".own.Tea", output_type=".own.Tea")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def test_what_a_handler_brings_is_found_before_what_generated_code_registered():
    """A pool that was added is asked first, the default one last, and what none knows is a KeyError."""
    found = Descriptors()
    found.add(pool_with("Tea"))
    found.add(pool_with("Tea", "Cup"))
    assert found.FindMethodByName("own.Shop.Order").input_type.full_name == "own.Tea"
    assert list(found.FindFileByName("own/shop.proto").message_types_by_name) == ["Tea"]
    assert found.FindMessageTypeByName("own.Cup").full_name == "own.Cup"
    assert found.FindFileContainingSymbol("google.protobuf.FileOptions").name == "google/protobuf/descriptor.proto"
    with pytest.raises(KeyError):
        found.FindFileContainingSymbol("own.Nothing")


def test_extensions_are_looked_up_where_their_message_is():
    """What extends a message is asked of the pool that the message came from."""
    found = Descriptors()
    found.add(pool_with("Tea"))
    message = found.FindMessageTypeByName("own.Tea")
    assert list(found.FindAllExtensions(message)) == []
    with pytest.raises(KeyError):
        found.FindExtensionByNumber(message, 5)


def test_a_registry_takes_descriptors_as_it_takes_handlers():
    """Whoever registers handlers can bring their descriptors along."""
    registry = Registry([lambda server: server.add_descriptors(pool_with("Tea"))])
    assert registry.descriptors.FindMessageTypeByName("own.Tea").full_name == "own.Tea"
