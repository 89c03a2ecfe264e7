"""Contracts: what they hold, when they are the same."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.service import Service, Struct, Topic, on, require, rpc
from tests.service.shop import Order, Orders, OutOfStock


def test_the_document_is_plain_and_complete():
    """A contract is plain JSON that names every method, fault, binding, subscription and type."""
    document = json.loads(json.dumps(Orders.contract().document))
    methods = {each["name"]: each for each in document["methods"]}
    assert list(methods) == ["Get", "Place", "Track", "Upload", "Chat"]
    assert methods["Get"]["http"] == {"method": "GET", "path": "/orders/{key}", "body": "", "status": 200}
    (fault,) = methods["Get"]["faults"]
    assert (fault["code"], fault["kind"]) == ("out_of_stock", "FAILED_PRECONDITION")
    assert fault["description"] == OutOfStock.__doc__
    assert document["subscriptions"][0]["subject"] == "payments.settled"
    assert {"Order", "NewOrder", "Details"} <= document["schemas"].keys()


def test_where_types_are_written_is_no_promise():
    """Types that share a name are told apart by the classes they are within; no module is in the document."""

    class Late(FailedPrecondition):
        default_code = "late"

        class Details(Struct):
            by: float

    class Closed(FailedPrecondition):
        default_code = "closed"

        class Details(Struct):
            until: str

    class Shop(Service, name="shop", public=True):
        @rpc(raises=[Late, Closed])
        async def buy(self, item: str) -> int:
            return len(item)

    document = Shop.contract().document
    assert sorted(document["schemas"]) == ["BuyRequest", "Closed.Details", "Late.Details"]
    faults = [each["details"] for each in document["methods"][0]["faults"]]
    assert faults == [{"$ref": "#/schemas/Closed.Details"}, {"$ref": "#/schemas/Late.Details"}]
    assert __name__ not in json.dumps(document)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_hash_is_the_same_in_every_process(seed):
    """The same promises have the same hash, whatever the process."""
    script = "from tests.service.shop import Orders; print(Orders.contract().hash)"
    run = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == Orders.contract().hash


def test_another_promise_has_another_hash():
    """Whatever changes in the contract changes the hash."""

    class Changed(Orders):
        @rpc
        async def more(self) -> int:
            return 1

    assert Changed.contract().hash != Orders.contract().hash


def test_an_implementation_has_the_contract_it_stands_on():
    """A class below a named one keeps its name, description and declarations: the hash is the same."""

    class Stored(Orders):
        """Orders in a database."""

        rows: dict[str, Order]

        async def get(self, key: str, verbose: bool = False) -> Order:
            return self.rows[key]

    assert Stored.contract().hash == Orders.contract().hash
    assert Stored.contract().full_name == "orders.Orders"


def test_an_override_keeps_the_form_that_is_declared():
    """A method that overrides a declared one takes the same parameters in the same form."""

    class Other(Orders):
        async def get(self, key: str, *, verbose: bool = False) -> Order:  # type: ignore[override]
            return Order(key, "tea")

    class Gone(Orders):
        track = None  # type: ignore[assignment]

    for wrong in (Other, Gone):
        with pytest.raises(InvalidArgument):
            wrong.contract()


def test_an_override_with_rpc_declares_anew():
    """`@rpc` on an overriding method replaces the declaration, in its old place."""

    class Other(Orders):
        @rpc(timeout=3)
        async def get(self, key: int) -> Order:  # type: ignore[override]
            return Order(str(key), "tea")

    methods = Other.contract().methods
    assert next(iter(methods)) == "Get"
    assert methods["Get"].options.timeout == 3


def test_mixins_bring_their_methods():
    """Methods of classes that are no services are part of the contract when they are declared."""

    class Pinged:
        @rpc(idempotent=True)
        async def ping(self) -> str:
            return "pong"

    class Both(Pinged, Service, public=True): ...

    assert "Ping" in Both.contract().methods


def test_nested_definitions_of_pydantic_join_the_named_types():
    """What pydantic nests in `$defs` is found under `#/schemas/` like all else, recursion included."""

    class Leaf(BaseModel):
        name: str

    class Tree(BaseModel):
        leaf: Leaf
        below: "list[Tree]" = []

    Tree.model_rebuild(_types_namespace={"Tree": Tree})

    class Forest(Service, public=True):
        @rpc
        async def plant(self, tree: Tree) -> list[Leaf]: ...  # type: ignore[empty-body]

    document = Forest.contract().document
    text = json.dumps(document)
    assert "$defs" not in text
    references = {part.split('"')[0] for part in text.split("#/schemas/")[1:]}
    assert references <= document["schemas"].keys()
    assert {"Leaf", "Tree"} <= document["schemas"].keys()


def test_two_bindings_of_one_place_are_refused():
    """Paths that differ in the names of parameters only are the same place."""

    class Twice(Service, public=True):
        @rpc(get="/orders/{key}")
        async def one(self, key: str) -> int: ...  # type: ignore[empty-body]

        @rpc(get="/orders/{name}")
        async def two(self, name: str) -> int: ...  # type: ignore[empty-body]

    with pytest.raises(InvalidArgument, match=r"one and two are both bound to GET /orders/\{\}"):
        Twice.contract()


def test_two_methods_of_one_name_are_refused():
    """Names on wires are distinct within a service."""

    class Twice(Service, public=True):
        @rpc
        async def get_it(self) -> int: ...  # type: ignore[empty-body]

        @rpc(name="GetIt")
        async def other(self) -> int: ...  # type: ignore[empty-body]

    with pytest.raises(InvalidArgument, match="both called GetIt"):
        Twice.contract()


def test_an_empty_service_is_refused():
    """A service has a method or a subscription."""

    class Nothing(Service, public=True): ...

    with pytest.raises(InvalidArgument, match="neither"):
        Nothing.contract()


def _listening(function: Any, topic: Any = "a.b", **options: Any) -> type[Service]:
    return type("Ears", (Service,), {"hear": on(topic, **options)(function)})


async def _two(self: Any, event: Order, other: int) -> None: ...


async def _untyped(self: Any, event) -> None: ...  # type: ignore[no-untyped-def]


async def _event(self: Any, event: Order) -> None: ...


def _plain(self: Any, event: Order) -> None: ...


@pytest.mark.parametrize(
    ("function", "topic", "options"),
    [
        (_two, "a.b", {}),
        (_untyped, "a.b", {}),
        (_plain, "a.b", {}),
        (_event, Topic("a.b", int), {}),
        (_event, "a.b", {"retries": -1}),
        (_event, "a.b", {"concurrency": 0}),
    ],
)
def test_subscriptions_that_cannot_be_are_refused(function, topic, options):
    """A subscription is async, takes one typed event, that of its topic, and has possible numbers."""
    with pytest.raises(InvalidArgument) as raised:
        _listening(function, topic, **options).contract()
    assert raised.value.code == "invalid_subscription"


def test_topics_of_generic_types_are_taken():
    """Types of topic and parameter are compared by what they say, not by which object they are."""

    async def hear(self: Any, event: list[Order]) -> None: ...

    (subscription,) = _listening(hear, Topic("a.b", list[Order])).contract().subscriptions
    assert subscription.event == list[Order]


def test_guards_and_docs_are_told():
    """What a caller must have, and the texts of a method, are part of the document."""

    class Told(Service):
        @rpc(guard=require(roles="clerk", scopes={"a:b"}), summary="Short", tags=["x"], deprecated=True, examples=[3])
        async def one(self, number: int) -> AsyncIterator[int]:
            """Long."""
            yield number

    (method,) = Told.contract().document["methods"]
    assert method["guard"] == {"roles": ["clerk"], "scopes": ["a:b"]}
    assert (method["summary"], method["description"], method["tags"]) == ("Short", "Long.", ["x"])
    assert method["deprecated"]
    assert method["examples"] == [3]


def test_types_keep_their_names_apart():
    """Two types of the same name in different modules are both in the document."""

    class Page(Struct):
        number: int

    other = type("Page", (Struct,), {"__annotations__": {"text": str}, "__module__": "elsewhere"})

    class Books(Service, public=True):
        @rpc
        async def one(self, page: Page) -> other: ...  # type: ignore[empty-body,valid-type]

    assert len([name for name in Books.contract().document["schemas"] if name.endswith("Page")]) == 2
