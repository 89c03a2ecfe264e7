"""The stream explored: every interleaving of changes, deliveries, answers, time and reconnects."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPES, Resource
from headgate.controlplane.xds.channel import WILDCARD
from headgate.controlplane.xds.messages import Request, Response
from tests.controlplane.xds.envoys import Blame, Envoy, Temper
from tests.controlplane.xds.strangers import Stranger
from tests.controlplane.xds.watcher import GRACE, Line, content
from tests.controlplane.xds.world import NAMES, Edit, Part, World, clusters, edits, names, read

tempers = st.builds(Temper, blame=st.sampled_from(Blame), partial=st.booleans())


class EnvoyMachine(RuleBasedStateMachine):
    """An Envoy on one stream after another."""

    delta = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.line = Line(delta=self.delta)
        self.line.on_response = self._on_response
        self.client = Envoy(self.delta)
        self.came_back = False
        self.blind = False
        self.ever_bad = False
        self.last_use: dict[str, float] = {}
        self.clusters_sent: set[str] = set()
        self.client.connect()
        self._collect()

    @initialize(furnished=st.integers(0, 3))
    def begin(self, furnished: int) -> None:
        """Mostly, there is a gateway in use to begin with."""
        if furnished:
            self.line.change(self.world.furnish())
            self._quiesce(Temper())

    @rule(change=edits())
    def change(self, change: list[Edit]) -> None:
        """A revision is committed."""
        self.line.change(self.world.apply(change))
        self.ever_bad = self.ever_bad or self.world.bad

    @rule(old=names, new=names, part=clusters(bad=False))
    def flip(self, old: str, new: str, part: Part) -> None:
        """A cluster takes the place of another, or a new version that of the old."""
        self.line.change(self.world.replace_cluster(old, new, part))

    @precondition(lambda self: self.line.to_server)
    @rule()
    def server_reads(self) -> None:
        """One request arrives."""
        self.line.server_takes()

    @precondition(lambda self: self.line.to_client)
    @rule(temper=tempers)
    def client_reads(self, temper: Temper) -> None:
        """One response arrives."""
        self.client.receive(self.line.to_client.popleft(), temper)
        self._collect()

    @rule(what=st.sampled_from(("wait", "wait", "wait", "rest", "rest", "reconnect")), temper=tempers)
    def seldom(self, what: str, temper: Temper) -> None:
        """The clock moves, everything under way arrives, or the stream breaks."""
        if what == "rest":
            self._quiesce(temper)
            self._check_refused()
            self._check_delivered()
            self.line.check_at_rest()
            self.blind = self.blind and any(channel.refused for channel in self.line.stream.channels.values())
        elif what == "reconnect":
            self.line.reopen()
            self.client.connect()
            self._collect()
            self.came_back = True
            self.blind = self.blind or not self.delta
        elif not self.line.introductions:
            self.line.time_passes(GRACE)

    @invariant()
    def traffic_flows(self) -> None:
        """No traffic is sent to a cluster that Envoy does not have, endpoints included."""
        used = self.client.used_clusters()
        for name in used:
            self.last_use[name] = self.line.now
        lost = {name: user for name, user in used.items() if name not in self.client.active[CLUSTER]}
        assert self.blind or not lost, f"clusters in use but not there: {lost}"

    @invariant()
    def claims_are_true(self) -> None:
        """A revision is claimed as acknowledged only when the client holds all of it."""
        revision = self.line.stream.acknowledged_revision
        if revision is None:
            return
        assert revision == self.world.revision
        for type_url in TYPES:
            wanted = self.line.view.resources[type_url]
            needed = wanted.keys() if type_url in (CLUSTER, LISTENER) else self._needed(type_url)
            held = self.client.held[type_url]
            assert {n: wanted[n].version for n in needed} == {n: held[n].version for n in needed if n in held}

    def teardown(self) -> None:
        """At the end everything is made acceptable, and must arrive."""
        temper = Temper()
        self.line.change(self.world.heal())
        self._quiesce(temper)
        self._check_delivered()
        assert self.line.stream.acknowledged_revision == self.world.revision
        self.line.check_at_rest()
        self.line.check_small()
        for type_url, wanted in self.line.view.resources.items():
            held = {name: r.version for name, r in self.client.held[type_url].items()}
            needed = wanted.keys() if type_url in (CLUSTER, LISTENER) else self.client.names[type_url] & wanted.keys()
            assert {n: wanted[n].version for n in needed} == {n: v for n, v in held.items() if n in wanted}
            assert type_url not in (CLUSTER, LISTENER) or held.keys() == wanted.keys()
        if not self.came_back:
            assert not self.client.warming[CLUSTER], "clusters wait for endpoints that do not come"
            assert not self.client.warming[LISTENER]

    def _collect(self) -> None:
        self.line.to_server.extend(self.client.outbox)
        self.client.outbox.clear()

    def _needed(self, type_url: str) -> set[str]:
        """Names that the listeners and clusters of the view lead to."""
        view = self.line.view.resources
        users = [read(r) for t in (CLUSTER, LISTENER) for r in view[t].values()]
        if type_url == ENDPOINT:
            return set(view[ENDPOINT])
        key = {ROUTE: "tables", SECRET: "secrets"}[type_url]
        return {name for document in users for name in document.get(key, ())} & view[type_url].keys()

    def _quiesce(self, temper: Temper) -> None:
        line, client = self.line, self.client
        for _ in range(2000):
            if line.to_server:
                line.server_takes()
            elif line.to_client:
                client.receive(line.to_client.popleft(), temper)
                self._collect()
            elif line.stream.wake_at is not None:
                line.time_passes(max(0.0, line.stream.wake_at - line.now))
            elif client.give_up_waiting():
                assert self.ever_bad or self.came_back, "Envoy waits until its fetch timeout"
                self._collect()
            else:
                return
            self.traffic_flows()
            self.claims_are_true()
        raise AssertionError("it never comes to rest")

    def _on_response(self, response: Response) -> None:
        if response.type_url != CLUSTER:
            return
        names = {name for name, _ in content(response)[0]}
        gone = set(response.removed) if self.delta else self.clusters_sent - names
        self.clusters_sent = (self.clusters_sent | names) - gone
        for name in gone:
            if not self.blind and name in self.last_use:
                rested = self.line.now - self.last_use[name]
                assert rested >= GRACE - 1e-9, f"{name} leaves {rested:g} s after its last use"

    def _check_refused(self) -> None:
        """Exactly the bad resources that could be tried are quarantined."""
        for type_url, channel in self.line.stream.channels.items():
            wanted = self.line.view.resources[type_url]
            bad = {name for name, resource in wanted.items() if read(resource)["bad"]}
            refused = {name for name in channel.refused if channel.subscribed(name)}
            assert refused <= bad, f"quarantined without reason: {type_url} {refused - bad}"
            if type_url == CLUSTER:
                assert refused == bad, f"not quarantined: {bad - refused}"

    def _available(self, type_url: str, name: str) -> bool:
        """Whether a resource is with the client in the best version it can have."""
        wanted, held = self.line.view.resources[type_url].get(name), self.client.held[type_url].get(name)
        return held is not None and (wanted is None or read(wanted)["bad"] or held.version == wanted.version)

    def _blocked(self, resource: Resource) -> bool:
        """Whether something the resource stands on was refused and never held."""
        for name in read(resource).get("clusters", ()):
            cluster = self.line.view.resources[CLUSTER][name]
            if read(cluster)["bad"]:
                cluster = self.client.held[CLUSTER].get(name, cluster)
            stands_on = [(CLUSTER, name), *((SECRET, s) for s in read(cluster)["secrets"])]
            stands_on += [(ENDPOINT, name)] if read(cluster)["eds"] else []
            if not all(self._available(*ref) for ref in stands_on):
                return True
        return False

    def _check_delivered(self) -> None:
        """What can be held is held, and what is gone is gone unless something held still names it."""
        if self.blind and any(channel.refused for channel in self.line.stream.channels.values()):
            return  # state of the world: it refused a version on its return, and nobody told us what it had before
        for type_url, wanted in self.line.view.resources.items():
            held = self.client.held[type_url]
            asked = wanted.keys() if type_url in (CLUSTER, LISTENER) else wanted.keys() & self.client.names[type_url]
            for name in asked:
                if not read(wanted[name])["bad"] and not self._blocked(wanted[name]):
                    assert name in held, f"{type_url} {name} is not delivered"
                    assert held[name].version == wanted[name].version, f"{type_url} {name} is old"
        channels = [self.line.stream.channels[t] for t in (LISTENER, ROUTE)]
        unknown = any(isinstance(held, str) for channel in channels for _, held in channel.all_held())
        if not unknown and not self.client.warming[LISTENER]:
            pinned = {ref for t in (LISTENER, ROUTE) for r in self.client.held[t].values() for ref in r.refs}
            for type_url in (CLUSTER, LISTENER):
                left = self.client.held[type_url].keys() - self.line.view.resources[type_url].keys()
                assert not {name for name in left if (type_url, name) not in pinned}, f"{type_url} {left} stay"


class SotwEnvoyMachine(EnvoyMachine):
    """The same, state of the world."""

    delta = False


types = st.sampled_from(TYPES)
some_names = st.frozensets(st.sampled_from((*NAMES, "t/phantom", "*")), max_size=3).map(set)
any_nonce = st.sampled_from((None, "", "never-given"))


class StrangerMachine(RuleBasedStateMachine):
    """A client that subscribes and unsubscribes as it pleases."""

    delta = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.line = Line(delta=self.delta)
        self.line.on_response = self._on_response
        self.client = Stranger(self.delta)
        self.asked: set[tuple[str, str]] = set()

    @initialize()
    def begin(self) -> None:
        """There is a gateway in use to begin with."""
        self.line.change(self.world.furnish())

    @rule(change=edits())
    def change(self, change: list[Edit]) -> None:
        """A revision is committed."""
        self.line.change(self.world.apply(change))

    @rule(type_url=types, names=some_names, nonce=any_nonce)
    def ask(self, type_url: str, names: set[str], nonce: str | None) -> None:
        """It follows more."""
        self.client.ask(type_url, names, nonce)
        self._collect()

    @rule(type_url=types, names=some_names, nonce=any_nonce)
    def leave(self, type_url: str, names: set[str], nonce: str | None) -> None:
        """It follows less."""
        self.client.leave(type_url, names, nonce)
        self._collect()

    @precondition(lambda self: self.line.to_server)
    @rule()
    def server_reads(self) -> None:
        """One request arrives."""
        self._server_takes()

    @precondition(lambda self: self.line.to_client)
    @rule(blame=st.sampled_from(Blame))
    def client_reads(self, blame: Blame) -> None:
        """One response arrives."""
        self.client.receive(self.line.to_client.popleft(), blame)
        self._collect()

    @rule(type_url=types, error=st.sampled_from((None, "no")))
    def forge(self, type_url: str, error: str | None) -> None:
        """A request comes with a nonce nobody gave it: it changes nothing and is not answered."""
        stream, now = self.line.stream, self.line.now
        if stream.channels[type_url].started and not stream.channels[type_url].due:
            self.line.time_passes(0.0)
            names = () if self.delta else tuple(stream.channels[type_url].names)
            assert stream.receive(Request(type_url, nonce="forged", error=error, names=names), now) == []

    @rule(what=st.sampled_from(("wait", "wait", "wait", "reconnect")))
    def seldom(self, what: str) -> None:
        """The clock moves, or the stream breaks and what was under way is lost."""
        if what == "wait":
            self.line.time_passes(GRACE)
            return
        self.line.reopen()
        self.asked.clear()
        self.client.connect()
        self._collect()

    def teardown(self) -> None:
        """At the end everything is made acceptable, and what is followed must arrive, no more and no less."""
        self.line.change(self.world.heal())
        self._quiesce()
        self.line.check_at_rest()
        self.line.check_small()
        view = self.line.view.resources
        for type_url in self.client.started:
            wanted = {n: r.version for n, r in view[type_url].items() if self.client.follows(type_url, n)}
            held = {n: r.version for n, r in self.client.held[type_url].items()}
            if not self.delta and type_url not in (CLUSTER, LISTENER):
                held = {name: version for name, version in held.items() if name in wanted}
            assert held == wanted, type_url
        unanswered = {(t, name) for t, name in self.asked if self.client.follows(t, name)}
        assert not unanswered, f"asked for and never answered: {unanswered}"

    def _server_takes(self) -> None:
        request = self.line.to_server[0]
        self.asked |= {(request.type_url, name) for name in request.subscribe if name != WILDCARD}
        self.asked -= {(request.type_url, name) for name in request.unsubscribe}
        if request.initial_versions:
            self.asked -= {(request.type_url, name) for name in request.initial_versions}
        self.line.server_takes()

    def _on_response(self, response: Response) -> None:
        named = {resource.name for resource in response.resources} | set(response.removed)
        self.asked -= {(response.type_url, name) for name in named}

    def _collect(self) -> None:
        self.line.to_server.extend(self.client.outbox)
        self.client.outbox.clear()

    def _quiesce(self) -> None:
        line = self.line
        for _ in range(2000):
            if line.to_server:
                self._server_takes()
            elif line.to_client:
                self.client.receive(line.to_client.popleft(), Blame.NOTHING)
                self._collect()
            elif line.stream.wake_at is not None:
                line.time_passes(max(0.0, line.stream.wake_at - line.now))
            else:
                return
        raise AssertionError("it never comes to rest")


class SotwStrangerMachine(StrangerMachine):
    """The same, state of the world."""

    delta = False


def explore(machine: type[RuleBasedStateMachine], examples: int, steps: int = 40, phases=tuple(Phase)) -> None:
    """Run a state machine."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < 1000,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("machine", [StrangerMachine, SotwStrangerMachine])
def test_every_interleaving_with_a_stranger(machine: type[RuleBasedStateMachine]) -> None:
    """Whatever a client asks for and in whatever order, it ends with just that, each question answered."""
    explore(machine, 250)


@pytest.mark.parametrize("machine", [EnvoyMachine, SotwEnvoyMachine])
def test_every_interleaving_with_an_envoy(machine: type[RuleBasedStateMachine]) -> None:
    """Whatever happens in whatever order, an Envoy converges, traffic always has its cluster, and claims are true."""
    explore(machine, 250)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [EnvoyMachine, SotwEnvoyMachine, StrangerMachine, SotwStrangerMachine])
def test_many_more_interleavings(machine: type[RuleBasedStateMachine]) -> None:
    """What holds for some interleavings holds for very many."""
    explore(machine, 5000, 60)
