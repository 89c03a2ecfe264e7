"""Protocol buffers of a contract: one model, from which come descriptors, converters, the lock and the `.proto`.

    proto_text(Orders.contract(), lock)                 # headgate.service.proto.text: the `.proto`
    schema = schema_of(Orders.contract(), lock.numbers) # headgate.service.proto.mapping: what maps to what
    wire = Wire([schema])                               # headgate.service.proto.wire: bytes to values and back

The rule, proto3 throughout. A contract is one file, and its name the package.

    Struct, dataclass, TypedDict, pydantic model    a message of that name; `Page[Item]` is PageOfItem
    int                                             int64; a value beyond cannot be sent
    float, bool, str, bytes                         double, bool, string, bytes
    datetime                                        google.protobuf.Timestamp; comes back in UTC, without a zone where
                                                    its type forbids one; one that has no zone is taken for UTC
    timedelta                                       google.protobuf.Duration
    date, time, UUID, Decimal                       string, as in JSON
    Enum                                            enum, its values prefixed with its name; those of text count from 1,
                                                    those of integers are what they are; 0 is UNSPECIFIED unless taken
    Literal                                         string or int64: it has no name, and may grow without a new enum
    list, set, tuple[T, ...], tuple of one type     repeated
    dict with keys of text or integers              map
    T | None                                        a field with presence; absent is None
    a field with a default                          a field with presence; absent is the default
    a union of tagged Structs                       oneof, a member for each
    Any, other unions, array-like Structs,          google.protobuf.Value: what JSON would have; its numbers are
    named and mixed tuples                          doubles, so integers beyond 2**53 cannot be sent in it
    what cannot be repeated, a map's value or       a message of its own with the one field `value`, nested where it is
    optional (lists of lists, None in lists)        used: `MatrixItem`, `TagsValue`
    request or response that is no record           a message `PlaceRequest` or `PlaceResponse` with the field `value`
    no parameters, None                             google.protobuf.Empty

Fields are in snake case, and their `json_name` is what JSON calls them. A field without presence that is not sent is
zero, empty text or an empty list: proto3 does not tell the difference. Numbers are the lock's, else follow the order.

    InvalidArgument
    ├── no_proto_type         a type that has no place here: msgspec.Raw, msgspec.Ext
    ├── no_proto_name         a service or a type whose name none can have there: `shop.1orders`, `Größe`
    ├── duplicate_message     two types of one name, or two fields of one name in snake case
    ├── reserved_field        a field has the name of one that was removed
    ├── malformed_message     bytes that are no message
    └── invalid_argument      a message that is no value of its type; every violation is told
    OutOfRange
    └── value_out_of_range    a value that these messages cannot hold
"""
