"""Services of one process: what they are given, and what they may not share."""

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service import Service, rpc
from headgate.service.host import host


class Store:
    """A dependency."""


class Needy(Service, public=True):
    """Needs a store."""

    store: Store

    @rpc
    async def one(self) -> None:
        """Do nothing."""


def test_dependencies_are_given_by_type():
    """What a service was not given itself it gets by type; what it was given stays."""
    own, other = Store(), Store()
    (hosted,) = host([Needy()], provide={Store: other})
    assert hosted.service.store is other
    (hosted,) = host([Needy(store=own)], provide={Store: other})
    assert hosted.service.store is own


def test_a_missing_dependency_stops_the_start():
    """A dependency that nobody gave is named."""
    with pytest.raises(InvalidArgument, match="Needy needs 'store'") as raised:
        host([Needy()])
    assert raised.value.code == "missing_dependency"


def _bound(name, path):
    class Bound(Service, name=name, public=True):
        @rpc(get=path)
        async def one(self, key: str) -> None: ...

    return Bound()


@pytest.mark.parametrize(
    ("names", "paths"), [(("same", "same"), ("/a/{key}", "/b/{key}")), (("a", "b"), ("/a/{key}", "/a/{key}"))]
)
def test_services_do_not_share_names_or_places(names, paths):
    """Two services of one name, or with methods bound to one place, are not served together."""
    with pytest.raises(InvalidArgument) as raised:
        host([_bound(name, path) for name, path in zip(names, paths, strict=True)])
    assert raised.value.code == "duplicate_service"
