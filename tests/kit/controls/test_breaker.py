"""The circuit breaker's state machine, on a clock and a jitter that the test sets."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headgate.kit.controls.breaker import CLOSED, HALF_OPEN, OPEN, REFUSED, BreakerPolicy, Circuit, Window
from headgate.kit.controls.faults import InvalidArgument

POLICY = BreakerPolicy(
    window=10,
    buckets=10,
    minimum_calls=4,
    failure_rate=0.5,
    slow_call=2.0,
    slow_rate=0.75,
    open_time=5,
    open_growth=2,
    longest_open_time=30,
    jitter=0,
    probe_lease=8,
    relapse_calls=2,
)


def circuit(**changes) -> Circuit:
    """A closed circuit with `POLICY`, changed."""
    fields = {name: getattr(POLICY, name) for name in BreakerPolicy.__slots__}
    return Circuit(BreakerPolicy(**{**fields, **changes}), jitter=lambda: 0.5)


def fail(on: Circuit, now: float, times: int = 1, seconds: float = 0.1) -> None:
    """Calls that fail."""
    for _ in range(times):
        on.fail(on.admit(now), now, seconds)


def succeed(on: Circuit, now: float, times: int = 1, seconds: float = 0.1) -> None:
    """Calls that work."""
    for _ in range(times):
        on.succeed(on.admit(now), now, seconds)


def opened(now: float = 0.0, **changes) -> Circuit:
    """A circuit that opened at `now`."""
    one = circuit(**changes)
    fail(one, now, 4)
    assert one.state == OPEN
    return one


def test_minimum_calls_are_needed():
    """Below the minimum of calls the circuit stays closed even when all of them failed."""
    one = circuit()
    fail(one, 0, 3)
    assert one.state == CLOSED
    fail(one, 0)
    assert one.state == OPEN


def test_the_rate_decides():
    """What opens the circuit is the share of failures, not their number."""
    one = circuit()
    succeed(one, 0, 7)
    fail(one, 1, 6)
    assert one.state == CLOSED
    fail(one, 1)
    assert one.state == OPEN


def test_a_success_may_complete_the_minimum():
    """The rate is judged when the minimum is reached, also by a success."""
    one = circuit()
    fail(one, 0, 3)
    succeed(one, 0)
    assert one.state == OPEN


def test_old_failures_are_forgotten():
    """Failures older than the window do not count."""
    one = circuit()
    fail(one, 0, 3)
    succeed(one, 11, 3)
    fail(one, 11, 2)
    assert one.state == CLOSED
    assert (one.stats(11).calls, one.stats(11).failures) == (5, 2)


def test_the_window_slides():
    """The window forgets bucket by bucket, not all at once."""
    window = Window(10, 10)
    for second in range(10):
        window.add(second + 0.5, True, False)
    assert window.failures == 10
    window.turn(11.6)
    assert window.failures == 8
    window.turn(1000)
    assert (window.calls, window.failures, window.slow) == (0, 0, 0)


def test_a_clock_that_goes_back_is_survived():
    """Times before the last one are counted into the current bucket."""
    window = Window(10, 10)
    window.add(100, True, False)
    window.add(50, True, False)
    assert window.failures == 2


def test_slow_calls_open_it():
    """Calls that succeed but take too long open the circuit at the slow-call rate."""
    one = circuit()
    succeed(one, 0, 1)
    succeed(one, 0, 2, seconds=2.0)
    assert one.state == CLOSED
    succeed(one, 0, 1, seconds=3.0)
    assert one.state == OPEN


def test_slow_calls_can_be_allowed():
    """Without a bound no call is slow."""
    one = circuit(slow_call=None)
    succeed(one, 0, 20, seconds=1e9)
    assert one.state == CLOSED


def test_open_refuses_and_says_how_long():
    """An open circuit admits nothing and says when it will."""
    one = opened()
    assert one.admit(4.9) == REFUSED
    assert one.retry_after(4) == pytest.approx(1)
    assert one.admit(5)
    assert one.state == HALF_OPEN


def test_one_probe_at_a_time():
    """In half-open one call is under way, and its success closes the circuit."""
    one = opened()
    probe = one.admit(5)
    assert probe
    assert [one.admit(5), one.admit(6)] == [REFUSED, REFUSED]
    assert 0 < one.retry_after(6) <= 5
    one.succeed(probe, 6, 1)
    assert one.state == CLOSED
    assert one.admit(6)


def test_a_failed_probe_opens_again_for_longer():
    """Each opening in a row lasts longer, up to the cap."""
    one, now, lengths = opened(), 0.0, []
    for _ in range(5):
        lengths.append(one.retry_after(now))
        now += lengths[-1]
        fail(one, now)
    assert lengths == [5, 10, 20, 30, 30]


def test_a_slow_probe_opens_again():
    """A probe that answers too slowly has not shown the target well."""
    one = opened()
    one.succeed(one.admit(5), 8, 3)
    assert one.state == OPEN


def test_open_times_are_spread():
    """The open time is spread by the jitter to both sides and never exceeds the cap."""
    times = []
    for jitter in (0.0, 0.5, 0.999):
        one = Circuit(BreakerPolicy(minimum_calls=1, open_time=10, jitter=0.2), jitter=lambda given=jitter: given)
        fail(one, 0)
        times.append(one.retry_after(0))
    assert times == [pytest.approx(8), pytest.approx(10), pytest.approx(12, abs=0.01)]
    capped = Circuit(BreakerPolicy(minimum_calls=1, open_time=10, longest_open_time=10), jitter=lambda: 0.9)
    fail(capped, 0)
    assert capped.retry_after(0) == 10


def test_quiet_windows_shrink_the_open_time():
    """One quiet window after another takes the open time back to where it began."""
    one = opened()
    fail(one, 5)
    succeed(one, 15)
    assert (one.state, one.stats(15).level) == (CLOSED, 2)
    assert one.stats(25).level == 1
    assert one.stats(35).level == 0
    fail(one, 40, 4)
    assert one.retry_after(40) == 5


def test_a_relapse_opens_sooner():
    """Soon after an opening fewer calls are enough to open again."""
    one = opened()
    succeed(one, 5)
    fail(one, 6, 2)
    assert one.state == OPEN
    assert one.retry_after(6) == 10


def test_d08_a_cancelled_probe_gives_its_lease_back():
    """When the probe is cancelled the very next call becomes the probe."""
    one = opened()
    one.release(one.admit(5), 6, 1)
    assert one.state == HALF_OPEN
    probe = one.admit(6)
    assert probe
    one.succeed(probe, 6.5, 0.5)
    assert one.state == CLOSED


def test_d08_a_vanished_probe_loses_its_lease():
    """A probe that never reports is replaced when its lease ends, and what it says later is ignored."""
    one = opened()
    vanished = one.admit(5)
    assert one.admit(12.9) == REFUSED
    successor = one.admit(13)
    assert successor
    one.fail(vanished, 14, 9)
    one.succeed(vanished, 14, 1)
    assert one.state == HALF_OPEN
    one.succeed(successor, 14, 1)
    assert one.state == CLOSED


def test_a_probe_given_up_after_long_counts_as_slow():
    """A target that hangs is seen in the calls that were given up: they count as slow."""
    one = circuit()
    for _ in range(4):
        one.release(one.admit(0), 3, 3)
    assert one.state == OPEN
    one.release(one.admit(8), 11, 3)
    assert one.state == OPEN


def test_neutral_calls_do_not_count():
    """Calls that tell nothing of the target are in no rate."""
    one = circuit()
    for _ in range(100):
        one.release(one.admit(0), 0, 0.1)
    assert one.stats(0).calls == 0


def test_late_news_is_ignored():
    """What began before the circuit opened changes nothing once it has."""
    one = circuit()
    early = one.admit(0)
    fail(one, 0, 4)
    one.succeed(early, 1, 1)
    assert one.state == OPEN
    succeed(one, 5)
    one.fail(early, 6, 6)
    assert one.stats(6).failures == 0


def test_a_stream_that_begins_ends_the_probe():
    """A probe whose answer has begun closes the circuit, and its end counts as an ordinary call."""
    one = opened()
    probe = one.admit(5)
    ticket = one.respond(probe, 6, 1)
    assert one.state == CLOSED
    one.fail(ticket, 7, 1)
    assert one.stats(7).failures == 1
    slow = opened()
    assert slow.respond(slow.admit(5), 8, 3) == REFUSED
    assert slow.state == OPEN
    assert circuit().respond(1, 0, 0) == 1


def test_reset_closes():
    """A reset closes the circuit, and calls from before do not count."""
    one = opened()
    probe = one.admit(5)
    one.reset()
    one.fail(probe, 6, 1)
    assert (one.state, one.stats(6).calls, one.stats(6).level) == (CLOSED, 0, 0)


def test_changes_are_told():
    """Each change of state is told once, with the state before."""
    told = []
    one = Circuit(POLICY, jitter=lambda: 0.5, changed=lambda before, after: told.append((before, after)))
    fail(one, 0, 4)
    one.release(one.admit(5), 5, 0)
    succeed(one, 5)
    assert told == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("buckets", 0),
        ("minimum_calls", 0),
        ("failure_rate", 0),
        ("failure_rate", 1.1),
        ("slow_call", 0),
        ("slow_rate", 0),
        ("open_growth", 0.5),
        ("open_growth", 11),
        ("longest_open_time", 1),
        ("jitter", 1),
        ("probe_lease", 0),
        ("relapse_calls", 0),
    ],
)
def test_impossible_policies_are_refused(name, value):
    """A policy that cannot work is refused with a pointer to the field."""
    with pytest.raises(InvalidArgument) as refused:
        BreakerPolicy(**{name: value})
    assert [each.pointer for each in refused.value.violations] == [f"/{name}"]


class Machine(RuleBasedStateMachine):
    """Any order of calls, outcomes, cancellations, vanishing callers and time."""

    @initialize(jitter=st.floats(0, 0.99))
    def begin(self, jitter) -> None:
        self.now = 0.0
        self.under_way: list[tuple[int, float]] = []
        self.circuit = Circuit(
            BreakerPolicy(window=10, minimum_calls=2, slow_call=3, open_time=5, longest_open_time=20, probe_lease=8),
            jitter=lambda: jitter,
        )
        self.probes: list[tuple[int, float]] = []

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        before = self.circuit.state
        ticket = self.circuit.admit(self.now)
        if ticket:
            self.under_way.append((ticket, self.now))
            if before != CLOSED:
                self.probes = [(other, until) for other, until in self.probes if until > self.now]
                assert not self.probes, "two probes at once"
                self.probes.append((ticket, self.now + 8))

    def end(self, data) -> tuple[int, float]:
        index = data.draw(st.integers(0, len(self.under_way) - 1))
        ticket, started = self.under_way.pop(index)
        self.probes = [(other, until) for other, until in self.probes if other != ticket]
        return ticket, self.now - started

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "release"]))
    def finish(self, data, how) -> None:
        ticket, seconds = self.end(data)
        getattr(self.circuit, how)(ticket, self.now, seconds)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def begin_to_answer(self, data) -> None:
        ticket, seconds = self.end(data)
        ticket = self.circuit.respond(ticket, self.now, seconds)
        if ticket:
            self.under_way.append((ticket, self.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def vanish(self, data) -> None:
        self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))

    @invariant()
    def refusals_say_when(self) -> None:
        if hasattr(self, "circuit"):
            assert 0 <= self.circuit.retry_after(self.now) <= 20
            stats = self.circuit.stats(self.now)
            assert 0 <= stats.failures <= stats.calls
            assert 0 <= stats.slow <= stats.calls

    def teardown(self) -> None:
        """From wherever it is, given its longest wait and a healthy target, the next call gets through."""
        if hasattr(self, "circuit"):
            self.now += 20
            ticket = self.circuit.admit(self.now)
            assert ticket, "wedged"
            self.circuit.succeed(ticket, self.now, 0.1)
            assert self.circuit.state == CLOSED or self.circuit.retry_after(self.now) <= 20


class TestNeverWedges(Machine.TestCase):
    """Whatever happens at most one probe is under way, and time and a healthy target let a call through."""

    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
