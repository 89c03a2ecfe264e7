"""Looking through a document: versions, references, and every operation."""

import pytest

from headgate.controlplane.openapi.document import read_document
from headgate.kit.controls.faults import InvalidArgument


def _operations(document, **more):
    return [(operation.method, operation.key) for operation in read_document(document, **more).operations]


def _codes(document):
    return {(note.code, note.pointer) for note in read_document(document).notes}


@pytest.mark.parametrize(
    ("root", "code", "pointer"),
    [
        (None, "not_openapi", ""),
        ([], "not_openapi", ""),
        ({}, "not_openapi", ""),
        ({"openapi": "4.0.0"}, "unsupported_version", "/openapi"),
        ({"openapi": None}, "unsupported_version", "/openapi"),
        ({"swagger": "1.2"}, "unsupported_version", "/swagger"),
        ({"openapi": "3.0.0", "paths": []}, "invalid_document", "/paths"),
        ({"openapi": "3.0.0", "paths": "x"}, "invalid_document", "/paths"),
    ],
)
def test_what_is_no_document(root, code, pointer):
    """What is no OpenAPI document, or one of another age, is refused with a pointer."""
    with pytest.raises(InvalidArgument) as caught:
        read_document(root)
    assert (caught.value.code, caught.value.violations[0].pointer) == (code, pointer)


@pytest.mark.parametrize("version", ["2.0", 2.0, 2, "3.0.3", 3.0, "3.1.0", 3.1, "3.2.0", "3.0.0-rc1", "3"])
def test_versions(version):
    """A version may be text or a number, as YAML has it."""
    root = {"swagger" if str(version).startswith("2") else "openapi": version, "paths": {"/a": {"get": {}}}}
    assert _operations(root) == [("GET", "/a")]


def test_methods_of_each_version():
    """QUERY and further methods are operations from 3.2 on; before, they are unknown fields."""
    item = {"get": {}, "query": {}, "additionalOperations": {"COPY": {}, "frob": {}}, "x-y": {}, "summary": ""}
    assert _operations({"openapi": "3.2.0", "paths": {"/a": item}}) == [
        ("GET", "/a"),
        ("QUERY", "/a"),
        ("COPY", "/a"),
        ("frob", "/a"),
    ]
    older = {"openapi": "3.1.0", "paths": {"/a": item, "x-extension": {"get": {}}}}
    assert _operations(older) == [("GET", "/a")]
    assert _codes(older) == {
        ("unknown_field", "/paths/~1a/query"),
        ("unknown_field", "/paths/~1a/additionalOperations"),
    }


def test_pointers_lead_to_the_operation():
    """The pointer of an operation is that of its place below `paths`."""
    root = {"openapi": "3.2.0", "paths": {"/a/{b~c}": {"post": {}, "additionalOperations": {"COPY": {}}}}}
    found = [operation.pointer for operation in read_document(root).operations]
    assert found == ["/paths/~1a~1{b~0c}/post", "/paths/~1a~1{b~0c}/additionalOperations/COPY"]


def test_references_are_followed_within_the_document():
    """A path item may be elsewhere in the document, in several steps; what stands beside the reference wins."""
    root = {
        "openapi": "3.1.0",
        "$self": "https://a.example/o.json",
        "components": {
            "pathItems": {
                "one": {"$ref": "#/components/pathItems/t~1wo%20x"},
                "t/wo x": {"get": {"operationId": "theirs"}, "put": {}},
            }
        },
        "paths": {
            "/a": {"$ref": "#/components/pathItems/one", "get": {"operationId": "mine"}},
            "/b": {"$ref": "https://a.example/o.json#/paths/~1a"},
        },
    }
    found = [(o.method, o.key, o.operation_id) for o in read_document(root).operations]
    assert found == [("GET", "/a", "mine"), ("PUT", "/a", ""), ("GET", "/b", "mine"), ("PUT", "/b", "")]


def test_references_that_lead_nowhere_are_told():
    """A circle, a missing place, a foreign document and an anchor are told; what is beside them is still found."""
    root = {
        "openapi": "3.0.0",
        "paths": {
            "/circle": {"$ref": "#/paths/~1circle", "get": {}},
            "/missing": {"$ref": "#/nowhere/0", "get": {}},
            "/foreign": {"$ref": "other.yaml#/a", "get": {}},
            "/anchor": {"$ref": "#here", "get": {}},
            "/number": {"$ref": "#/openapi", "get": {}},
        },
    }
    assert len(_operations(root)) == 5
    assert _codes(root) == {
        ("broken_ref", "/paths/~1circle"),
        ("broken_ref", "/paths/~1missing"),
        ("external_ref", "/paths/~1foreign"),
        ("broken_ref", "/paths/~1anchor"),
        ("broken_ref", "/paths/~1number"),
    }


def test_what_is_no_path_item_or_operation():
    """A path item that is no object has no operations, which is told; an operation that is none is accounted for."""
    root = {"openapi": "3.0.0", "paths": {"/null": None, "/text": "x", "/a": {"get": None, "put": []}}}
    document = read_document(root)
    assert [(o.method, o.problem) for o in document.operations] == [
        ("GET", "the operation is not an object"),
        ("PUT", "the operation is not an object"),
    ]
    assert _codes(root) == {("empty_path_item", "/paths/~1null"), ("empty_path_item", "/paths/~1text")}


def test_servers_of_the_operation_come_first():
    """Servers of the operation come before those of the path item, before those of the document."""
    root = {
        "openapi": "3.0.0",
        "servers": [{"url": "https://root.example"}],
        "paths": {
            "/a": {"servers": [{"url": "https://item.example"}], "get": {}, "put": {"servers": [{"url": "/own"}]}},
            "/b": {"get": {"servers": []}, "put": {"servers": "x"}},
        },
    }
    found = [operation.servers[0].url for operation in read_document(root).operations]
    assert found == ["https://item.example", "/own", "https://root.example", "https://root.example"]
    assert _codes(root) == {("invalid_servers", "/paths/~1b/put/servers")}


def test_parameters_are_gathered_through_references():
    """Parameters of the item and of the operation are known by place and name, referenced ones too."""
    root = {
        "openapi": "3.0.0",
        "components": {"parameters": {"t": {"name": "tag", "in": "query"}}},
        "paths": {
            "/a": {
                "parameters": [{"$ref": "#/components/parameters/t"}, {"name": "X-A", "in": "header"}, None, 3],
                "get": {"parameters": [{"name": "q", "in": "query"}, {"name": 4, "in": "query"}, {"in": "query"}]},
            }
        },
    }
    (operation,) = read_document(root).operations
    assert (operation.query_names, operation.header_names) == ({"tag", "q"}, {"X-A"})


def test_webhooks_are_told():
    """Webhooks are requests the other way: there is nothing to route, and the report says so."""
    assert _codes({"openapi": "3.1.0", "webhooks": {"a": {"post": {}}}}) == {
        ("webhooks_not_routed", "/webhooks"),
        ("no_paths", "/paths"),
    }


def test_too_many_operations_are_refused():
    """A document with more operations than the limit is refused before it is worked on."""
    root = {"openapi": "3.0.0", "paths": {f"/{n}": {"get": {}} for n in range(11)}}
    with pytest.raises(InvalidArgument) as caught:
        read_document(root, max_operations=10)
    assert caught.value.code == "too_many_operations"
