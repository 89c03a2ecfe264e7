"""A NACK quarantines what it is about, and nothing else; who is to blame is found out when it does not say."""

import pytest

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from headgate.controlplane.xds.messages import Response
from headgate.controlplane.xds.suspects import Suspects, accuses, mentions
from tests.controlplane.xds.talk import Talk, cluster, endpoints, listener, only, shown, table

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def answer(talk: Talk, responses: list[Response], bad: set[str], words: str) -> int:
    """Answer as a client that dislikes some names, all at once; return how often it said no."""
    queue, refusals = list(responses), 0
    while queue:
        response = queue.pop(0)
        fresh = {r.name for r in response.resources}
        if fresh & bad:
            refusals += 1
            queue += talk.nack(response, words.format(" ".join(sorted(fresh & bad))))
        else:
            queue += talk.ack(response)
    return refusals


def quarantined(talk: Talk, type_url: str = CLUSTER) -> set[str]:
    """Names that are held back."""
    return set(talk.stream.channels[type_url].refused)


@both
@pytest.mark.parametrize("culprits", ["c0", "c7", "c3 c4", "c0 c5 c6"])
def test_an_unspecific_nack_is_traced(delta: bool, culprits: str) -> None:
    """When a NACK does not say whom it is about, exactly the bad ones end up quarantined and the rest arrives."""
    bad = set(culprits.split())
    clusters = [cluster(f"c{number}") for number in range(8)]
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    refusals = answer(talk, talk.put(*clusters), bad, "something is wrong")
    assert quarantined(talk) == bad
    held = {name for name, _ in talk.stream.channels[CLUSTER].all_held()}
    assert held == {resource.name for resource in clusters} - bad
    assert refusals <= 4 * len(bad)


@both
def test_a_lone_culprit_is_not_tried_again(delta: bool) -> None:
    """When all others were accepted, the last one must have been it, and is not sent once more."""
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    assert answer(talk, talk.put(cluster("a"), cluster("b")), {"b"}, "something is wrong") == 1
    assert quarantined(talk) == {"b"}
    assert [refusal.resources for refusal in talk.stream.refusals][-1][0].name == "b"


@both
def test_a_nack_that_gives_names_and_reasons_is_believed(delta: bool) -> None:
    """Envoy names the clusters it refuses: these are quarantined at once, and the rest comes again."""
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    pushed = only(talk.put(cluster("t/a"), cluster("t/a-2"), cluster("t/b")))
    again = only(talk.nack(pushed, "Error adding/updating cluster(s) t/a: no, t/b: no"))
    assert shown(again) == "cds t/a-2"
    assert talk.ack(again) == []
    assert quarantined(talk) == {"t/a", "t/b"}


@both
def test_a_name_in_passing_is_only_a_hint(delta: bool) -> None:
    """A name that is merely mentioned is tried last, and quarantined only when the others are innocent."""
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    pushed = only(talk.put(cluster("a"), cluster("b"), cluster("c")))
    others = only(talk.nack(pushed, 'constraint failed: name: "b"'))
    assert shown(others) == "cds a c"
    assert talk.settle(talk.nack(others, "constraint failed")) == ["cds a", *(["cds b"] if delta else ["cds a b"])]
    assert quarantined(talk) == {"c"}


@both
def test_what_was_not_to_blame_comes_again(delta: bool) -> None:
    """The good part of a refused response is delivered without the bad one."""
    talk = Talk(cluster("a"), delta=delta)
    talk.sync((CLUSTER,))
    pushed = only(talk.put(cluster("a", 2), cluster("b")))
    assert talk.settle(talk.nack(pushed, "cluster b: no")) == ["cds a"]
    assert talk.settle(talk.put(cluster("b", 2))) == ["cds b" if delta else "cds a b"]
    assert quarantined(talk) == set()


@both
def test_what_may_have_been_taken_is_removed_all_the_same(delta: bool) -> None:
    """Of a refused response the client may have taken a part: when that part goes, it is told so."""
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    pushed = only(talk.put(cluster("a"), cluster("b")))
    again = only(talk.nack(pushed, "b: no"))
    assert shown(again) == "cds a"
    talk.drop(cluster("a"))
    assert talk.settle(talk.nack(again, "never mind")) == ["cds -a" if delta else "cds"]


@both
def test_what_may_have_been_taken_is_sent_again_when_it_is_changed_back(delta: bool) -> None:
    """Of a refused response the client may have taken a part: when that part is taken back, it is sent."""
    talk = Talk(cluster("a"), delta=delta)
    talk.sync((CLUSTER,))
    pushed = only(talk.put(cluster("a", 2), cluster("b")))
    talk.put(cluster("a"))
    assert talk.settle(talk.nack(pushed, "b: no")) == ["cds a"]


