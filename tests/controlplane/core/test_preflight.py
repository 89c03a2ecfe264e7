"""Preflight: what Envoy is asked, what is remembered, and that every culprit is found."""

import json

import pytest

from headgate.controlplane.core.preflight import MOST_CULPRITS, Preflight
from headgate.controlplane.model.rows import Row, RowChange
from headgate.dataplane.validate import EnvoyValidator
from headgate.kit.controls.faults import Unavailable
from headgate.testing.envoy import require_envoy


class Gate:
    """Refuses every configuration that holds the word `poison`; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def check(self, config):
        self.asked.append(json.dumps(config))
        return "Not supported field in StreamInfo: poison" if "poison" in self.asked[-1] else None


def route(name, cluster="c", value="fine", **forward):
    """A route row that sets a header."""
    spec = {
        "name": name,
        "match": {"path": {"prefix": f"/{name}"}},
        "forward": {"cluster": cluster, **forward},
        "request_headers": {"set": [{"name": "x-h", "value": value}]},
    }
    return Row("route", f"rc/all/{name}", spec)


def cluster(name, **spec):
    """A cluster row."""
    return Row("cluster", name, {"endpoints": [{"address": "192.0.2.1", "port": 80}], **spec})


CONFIG = Row("route_config", "rc", {"virtual_hosts": [{"name": "all", "domains": ["*"]}]})
LISTENER = Row("listener", "l", {"port": 80, "filter_chains": [{"name": "http", "http": {"route_config": "rc"}}]})


def created(*rows):
    """Changes that create the rows."""
    return [RowChange(None, row) for row in rows]


@pytest.fixture
def gate():
    """A gate that refuses poison."""
    return Gate()


async def test_everything_is_asked_in_one_configuration(gate):
    """Clusters, listeners, route configs and routes that are new go to Envoy together, once."""
    assert await Preflight(gate).check("team", created(cluster("c"), CONFIG, route("r"), LISTENER)) == []
    (asked,) = gate.asked
    static = json.loads(asked)["static_resources"]
    assert [each["name"] for each in static["clusters"]] == ["team/c"]
    assert len(static["listeners"]) == 3
    assert len({each["address"]["socket_address"]["port_value"] for each in static["listeners"]}) == 3


async def test_a_flip_between_clusters_asks_nothing(gate):
    """A route Envoy has accepted is accepted with any other cluster, weighted or mirrored."""
    preflight = Preflight(gate)
    await preflight.check("team", created(route("r", "one", mirrors=[{"cluster": "a"}])))
    await preflight.check("team", created(route("r", "two", mirrors=[{"cluster": "b"}])))
    assert len(gate.asked) == 1


async def test_only_what_is_unknown_is_asked(gate):
    """Of a change, the fragments Envoy has seen are left out."""
    preflight = Preflight(gate)
    await preflight.check("team", created(route("known")))
    await preflight.check("team", created(route("known"), route("new")))
    assert "/known" not in gate.asked[1]
    assert "/new" in gate.asked[1]


async def test_what_was_refused_is_not_remembered(gate):
    """A refused fragment is asked about again, its accepted company is not."""
    preflight = Preflight(gate)
    for _ in range(2):
        assert len(await preflight.check("team", created(route("good"), route("bad", value="%poison%")))) == 1
    assert "/good" not in gate.asked[-1]


async def test_the_oldest_are_forgotten(gate):
    """Beyond the capacity, what was used longest ago is asked again."""
    preflight = Preflight(gate, capacity=2)
    for name in ("a", "b", "a", "c", "a"):
        await preflight.check("team", created(route(name)))
    assert len(gate.asked) == 3
    await preflight.check("team", created(route("b")))
    assert len(gate.asked) == 4


async def test_deletions_and_secrets_ask_nothing(gate):
    """Nothing goes to Envoy for what is taken away, nor for a secret, which is sealed."""
    sealed = Row("secret", "s", {"ciphertext": "x", "fingerprint": "y", "summary": {}})
    assert await Preflight(gate).check("team", [RowChange(route("r"), None), *created(sealed)]) == []
    assert gate.asked == []


async def test_every_culprit_is_found(gate):
    """Among many, each bad fragment is named with its pointer, and no good one is."""
    bad = {3, 40, 41, 99}
    rows = [route(f"r{index}", value="%poison%" if index in bad else "fine") for index in range(100)]
    found = await Preflight(gate).check("team", created(cluster("c"), *rows))
    assert [violation.name for violation in found] == [f"rc/all/r{index}" for index in sorted(bad)]
    assert {(each.kind, each.pointer) for each in found} == {("route", "/request_headers/set/0/value")}
    assert "Not supported field" in found[0].message
    assert len(gate.asked) < 80


async def test_the_search_for_culprits_ends(gate):
    """When nearly everything is bad, the first ones are named and the search is over."""
    rows = [route(f"r{index}", value="%poison%") for index in range(200)]
    assert len(await Preflight(gate).check("team", created(*rows))) == MOST_CULPRITS


async def test_bad_only_together_is_still_refused():
    """When each half passes alone and the whole does not, the change is refused all the same."""

    class Together:
        async def check(self, config):
            return "too many" if "/one" in json.dumps(config) and "/two" in json.dumps(config) else None

    (found,) = await Preflight(Together()).check("team", created(route("one"), route("two")))
    assert found.message == "Envoy refuses it: too many"


async def test_no_answer_is_no_verdict():
    """When Envoy cannot be asked, the fault goes to the caller and nothing is remembered."""

    class Silent:
        calls = 0

        async def check(self, _):
            self.calls += 1
            raise Unavailable("not now")

    silent = Silent()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await Preflight(silent).check("team", created(route("r")))
    assert silent.calls == 2


@pytest.mark.envoy
async def test_a_real_envoy_names_the_fields():
    """With a real Envoy, three faults of three kinds in one change are three violations, each at its field."""
    log = {"text_format": "%NO_SUCH%"}
    chain = {"name": "http", "http": {"route_config": "rc", "access_logs": [{}, log]}}
    host = {"name": "all", "domains": ["*"], "response_headers": {"set": [{"name": "x-a", "value": "%("}]}}
    rows = [
        cluster("good", tls={"sni": "a.example", "client_certificate_secret": "s"}),
        route("good"),
        route("bad", value="100%"),
        Row("listener", "l", {"port": 80, "filter_chains": [chain]}),
        Row("route_config", "rc", {"virtual_hosts": [host]}),
    ]
    found = await Preflight(EnvoyValidator(require_envoy())).check("team", created(*rows))
    assert {(each.kind, each.name, each.pointer) for each in found} == {
        ("route", "rc/all/bad", "/request_headers/set/0/value"),
        ("listener", "l", "/filter_chains/0/http/access_logs/1/text_format"),
        ("route_config", "rc", "/virtual_hosts/0/response_headers/set/0"),
    }


@pytest.mark.envoy
async def test_many_routes_go_in_one_question():
    """Hundreds of routes of all kinds are accepted by one run of a real Envoy."""

    class Counting(EnvoyValidator):
        runs = 0

        async def check(self, config):
            self.runs += 1
            return await super().check(config)

    validator = Counting(require_envoy())
    rows = [
        Row(
            "route",
            f"rc/all/r{index}",
            {
                "name": f"r{index}",
                "match": {"path": {"template": f"/a{index}/{{x}}/{{y}}.{{z}}" if index % 2 else f"/b{index}/{{id}}"}},
                "forward": {"cluster": f"c{index}"},
            },
        )
        for index in range(600)
    ]
    assert await Preflight(validator).check("team", created(*rows)) == []
    assert validator.runs == 1
