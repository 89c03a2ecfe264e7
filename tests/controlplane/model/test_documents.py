"""Every valid document survives being kept: written as it was, taken apart and put together."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from headgate.controlplane.model.kinds import SPECS, references
from headgate.controlplane.model.rows import Row, assemble, explode
from tests.controlplane.translate import documents

some = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def kept(kind, document):
    """The document as it is stored."""
    return SPECS[kind].model_validate(document).model_dump(mode="json", exclude_unset=True, exclude_none=True)


@some
@given(documents.clusters())
def test_clusters(document):
    """A cluster is kept as it was written."""
    assert kept("cluster", document) == document


@some
@given(documents.listeners())
def test_listeners(document):
    """A listener is kept as it was written."""
    assert kept("listener", document) == document


@some
@given(documents.route_configs())
def test_route_configs(document):
    """A route config is kept as it was written, and its rows make it whole again."""
    assert kept("route_config", document) == document
    shell, routes = explode("rc", document)
    assert all("routes" not in host for host in shell["virtual_hosts"])
    rows = [Row("route", name, spec, position) for position, (name, spec) in enumerate(routes)]
    whole = assemble(shell, reversed(rows))
    assert [host.get("routes", []) for host in whole["virtual_hosts"]] == [
        host.get("routes", []) for host in document["virtual_hosts"]
    ]


@some
@given(documents.route_configs())
def test_references_stand_where_they_say(document):
    """The pointer of each reference leads to its name."""
    for pointer, _, name in references(SPECS["route_config"].model_validate(document)):
        value = document
        for step in pointer.split("/")[1:]:
            value = value[int(step)] if isinstance(value, list) else value[step]
        assert value == name


@pytest.mark.parametrize("kind", SPECS)
def test_schemas(kind):
    """Every kind has a JSON Schema that closes its objects and describes its fields."""
    schema = SPECS[kind].model_json_schema()
    assert schema["additionalProperties"] is False
    assert json.dumps(schema)