@both
def test_a_trial_does_not_wait_for_what_cannot_be_tried(delta: bool) -> None:
    """A suspect that must wait for its cluster does not keep the other suspects from being tried."""
    names = [f"r{number}" for number in range(4)]
    talk = Talk(cluster("a"), *(table(name, "a") for name in names), delta=delta)
    talk.sync((CLUSTER,), (ROUTE, *names))
    pushed = only(talk.put(*(table(name, "a", version=2) for name in names)))
    half = only(talk.nack(pushed))
    assert shown(half) == "rds r0 r1"
    talk.put(cluster("z"), table("r0", "z", version=3), table("r1", "z", version=3))
    assert talk.stream.waiting_for(ROUTE).keys() == {"r0", "r1"}
    assert [shown(response) for response in talk.ack(half)] == ["rds r2 r3"]


@both
def test_a_suspect_nobody_follows_any_more_holds_up_nothing(delta: bool) -> None:
    """Suspects that the client unsubscribed from are forgotten, and the others are tried."""
    talk = Talk(endpoints("a"), endpoints("b"), endpoints("c"), endpoints("d"), delta=delta)
    pushed = only(talk.request(ENDPOINT, "a", "b", "c", "d"))
    quarter = only(talk.nack(only(talk.nack(pushed))))
    assert shown(quarter) == "eds a"
    answers = talk.leave(ENDPOINT, "a", "b")
    assert talk.settle(answers + talk.ack(quarter)) == ["eds c d"]
    assert talk.stream.in_sync(ENDPOINT)


@both
def test_a_cluster_sent_again_gets_its_endpoints_again(delta: bool) -> None:
    """When a cluster is sent once more after a NACK, its endpoints come once more behind it."""
    talk = Talk(cluster("a"), endpoints("a"), delta=delta)
    talk.sync((CLUSTER,), (ENDPOINT, "a"))
    pushed = talk.put(cluster("a", 2), endpoints("a", of=2), cluster("b"))
    assert [shown(response).split()[0] for response in pushed] == ["cds", "eds"]
    assert [shown(r) for r in talk.nack(pushed[0], "b: no")] == ["cds a"]
    assert [shown(r) for r in talk.ack(pushed[1])] == ["eds a"]


@both
def test_quarantine_is_for_this_client_only_and_outlives_the_stream(delta: bool) -> None:
    """Who comes back is not shown what it refused, but the last version it took; others get the new one."""
    good, bad = cluster("a"), cluster("a", 2)
    talk = Talk(good, delta=delta)
    talk.sync((CLUSTER,))
    talk.nack(only(talk.put(bad)))
    talk.reconnect()
    assert only(talk.request(CLUSTER)).resources == (good,)
    assert only(Talk(bad, delta=delta).request(CLUSTER)).resources == (bad,)


@both
def test_a_refused_last_good_version_is_given_up(delta: bool) -> None:
    """Who refuses even the version it once took is left with what it has."""
    talk = Talk(cluster("a"), delta=delta)
    talk.sync((CLUSTER,))
    talk.nack(only(talk.put(cluster("a", 2))))
    talk.reconnect()
    assert talk.nack(only(talk.request(CLUSTER))) == []
    assert talk.stream.channels[CLUSTER].refused["a"].last_good is None
    assert talk.put() == []


def test_a_refused_name_without_a_good_version_is_answered_in_delta() -> None:
    """Delta: asking for what is quarantined and was never good is answered: there is none."""
    talk = Talk(endpoints("a"), delta=True)
    talk.nack(only(talk.request(ENDPOINT, "a")))
    talk.reconnect()
    assert [shown(response) for response in talk.request(ENDPOINT, "a")] == ["eds -a"]


@both
def test_a_refusal_of_something_left_does_not_keep_the_client_out_of_sync(delta: bool) -> None:
    """What the client does not follow any more does not count, though it refused it."""
    talk = Talk(endpoints("a"), endpoints("b"), delta=delta)
    talk.sync((ENDPOINT, "b"))
    talk.nack(only(talk.request(ENDPOINT, "a")))
    assert not talk.stream.in_sync(ENDPOINT)
    talk.leave(ENDPOINT, "a")
    assert talk.stream.in_sync(ENDPOINT)


