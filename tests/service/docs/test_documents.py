"""OpenAPI, AsyncAPI and tools: what holds for every document."""

import json
import os
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from headgate.controlplane.openapi.document import read_document
from headgate.kit.controls.faults import InvalidArgument
from headgate.service import Service, Struct, rpc
from headgate.service.docs import asyncapi, mcp_tools, openapi
from tests.service.docs.cases import CASES, contracts_of


class Thing(Struct):
    """Something."""

    name: str


def references(value: Any) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def found(document: Any, reference: str) -> Any:
    """What a reference within a document leads to."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations of an OpenAPI document, by verb and path."""
    return {f"{verb} {path}": each for path, item in document["paths"].items() for verb, each in item.items()}


@pytest.mark.parametrize("case", CASES)
def test_no_reference_is_dangling(case: str) -> None:
    """Whatever a document refers to is in it."""
    contracts = contracts_of(case)
    for document in (openapi(contracts), asyncapi(contracts)):
        for reference in references(document):
            assert found(document, reference) is not None
    for tool in mcp_tools(contracts):
        for schema in (tool["inputSchema"], tool.get("outputSchema", {})):
            for reference in references(schema):
                assert found(schema, reference) is not None


@pytest.mark.parametrize("case", CASES)
def test_openapi_is_valid(case: str) -> None:
    """A validator of OpenAPI that others wrote accepts the document."""
    if not os.environ.get("CI"):
        pytest.importorskip("openapi_spec_validator", reason="needs openapi-spec-validator")
    validator = import_module("openapi_spec_validator")
    validator.validate(openapi(contracts_of(case), servers=["https://api.example.com"]))


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_imports_openapi(case: str) -> None:
    """The gateway's own importer reads every operation, and has nothing to remark."""
    document = openapi(contracts_of(case), servers=["https://api.example.com"])

    read = read_document(json.loads(json.dumps(document)))

    assert {f"{each.method.lower()} {each.key}" for each in read.operations} == set(operations(document))
    assert [each.problem for each in read.operations if each.problem] == []
    assert read.notes == ()


@pytest.mark.parametrize("case", CASES)
def test_operations_are_told_apart(case: str) -> None:
    """Every operation has an id of its own, and tags that are explained."""
    document = openapi(contracts_of(case))
    ids = [each["operationId"] for each in operations(document).values()]

    assert len(set(ids)) == len(ids)
    assert {each["tags"][0] for each in operations(document).values()} <= {tag["name"] for tag in document["tags"]}


def test_methods_are_documented_where_they_are_bound() -> None:
    """A method with a binding is told of at both places, or at its binding alone."""
    both, bound = (set(openapi(contracts_of("orders"), rpc=rpc)["paths"]) for rpc in (True, False))

    assert {"/orders.Orders/Get", "/orders/{number}"} <= both
    assert both - bound == {path for path in both if path.startswith("/orders.Orders/")} - {"/orders.Orders/Talk"}


