"""Every rule over every wire and codec; ways of finding it; brokers; and, given time, all of them with all."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headgate.testing.service_conformance import RULES, WAYS, Rule, Site, Way, reference, rules_for, run_rule, run_rules
from headgate.testing.service_conformance.suite import Group
from tests.service.conformance.conftest import BROKERS, FOUND, own_server, placed

pytestmark = pytest.mark.asyncio(loop_scope="module")

FINDING = ("every_type_comes_back", "each_kind_arrives_whole", "streams_go_both_ways", "leaving_cancels_the_handler")
EVERY: tuple[Group, ...] = ("any", "reference", "hops", "events")
PODS = ("http", "grpc", "socket")


def pairs(*groups: str) -> list[object]:
    """Each way with each of its rules."""
    return [pytest.param(way, rule, id=f"{way}-{rule.name}") for way in WAYS for rule in rules_for(way, groups)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(nats: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[object]:
    """Sites by way, started when they are first asked for."""
    async with contextlib.AsyncExitStack() as stack:
        known: dict[Way, Site] = {}

        async def of(way: Way) -> Site:
            if way not in known:
                path = tmp_path_factory.getbasetemp()
                known[way] = await stack.enter_async_context(placed(way, "memory", path, nats))
            return known[way]

        yield of


@pytest.mark.parametrize(("way", "rule"), pairs("any", "reference", "hops"))
async def test_rules_hold(sites, way: Way, rule: Rule) -> None:
    """Each rule holds over each wire and codec."""
    assert (await run_rule(rule, await sites(way))).why == ""


@pytest.mark.parametrize("found", [each for each in FOUND if each != "memory"])  # which all rules are held in
@pytest.mark.parametrize("wire", ["http", "grpc", "socket", "nats"])
async def test_it_is_found(nats: str, tmp_path: Path, wire: str, found: str) -> None:
    """The same rules hold wherever clients look for the service, over each wire."""
    if found == "kubernetes" and wire not in PODS:
        pytest.skip("a port of a pod says no more than a wire and a number: no server between")
    way = next(each for each in WAYS if each.wire == wire)
    async with placed(way, found, tmp_path, nats) as site:
        for name in FINDING:
            assert (await run_rule(RULES[name], site)).why == ""


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize(
    "rule", [each for each in RULES.values() if each.group == "events"], ids=lambda each: each.name
)
async def test_events_arrive(nats: str, tmp_path: Path, broker: str, rule: Rule) -> None:
    """Each rule of events holds with each broker."""
    async with placed(Way("http", "json"), "address", tmp_path, nats, broker) as site:
        assert (await run_rule(rule, site)).why == ""


@pytest.mark.parametrize(("way", "rule"), pairs("leaving"))
async def test_stopping_costs_no_call(way: Way, rule: Rule) -> None:
    """What is under way when serving ends finishes, over each wire."""
    with own_server(way) as nats:
        async with reference(way, nats=nats) as site:
            assert (await run_rule(rule, site)).why == ""


@pytest.mark.soak
@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("found", FOUND)
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_all_with_all(nats: str, tmp_path: Path, way: Way, found: str, broker: str) -> None:
    """Every rule holds over every wire and codec, with every registry and every broker."""
    if found == "kubernetes" and way.wire not in PODS:
        pytest.skip("a port of a pod says no more than a wire and a number: no server between")
    groups = [each for each in EVERY if each != "hops" or found not in ("address", "kubernetes")]
    async with placed(way, found, tmp_path, nats, broker) as site:
        outcomes = await run_rules(site, groups)
    assert [f"{each.rule.name}: {each.why}" for each in outcomes if not each.holds] == []


async def test_rules_say_what_they_are() -> None:
    """Each rule is one sentence, and no two are the same."""
    texts = [each.text for each in RULES.values()]
    assert all(text.endswith(".") and "\n" not in text for text in texts)
    assert len(set(texts)) == len(texts)