@both
def test_routes_to_a_refused_new_cluster_are_held_back(delta: bool) -> None:
    """A new cluster that is refused holds back the routes to it; what was served before still is."""
    old = table("r", "a")
    talk = Talk(cluster("a"), listener("l", "r"), old, delta=delta)
    talk.sync((CLUSTER,), (LISTENER,), (ROUTE, "r"))
    assert talk.nack(only(talk.put(cluster("b"), table("r", "b", version=2)))) == []
    assert talk.stream.channels[ROUTE].held("r") is old
    assert talk.stream.waiting_for(ROUTE) == {"r": ["b"]}
    assert talk.settle(talk.put(cluster("b", 2)))[-1] == "rds r"


@both
def test_refusals_leave_no_trace_that_grows(delta: bool) -> None:
    """While something is quarantined, what comes and goes leaves nothing behind."""
    talk = Talk(delta=delta)
    talk.sync((CLUSTER,))
    talk.nack(only(talk.put(cluster("bad"))))
    for number in range(50):
        passing = cluster(f"c{number}")
        talk.settle(talk.put(passing))
        talk.settle(talk.drop(passing))
    channel = talk.stream.channels[CLUSTER]
    assert len(channel.changes) <= 1
    assert not channel.uncertain


def test_the_version_it_had_is_known_again_by_its_hash() -> None:
    """Delta: a client that comes back with the last good version is known to hold it, references included."""
    good = table("r", "a")
    talk = Talk(cluster("a"), listener("l", "r"), good, delta=True)
    talk.sync((CLUSTER,), (LISTENER,), (ROUTE, "r"))
    talk.nack(only(talk.put(table("r", "a", version=2))))
    talk.reconnect()
    versions: dict[str, Resource] = {r.name: r for r in talk.resources.values()}
    talk.request(CLUSTER, initial_versions={"a": versions["a"].version})
    talk.request(LISTENER, initial_versions={"l": versions["l"].version})
    assert talk.request(ROUTE, "r", initial_versions={"r": good.version}) == []
    assert talk.stream.channels[ROUTE].held("r") is good


@both
def test_what_a_foreign_last_good_version_names_is_not_known(delta: bool) -> None:
    """A last good version that another process sent is served, and while it is, no cluster is removed."""
    good, bad = table("r", "a"), table("r", "b", version=2)
    kept = Refused(bad.version, "no", Resource(ROUTE, "r", good.version, good.body))
    resources = (cluster("a"), cluster("b"), listener("l", "r"), bad)
    talk = Talk(*resources, delta=delta, refused={(ROUTE, "r"): kept})
    assert talk.sync((CLUSTER,), (LISTENER,), (ROUTE, "r"))[-1] == "rds r"
    assert talk.sent[-1].resources[0].version == good.version
    assert talk.settle(talk.drop(cluster("a"))) == []
    repaired = talk.settle(talk.put(table("r", "b", version=3)))
    assert repaired == ["rds r", "cds -a" if delta else "cds b"]


def test_a_full_set_refused_on_return_is_followed_by_another() -> None:
    """State of the world: who comes back and refuses the first full set is told the set as soon as it can be."""
    talk = Talk(cluster("b"), delta=False)
    assert talk.nack(only(talk.request(CLUSTER, version="of before"))) == []
    assert talk.settle(talk.drop(cluster("b"))) == ["cds"]


@pytest.mark.parametrize(
    ("message", "accused", "mentioned"),
    [
        ("Error adding/updating cluster(s) t/a: no such lb_policy", True, True),
        ("Error adding/updating cluster(s) t/b: no, t/a: no", True, True),
        ("Error adding/updating listener(s) t/ab: no\n", False, False),
        ("Error adding/updating listener(s) x-t/a: no\n", False, False),
        ('route: unknown cluster "t/a"', False, True),
        ("route: unknown cluster t/a.", False, True),
        ("t/a.example: no", False, False),
        ("t/a-2: no", False, False),
        ("nothing of the kind", False, False),
    ],
)
def test_what_an_error_text_says_of_a_name(message: str, accused: bool, mentioned: bool) -> None:
    """A name counts only as a word of its own, and accuses only with a reason behind it."""
    assert accuses(message, "t/a") is accused
    assert mentions(message, "t/a") is mentioned


def test_proof_falls_with_a_change() -> None:
    """When a suspect changes while it is looked for, nobody is found guilty by elimination."""
    suspects = Suspects()
    suspects.refused({"a", "b", "c"}, "no", "n1")
    assert suspects.turn({"a", "b", "c"}) == {"a", "b"}
    suspects.forget({"c"})
    assert suspects.accepted({"a", "b"}) is None
    assert not suspects
