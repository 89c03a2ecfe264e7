"""Places for calls: taken once, given back once, fewer while answers get slower."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.kit.controls.call import Call
from headgate.kit.controls.concurrency import Concurrency, Shedding
from headgate.kit.controls.faults import DeadlineExceeded, Fault, ResourceExhausted, Unavailable
from headgate.kit.controls.principal import Principal
from tests.kit.controls.calls import call_of


def admitted(control: Concurrency, **options) -> Call:
    """A call that has its place."""
    call = call_of(**options)
    control.admit(call)
    return call


def ended(control: Concurrency, call: Call, seconds: float = 0.1) -> None:
    """Settle a call that took so long."""
    call.ended, call.status = call.started + seconds, call.status or 200
    control.settle(call)


def test_all_places_taken() -> None:
    """Beyond the cap a call is turned away as overloaded, whoever asks, and told when to come back."""
    control = Concurrency(total=2, retry_after=3.0)
    calls = [admitted(control, peer=f"192.0.2.{number}") for number in range(2)]
    with pytest.raises(Unavailable) as refused:
        control.admit(call_of(peer="192.0.2.9"))
    assert (refused.value.code, refused.value.retry_after) == ("overloaded", 3.0)
    ended(control, calls[0])
    admitted(control, peer="192.0.2.9")


def test_one_callers_places_taken() -> None:
    """One caller beyond its own cap is refused, others are not; principals and addresses are callers."""
    control = Concurrency(per_caller=1)
    first = admitted(control)
    with pytest.raises(ResourceExhausted) as refused:
        control.admit(call_of())
    assert refused.value.code == "too_many_concurrent"
    assert refused.value.retry_after == 1.0
    known = call_of()
    known.principal = Principal("ada")
    control.admit(known)
    ended(control, first)
    admitted(control)


def test_a_place_is_given_back_once() -> None:
    """Settling twice gives back one place, and settling a call that was refused gives back none."""
    control = Concurrency(total=1, per_caller=1)
    call = admitted(control)
    refused = call_of()
    with pytest.raises(Fault):
        control.admit(refused)
    control.settle(refused)
    control.settle(call_of())
    assert control.running == 1
    ended(control, call)
    ended(control, call)
    assert (control.running, control.callers) == (0, 0)


def test_callers_are_forgotten_with_their_last_call() -> None:
    """Nothing is kept of a caller none of whose calls runs."""
    control = Concurrency(total=10_000, per_caller=5)
    calls = [admitted(control, peer=f"10.{number // 256}.{number % 256}.1") for number in range(1_000)]
    assert control.callers == 1_000
    for call in calls:
        ended(control, call)
    assert (control.running, control.callers) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=80))
def test_counts_are_those_of_the_calls_that_run(steps: list[tuple[int, bool]]) -> None:
    """Whatever order calls come and end in, the counts are of those admitted and not ended, within both caps."""
    control = Concurrency(total=5, per_caller=2)
    running: list[Call] = []
    for who, comes in steps:
        if comes:
            call = call_of(peer=f"192.0.2.{who}")
            mine = sum(each.peer == call.peer for each in running)
            if len(running) < 5 and mine < 2:
                control.admit(call)
                running.append(call)
            else:
                with pytest.raises(Fault):
                    control.admit(call)
        elif running:
            ended(control, running.pop(who % len(running)))
        assert control.running == len(running)
        assert control.callers == len({each.peer for each in running})


@pytest.mark.parametrize("path", ["/health", "/metrics", "/grpc.health.v1.Health/Check"])
def test_probes_are_never_shed(path: str) -> None:
    """A probe is admitted when all places are taken, and takes none."""
    control = Concurrency(total=1, per_caller=1)
    admitted(control)
    for _ in range(3):
        ended(control, admitted(control, path=path))
    assert control.running == 1


def test_no_caps() -> None:
    """With 0 for both nobody is turned away, and calls are still counted."""
    control = Concurrency()
    for _ in range(100):
        admitted(control)
    assert (control.running, control.places) == (100, 0)


def answers(shedding: Shedding, seconds: float, windows: int, running: int = 50, route: str = "/a") -> None:
    """So many windows of answers of a route that all took `seconds`."""
    for _ in range(windows * 32):
        shedding.observe(route, seconds, running)


def test_slower_answers_shed_load() -> None:
    """While answers take more than twice as long as usual, places shrink, down to the least."""
    shedding = Shedding(100, least=10)
    answers(shedding, 0.1, 5)
    assert shedding.places == 100
    answers(shedding, 1.0, 1)
    assert shedding.places == 40
    answers(shedding, 1.0, 3, running=shedding.places)
    assert 10 <= shedding.places < 30
    answers(shedding, 5.0, 8, running=shedding.places)
    assert shedding.places == 10


def test_places_return() -> None:
    """When answers are as fast as usual again and places are wanted, they return one by one, up to the most."""
    shedding = Shedding(20, least=2)
    answers(shedding, 0.1, 3, running=20)
    answers(shedding, 1.0, 4, running=20)
    low = shedding.places
    assert low < 10
    answers(shedding, 0.1, 3, running=low)
    assert shedding.places == low + 3
    answers(shedding, 0.1, 5, running=1)
    assert shedding.places == low + 3
    answers(shedding, 0.1, 60, running=20)
    assert shedding.places == 20


def test_a_slow_route_is_not_an_overload() -> None:
    """Each route is judged by its own usual: calls of a slow one among fast ones shed nothing."""
    shedding = Shedding(100)
    for _ in range(50):
        answers(shedding, 0.001, 1, route="/fast")
        answers(shedding, 30.0, 1, route="/slow")
    assert shedding.places == 100


def test_what_stays_slow_becomes_usual() -> None:
    """A service that has become slower for good gets its places back."""
    shedding = Shedding(30, least=2)
    answers(shedding, 0.1, 3, running=30)
    answers(shedding, 0.5, 200, running=30)
    assert shedding.places == 30


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e6), st.integers(1, 500)), max_size=300))
def test_places_stay_within_bounds(samples: list[tuple[str, float, int]]) -> None:
    """Whatever is observed, places lie between the least and the most."""
    shedding = Shedding(64, least=4, window=4)
    for route, seconds, running in samples:
        shedding.observe(route, seconds, running)
        assert 4 <= shedding.places <= 64


def test_routes_are_bounded() -> None:
    """However many routes are seen, what is remembered of them does not grow without end."""
    shedding = Shedding(8)
    for number in range(5_000):
        shedding.observe(f"/{number}", 0.1, 1)
    assert len(shedding._usual) <= 1_025


def test_the_first_byte_counts_as_the_answer() -> None:
    """A long stream that began at once is no slow answer, and a refused call is no answer."""
    shedding = Shedding(50, window=4)
    control = Concurrency(total=50, shedding=shedding)
    for _ in range(20):
        ended(control, admitted(control), 0.1)
    for _ in range(20):
        call = admitted(control)
        call.first_byte, call.status = call.started + 0.1, 200
        ended(control, call, 3_600.0)
        call = admitted(control)
        call.refused_by = "access"
        ended(control, call, 50.0)
    assert (control.places, control.running) == (50, 0)


def test_a_shrunken_cap_turns_calls_away() -> None:
    """While places are fewer, calls beyond them are overload although the configured cap is higher."""
    shedding = Shedding(50, least=1)
    control = Concurrency(total=50, shedding=shedding)
    shedding.places = 1
    admitted(control)
    with pytest.raises(Unavailable):
        control.admit(call_of())


@pytest.mark.parametrize("status", [404, 422, 500, 503])
def test_quick_refusals_do_not_make_answers_slow(status: int) -> None:
    """Errors are no measure of how fast answers are: a flood of quick ones sheds nothing once answers come again."""
    control = Concurrency(total=50, shedding=Shedding(50, window=4))
    for _ in range(20):
        ended(control, admitted(control), 0.1)
    for _ in range(200):
        call = admitted(control)
        call.status = status
        ended(control, call, 0.0001)
    for _ in range(20):
        ended(control, admitted(control), 0.1)
    assert control.places == 50


def test_missed_deadlines_shed_load() -> None:
    """An answer that did not come in time was a slow one, whoever ended it."""
    control = Concurrency(total=50, shedding=Shedding(50, window=4))
    for _ in range(20):
        ended(control, admitted(control), 0.1)
    for _ in range(8):
        call = admitted(control)
        call.status, call.refused_by, call.fault = 504, "deadline", DeadlineExceeded("no answer within 30 s")
        ended(control, call, 30.0)
    assert control.places < 50
