"""Classes of services: what they are told, what they are given."""

import subprocess
import sys
from typing import ClassVar

import pytest

import headgate.service
from headgate.kit.controls.faults import InvalidArgument
from headgate.service import AUTHENTICATED, PUBLIC, Service, require, rpc
from headgate.service.service import dependencies_of


class Store:
    """A dependency."""


def test_a_name_is_made_of_the_class():
    """Without a name a service is called as its class, in lower case with dashes."""

    class OrderItems(Service): ...

    assert (OrderItems.declared.name, OrderItems.declared.title) == ("order-items", "OrderItems")


@pytest.mark.parametrize(
    "arguments",
    [{"name": "Orders"}, {"name": "a b"}, {"name": "-a"}, {"version": "1"}, {"version": "v1.2.3"}, {"name": "1a"}],
)
def test_names_and_versions_have_one_form(arguments):
    """What is no name, or no version, is refused where the class is made."""
    with pytest.raises(InvalidArgument) as raised:
        type("Odd", (Service,), {}, **arguments)
    assert raised.value.code == "invalid_service"


def test_a_service_is_public_or_guarded():
    """Saying both is refused; saying either holds for methods that say nothing, and for classes below."""
    with pytest.raises(InvalidArgument):
        type("Odd", (Service,), {}, public=True, guard=AUTHENTICATED)

    class Upper(Service, name="upper", guard=require(roles={"clerk"})):
        @rpc
        async def one(self) -> None: ...

        @rpc(public=True)
        async def two(self) -> None: ...

    class Lower(Upper): ...

    methods = Lower.contract().methods
    assert methods["One"].guard == require(roles={"clerk"})
    assert methods["Two"].guard == PUBLIC


def test_what_a_class_is_told_adds_to_what_is_above():
    """Middleware and metadata of a base stand before those of the class; its own name makes another service."""

    class Upper(Service, name="upper", version="2.0.0", middleware=["a"], metadata={"team": "x", "tier": "1"}): ...

    class Lower(Upper, middleware=["b"], metadata={"tier": "2"}): ...

    class Other(Upper, name="other"): ...

    assert (Lower.declared.name, Lower.declared.title, Lower.declared.version) == ("upper", "Upper", "2.0.0")
    assert Lower.declared.middleware == ("a", "b")
    assert Lower.declared.metadata == {"team": "x", "tier": "2"}
    assert (Other.declared.name, Other.declared.title) == ("other", "Other")


def test_dependencies_are_public_annotations_without_a_value():
    """Private names, class variables and what has a value are no dependencies."""

    class One(Service):
        store: Store
        limit: int = 3
        shared: ClassVar[int]
        _rows: dict[str, int]

    assert dependencies_of(One) == {"store": Store}
    store = Store()
    assert One(store=store).store is store
    with pytest.raises(InvalidArgument, match=r"no dependency 'stor'; it has store"):
        One(stor=store)


def test_a_dependency_whose_type_is_not_found_is_told():
    """An annotation that cannot be resolved names its class."""

    class One(Service):
        store: "Nowhere"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArgument, match="One: the type of a dependency"):
        One()


@pytest.mark.parametrize("name", headgate.service.__all__)
def test_every_public_name_is_there(name):
    """What the package says it has it has."""
    assert getattr(headgate.service, name)


def test_the_core_needs_little():
    """A class and its contract are made without pydantic, starlette, structlog or any wire."""
    script = (
        "import sys; from tests.service.shop import Orders; Orders.contract().hash;"
        "print({'pydantic', 'starlette', 'structlog', 'grpc', 'nats', 'httpx'} & sys.modules.keys() or '')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == ""
