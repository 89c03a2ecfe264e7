"""The rules for any application, held against one that is not the reference."""

from collections.abc import AsyncIterator

import pytest

from headgate.service import AUTHENTICATED, App, Service, Struct, rpc
from headgate.testing.service_conformance import WAYS, Way, application, run_rules
from headgate.testing.service_conformance.site import settings
from tests.service.conformance.conftest import own_server


class Parcel(Struct):
    """What is sent."""

    weight: int


class Post(Service, name="post-office", public=True):
    """Sends parcels."""

    @rpc(post="/parcels", status=201)
    async def send(self, parcel: Parcel) -> Parcel:
        """The same."""
        return parcel

    @rpc(guard=AUTHENTICATED)
    async def shut(self) -> None:
        """For those who are known, and here nobody is."""

    @rpc
    async def weigh(self, parcels: AsyncIterator[Parcel]) -> int:
        """All of them."""
        return sum([each.weight async for each in parcels])

    @rpc
    async def follow(self, number: int) -> AsyncIterator[Parcel]:
        """Some."""
        yield Parcel(number)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_rules_for_any_application_hold(way: Way) -> None:
    """An application without authenticators keeps the rules for all, over each wire and codec."""
    with own_server(way) as nats:
        async with application(App(Post(), settings=settings(nats_url=nats or None)), way) as site:
            outcomes = await run_rules(site)
    assert outcomes
    assert [f"{each.rule.name}: {each.why}" for each in outcomes if not each.holds] == []
