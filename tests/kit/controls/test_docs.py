"""Documentation outside of debug."""

import pytest

from headgate.kit.controls.docs import DocsGate
from headgate.kit.controls.faults import NotFound
from tests.kit.controls.calls import call_of

control = DocsGate(["/docs", "/openapi.json", "/schema/"])


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/oauth2-redirect", "/openapi.json", "/schema/openapi.json"])
def test_d18_documentation_is_hidden_below_its_paths(path: str) -> None:
    """A page under a documentation path looks like one that is not there, whatever the framework serves."""
    with pytest.raises(NotFound) as refused:
        control.admit(call_of(path))
    assert refused.value.code == "path_not_found"


@pytest.mark.parametrize("path", ["/", "/docsets", "/orders/docs", "/schemas"])
def test_other_paths_are_served(path: str) -> None:
    """A longer name is another path."""
    control.admit(call_of(path))


@pytest.mark.parametrize("path", ["//docs", "//schema/openapi.json", "/schema//openapi.json", "///openapi.json//"])
def test_d18_slashes_open_no_way_round(path: str) -> None:
    """Frameworks that take several slashes for one do not show what is hidden."""
    with pytest.raises(NotFound):
        control.admit(call_of(path))
