"""The `.proto` of a contract."""

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from headgate.service import Service, Struct, rpc
from headgate.service.lock import parse_lock, update_lock
from headgate.service.proto.descriptors import file_of
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.text import proto_text
from tests.service.proto.shop import Shop

INCLUDED = f"{next(iter(grpc_tools.__path__))}/_proto"


def compiled(text, folder):
    """The descriptor that the compiler makes of a text."""
    (folder / "made.proto").write_text(text, encoding="utf-8")
    out = folder / "made.bin"
    assert protoc.main(["protoc", f"-I{folder}", f"-I{INCLUDED}", f"--descriptor_set_out={out}", "made.proto"]) == 0
    return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def comparable(file):
    """A file's descriptor without what says nothing about the wire."""
    made = FileDescriptorProto()
    made.CopyFrom(file)
    made.name = ""
    del made.dependency[:]
    pending = list(made.message_type)
    while pending:
        message = pending.pop()
        ordered = sorted(message.nested_type, key=lambda each: each.name)
        del message.nested_type[:]
        message.nested_type.extend(ordered)
        pending += message.nested_type
    for service in made.service:
        for method in service.method:
            if not method.options.ByteSize():
                method.ClearField("options")
    return made


def with_json_names(file):
    """A descriptor that says of each field what JSON calls it, as the compiler does."""
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending += message.nested_type
        for field in message.field:
            if not field.json_name:
                head, *tail = field.name.split("_")
                field.json_name = head + "".join(each[:1].upper() + each[1:] for each in tail)
    return file


class Stray(Struct):
    """Says "quotes" and */ ends of comments."""

    stray: "Stray | None" = None
    value_item: list[list[int]] = []


class ValueItemItem(Struct):
    value: int


class Odd(Struct, rename={"odd": "@id", "even": "x-y"}):
    odd: int
    even: ValueItemItem
    value_item: list[list[int]]


class Names(Service, name="odd-names.of-all", public=True):
    @rpc(name="Stray")
    async def stray(self, stray: Stray) -> Odd:
        raise NotImplementedError


@pytest.mark.parametrize("service", [Shop, Names])
def test_the_text_compiles_to_the_descriptors_that_are_served(service, tmp_path):
    """What the compiler makes of the text is what the server makes of the contract."""
    contract = service.contract()
    made = with_json_names(comparable(file_of(schema_of(contract))))
    assert comparable(compiled(proto_text(contract), tmp_path)) == made


def test_the_text_is_the_same_every_time():
    """The same contract gives the same text, with the docstrings as comments."""
    text = proto_text(Shop.contract())
    assert text == proto_text(Shop.contract())
    assert "// A shop.\n//\n// Sells tea.\nservice Shop {" in text
    assert "  // Give back what came.\n  rpc Echo(Everything) returns (Everything) {" in text
    assert "  // How many; at least one.\n  optional int64 quantity = 2;" in text
    assert "option idempotency_level = NO_SIDE_EFFECTS;" in text
    assert "option deprecated = true;" in text


def test_what_was_removed_is_reserved(tmp_path):
    """Numbers and names that the lock keeps back are reserved, in the text and in the descriptors."""
    contract = Names.contract()
    lock = update_lock(contract)
    stored = lock.text().replace('"x_y": "ValueItemItem = 2"', '"gone": "int64 = 2",\n"x_y": "ValueItemItem = 7"')
    lock = update_lock(contract, parse_lock(stored))
    text = proto_text(contract, lock)
    assert '  reserved 2;\n  reserved "gone";' in text
    assert 'x_y = 7 [json_name = "x-y"]' in text
    file = compiled(text, tmp_path)
    assert [list(each.reserved_name) for each in file.message_type if each.name == "Odd"] == [["gone"]]
    assert file.message_type == compiled(text, tmp_path).message_type
