"""Descriptors of schemas, made while running: no generated code, no compiler.

    pool = pool_of([schema])
    message_class(pool, "orders.Order").FromString(data)

The pool is one's own: what other code registers in the library's default one cannot clash with it.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import duration_pb2, empty_pb2, message_factory, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.proto.model import (
    EMPTY,
    Enum,
    EnumRef,
    Field,
    MapOf,
    Message,
    MessageRef,
    OneOf,
    Repeated,
    Scalar,
    Schema,
    Single,
)
from headgate.service.proto.names import camel

_KNOWN: Final = (timestamp_pb2, duration_pb2, struct_pb2, empty_pb2)
_TYPES: Final = {
    "int64": FieldDescriptorProto.TYPE_INT64,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}
_ONE: Final = FieldDescriptorProto.LABEL_OPTIONAL
_MANY: Final = FieldDescriptorProto.LABEL_REPEATED
_LEVELS: Final = {
    "": MethodOptions.IDEMPOTENCY_UNKNOWN,
    "NO_SIDE_EFFECTS": MethodOptions.NO_SIDE_EFFECTS,
    "IDEMPOTENT": MethodOptions.IDEMPOTENT,
}


def pool_of(schemas: Iterable[Schema]) -> DescriptorPool:
    """A pool with the files of these schemas, and of the well-known types they use.

    Raises InvalidArgument (`duplicate_message`) for what the library refuses.
    """
    pool = DescriptorPool()
    for known in _KNOWN:
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for schema in schemas:
        try:
            pool.AddSerializedFile(file_of(schema).SerializeToString())
        except TypeError as error:
            raise InvalidArgument(
                f"{schema.package}.{schema.service} cannot be told in protocol buffers: {error}",
                code="duplicate_message",
                hint="rename what has its name twice",
            ) from error
    return pool


def message_class(pool: DescriptorPool, name: str) -> Any:
    """The class of a message by its full name."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def file_of(schema: Schema) -> FileDescriptorProto:
    """The descriptor of a schema's file."""
    file = FileDescriptorProto(name=schema.file, package=schema.package, syntax="proto3")
    file.dependency.extend(sorted(known.DESCRIPTOR.name for known in _KNOWN))
    file.message_type.extend(_message(each, schema.package) for each in schema.messages)
    file.enum_type.extend(_enum(each) for each in schema.enums)
    service = file.service.add(name=schema.service)
    for method in schema.methods:
        service.method.append(
            MethodDescriptorProto(
                name=method.name,
                input_type=f".{_entry(schema, method.request)}",
                output_type=f".{_entry(schema, method.response)}",
                client_streaming=method.streams_in or None,
                server_streaming=method.streams_out or None,
                options=MethodOptions(
                    deprecated=method.deprecated or None,
                    idempotency_level=_LEVELS[method.idempotency] if method.idempotency else None,
                ),
            )
        )
    return file


def _entry(schema: Schema, message: Message | None) -> str:
    return EMPTY if message is None else f"{schema.package}.{message.path}"


def _enum(enum: Enum) -> EnumDescriptorProto:
    made = EnumDescriptorProto(name=enum.name)
    for name, number in sorted(enum.values.items(), key=lambda pair: (pair[1] != 0, pair[1])):
        made.value.add(name=name, number=number)
    if len(set(enum.values.values())) < len(enum.values):
        made.options.allow_alias = True
    for name, number in enum.reserved.items():
        made.reserved_range.add(start=number, end=number)
        made.reserved_name.append(name)
    return made


def _message(message: Message, package: str) -> DescriptorProto:
    made = DescriptorProto(name=message.name)
    made.nested_type.extend(_message(each, package) for each in message.nested)
    optional: list[FieldDescriptorProto] = []
    for field in message.fields:
        if isinstance(field.shape, OneOf):
            for member in field.shape.members:
                said = FieldDescriptorProto(name=member.name, number=member.number, label=_ONE)
                said.oneof_index = len(made.oneof_decl)
                _typed(said, MessageRef(member.message), package)
                made.field.append(said)
            made.oneof_decl.add(name=field.name)
            continue
        said = _field(made, message, field, package)
        made.field.append(said)
        if field.is_optional:
            optional.append(made.field[-1])
    for said in optional:  # their oneofs come after all real ones
        said.proto3_optional = True
        said.oneof_index = len(made.oneof_decl)
        made.oneof_decl.add(name=f"_{said.name}")
    for name, number in message.reserved.items():
        made.reserved_range.add(start=number, end=number + 1)
        made.reserved_name.append(name)
    return made


def _field(made: DescriptorProto, message: Message, field: Field, package: str) -> FieldDescriptorProto:
    shape = field.shape
    many = isinstance(shape, Repeated | MapOf)
    said = FieldDescriptorProto(
        name=field.name, number=field.number, json_name=field.key, label=_MANY if many else _ONE
    )
    if isinstance(shape, MapOf):
        entry = made.nested_type.add(name=f"{camel(field.name)}Entry")
        entry.options.map_entry = True
        for number, (name, part) in enumerate((("key", shape.key), ("value", shape.item)), 1):
            _typed(entry.field.add(name=name, number=number, label=_ONE), part, package)
        said.type = FieldDescriptorProto.TYPE_MESSAGE
        said.type_name = f".{package}.{message.path}.{entry.name}"
    elif isinstance(shape, Repeated):
        _typed(said, shape.item, package)
    elif not isinstance(shape, OneOf):
        _typed(said, shape, package)
    return said


def _typed(said: FieldDescriptorProto, shape: Single, package: str) -> None:
    if isinstance(shape, MessageRef):
        said.type, said.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{shape.message.path}"
    elif isinstance(shape, EnumRef):
        said.type, said.type_name = FieldDescriptorProto.TYPE_ENUM, f".{package}.{shape.enum.name}"
    elif isinstance(shape, Scalar) and shape.is_message:
        said.type, said.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{shape.name}"
    else:
        said.type = _TYPES[shape.name]
