"""Whatever the document: a plan in which every operation is accounted for once, or a fault."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.route_config import RouteConfig
from headgate.controlplane.openapi.document import read_document
from headgate.controlplane.openapi.plan import Target, make_plan
from headgate.controlplane.openapi.text import parse_text
from headgate.kit.controls.faults import Fault
from tests.corpus import DOCUMENTS, read

SMALL = [parse_text(read(name)) for name in DOCUMENTS if len(read(name)) < 40_000]

WORDS = st.sampled_from(
    ["", "/", "/{", "/{a}", "/{a}/{a}", "//", "/../x", "/%2F", "/ü ", "?", "/a?b=c", "/a#b", "$ref", "get", "GET",
     "servers", "url", "http://a.example", "http://{x}/y", "#/paths", "#/paths/~1", "#/a/b", "x-", "parameters", "\x00",
     "query"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 500) | st.floats(allow_nan=False) | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _containers(value: Any, depth: int = 6) -> Iterator[dict[str, Any] | list[Any]]:
    """The objects and lists near the top, where an importer looks."""
    if isinstance(value, dict | list) and depth:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner, depth - 1)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A real document in which a few things were replaced, added, renamed, moved or taken out."""
    document = copy.deepcopy(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(1, 6))):
        container = draw(st.sampled_from(list(_containers(document))))
        _mutate(draw, container)
    return document


def _mutate(draw: st.DrawFn, container: dict[str, Any] | list[Any]) -> None:
    keys: list[Any] = list(container) if isinstance(container, dict) else list(range(len(container)))
    if isinstance(container, dict):
        name = draw(
            WORDS | st.sampled_from(["paths", "openapi", "host", "basePath", "schemes", "additionalOperations"])
        )
        if not keys or draw(st.booleans()):
            container[name] = draw(JSON)
            return
        key = draw(st.sampled_from(keys))
        match draw(st.sampled_from(["replace", "rename", "drop"])):
            case "replace":
                container[key] = draw(JSON)
            case "rename":
                container[name] = container.pop(key)
            case _:
                del container[key]
    elif keys:
        container[draw(st.sampled_from(keys))] = draw(JSON)


def _check(document: Any, target: Target) -> None:
    try:
        found = read_document(document, source_url="https://source.example/o.json")
        plan = make_plan(found, target)
    except Fault:
        return
    pointers = [account.pointer for account in plan.accounts]
    assert len(set(pointers)) == len(pointers) == len(found.operations)
    assert sorted(route.account for route in plan.routes) == [
        index for index, account in enumerate(plan.accounts) if not account.code
    ]
    routes = [dict(route.document) for route in plan.routes]
    RouteConfig.model_validate({"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]})
    for cluster in plan.clusters.values():
        Cluster.model_validate(cluster)
    assert {route["forward"]["cluster"] for route in routes} == set(plan.clusters)
    json.dumps([account.reason + account.path for account in plan.accounts]).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(), st.sampled_from([Target("x"), Target("x", "http://127.0.0.1:1/up", "/mount")]))
def test_mutated_documents(document, target):
    """A real document gone wrong gives a plan that accounts for each operation once, or a fault; never a crash."""
    _check(document, target)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(["2.0", "3.0.0", "3.1.0", "3.2.0"]), st.dictionaries(WORDS, JSON, max_size=4))
def test_arbitrary_documents(rest, version, paths):
    """Arbitrary values in the shape of a document give a plan or a fault."""
    root = {**(rest if isinstance(rest, dict) else {}), "swagger" if version == "2.0" else "openapi": version}
    _check({**root, "paths": paths}, Target("x"))
    _check(rest, Target("x"))