def test_query_parameters_have_types_and_defaults() -> None:
    """A query parameter has the schema of its field: bounds, defaults, repetition, JSON for objects."""
    asked = {each["name"]: each for each in openapi(contracts_of("orders"))["paths"]["/orders"]["get"]["parameters"]}

    assert asked["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert asked["states"]["explode"] is True
    assert "application/json" in asked["shape"]["content"]
    assert not any(each["required"] for each in asked.values())


def test_faults_are_documented_by_status() -> None:
    """A declared fault is an answer with its code and details, beside those any operation may give."""
    document = openapi(contracts_of("orders"))
    answers = operations(document)["post /orders"]["responses"]
    problem = document["components"]["schemas"]["OutOfStockProblem"]["allOf"][1]["properties"]

    assert set(answers) == {"201", "400", "401", "403", "409", "429", "500", "503", "504"}
    assert answers["409"]["content"]["application/problem+json"]["schema"] == {
        "$ref": "#/components/schemas/OutOfStockProblem"
    }
    assert problem["code"] == {"enum": ["out_of_stock"]}
    assert problem["details"]["$ref"].endswith("Details")


def test_guards_are_documented() -> None:
    """Public operations ask for nothing, guarded ones name the schemes, scopes and roles."""
    told = operations(openapi(contracts_of("orders")))

    assert told["get /orders/{number}"]["security"] == []
    assert told["get /orders"]["security"][0] == {"bearer": ["orders:read"]}
    assert told["post /orders"]["x-headgate-guard"]["roles"] == ["clerk", "manager"]


def test_the_idempotency_key_is_documented_where_it_is_used() -> None:
    """The header is a parameter of the methods that ask for it, and of no other."""
    told = operations(openapi(contracts_of("orders")))
    asking = {
        name for name, each in told.items() for parameter in each.get("parameters", ()) if parameter["in"] == "header"
    }

    assert asking == {"post /orders", "post /orders.Orders/Place"}


def test_names_that_mean_two_things_are_told_apart() -> None:
    """Of two services with different types of one name, each keeps its own; what both share is there once."""
    schemas = openapi(contracts_of("library"))["components"]["schemas"]

    assert "Item" not in schemas
    assert {"library.books.Books.Item", "library_fines.Fines.Item", "Money"} <= set(schemas)
    assert schemas["library.books.Books.Shelf"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/library.books.Books.Item"
    }


def test_patterns_become_parameters_of_an_address() -> None:
    """A wildcard of a subscription is a parameter of its channel; dead letters are a channel of their own."""
    document = asyncapi(contracts_of("orders"))

    assert document["channels"]["orders.Orders.left"]["address"] == "shipping.{word2}.left"
    assert document["channels"]["orders.Orders.settled.Dead"]["address"] == "payments.settled.dead"
    assert document["channels"]["orders.Orders.Get"]["address"] == "svc.orders.Get"


def test_servers_of_asyncapi_are_urls() -> None:
    """A server without a scheme is refused; passwords in URLs stay out of the document."""
    with pytest.raises(InvalidArgument) as caught:
        asyncapi(contracts_of("orders"), servers={"nats": "127.0.0.1:4222"})

    assert caught.value.code == "invalid_server"
    assert "secret" not in str(asyncapi(contracts_of("orders"), servers={"nats": "nats://u:secret@127.0.0.1:4222"}))


def test_hints_of_tools_follow_from_verb_and_idempotency() -> None:
    """Reading is harmless, replacing destroys; of what is called by RPC alone nothing is promised."""
    hints = {tool["name"]: tool["annotations"] for tool in mcp_tools(contracts_of("orders"))}

    assert hints["orders_get"] == {"readOnlyHint": True, "idempotentHint": True, "destructiveHint": False}
    assert hints["orders_cancel"] == {"readOnlyHint": False, "idempotentHint": True, "destructiveHint": True}
    assert hints["orders_place"] == {"readOnlyHint": False, "idempotentHint": True}
    assert hints["orders_talk"] == {"readOnlyHint": False, "idempotentHint": False}


@pytest.mark.parametrize("case", CASES)
def test_tools_are_what_models_take(case: str) -> None:
    """Names have letters, digits and `_`; schemas are objects that stand alone."""
    for tool in mcp_tools(contracts_of(case)):
        assert re.fullmatch(r"[a-zA-Z0-9_]{1,64}", tool["name"])
        assert tool["inputSchema"]["type"] == "object"
        assert tool.get("outputSchema", {"type": "object"})["type"] == "object"
        assert not [each for each in references(tool) if not each.startswith("#/$defs/")]


def test_two_methods_are_not_one_tool() -> None:
    """Methods whose tools would have one name are refused."""

    class Twice(Service, name="twice", public=True):
        @rpc(name="DoIt")
        async def one(self, thing: Thing) -> Thing: ...

        @rpc(name="do_it")
        async def two(self, thing: Thing) -> Thing: ...

    with pytest.raises(InvalidArgument) as caught:
        mcp_tools([Twice.contract()])

    assert caught.value.code == "duplicate_tool"


def test_only_documents_of_contracts_are_taken() -> None:
    """What is no contract's document, or a broken one, is refused with what to give instead."""
    broken = {**contracts_of("orders")[0].document, "methods": [{"name": "Get"}]}
    for document in ({}, {"headgate": 99}, broken):
        with pytest.raises(InvalidArgument) as caught:
            openapi([document])
        assert caught.value.code == "invalid_contract"
