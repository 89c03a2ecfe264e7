"""What an xDS stream must do, behaviour by behaviour, without a socket: subscriptions, answers, order."""

import pytest

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from headgate.controlplane.xds.messages import Request
from tests.controlplane.xds.talk import Talk, cluster, endpoints, listener, only, secret, shown, table

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
GRACE = 0.05


def served(delta: bool, *more: object) -> Talk:
    """A client in sync: listener l, route config r, cluster a with endpoints."""
    talk = Talk(cluster("a"), endpoints("a"), listener("l", "r"), table("r", "a"), *more, delta=delta)
    talk.sync((CLUSTER,), (ENDPOINT, "a"), (LISTENER,), (ROUTE, "r"))
    return talk


@both
def test_versions_belong_to_the_content(delta: bool) -> None:
    """A version is a property of the content: another stream gives the same for the same."""
    answers = [only(Talk(cluster("a"), cluster("b"), delta=delta).request(CLUSTER)) for _ in range(2)]
    assert answers[0].version == answers[1].version
    assert [r.version for r in answers[0].resources] == [r.version for r in answers[1].resources]


@both
def test_every_response_has_its_own_nonce(delta: bool) -> None:
    """No nonce comes twice, on whatever type."""
    talk = served(delta)
    talk.settle(talk.put(cluster("a", 2), endpoints("a", of=2), table("r", "a", version=2)))
    nonces = [response.nonce for response in talk.sent]
    assert len(nonces) == len(set(nonces)) > 4


def test_a_stale_nonce_is_not_answered_in_state_of_the_world() -> None:
    """State of the world: a request with an outdated nonce is not answered; the next one is."""
    talk = Talk(cluster("a"), cluster("b"), delta=False)
    first = only(talk.request(CLUSTER, "a"))
    talk.ack(first)
    second = only(talk.put(cluster("a", 2)))
    assert talk.request(CLUSTER, "b", nonce=first.nonce) == []
    third = only(talk.ack(second))
    assert shown(third) == "cds a b"
    talk.ack(third)
    assert talk.send(Request(CLUSTER, nonce=first.nonce, names=("a", "b", "c"))) == []
    assert talk.stream.counters.stale == 2


def test_a_stale_nonce_still_subscribes_in_delta() -> None:
    """Delta: the subscriptions of a request with an outdated nonce are honoured."""
    talk = Talk(cluster("a"), cluster("b"), delta=True)
    first = only(talk.request(CLUSTER, "a"))
    talk.put(cluster("a", 2))
    assert shown(only(talk.request(CLUSTER, "b", nonce="of-yesterday"))) == "cds b"
    assert talk.stream.counters.stale == 1
    assert shown(only(talk.ack(first, talk.sent[1]))) == "cds a"


@both
def test_the_nonce_of_another_stream_is_worth_nothing(delta: bool) -> None:
    """An ACK with a nonce that was never given counts for nothing."""
    talk = Talk(cluster("a"), delta=delta)
    talk.request(CLUSTER)
    assert talk.send(Request(CLUSTER, nonce="other-1")) == []
    assert talk.stream.counters.acks == 0
    assert not talk.stream.in_sync(CLUSTER)


@both
def test_a_nack_is_a_request_with_an_error(delta: bool) -> None:
    """Only the error says NACK: neither an old version nor a current one does."""
    talk = Talk(cluster("a"), delta=delta)
    answer = only(talk.request(CLUSTER))
    assert talk.send(Request(CLUSTER, nonce=answer.nonce, version="an old one")) == []
    assert talk.stream.counters.acks == 1
    changed = only(talk.put(cluster("a", 2)))
    assert talk.send(Request(CLUSTER, nonce=changed.nonce, version=changed.version, error="no")) == []
    assert talk.stream.counters.nacks == 1


@both
def test_a_nack_is_recorded(delta: bool) -> None:
    """A NACK is kept with its words, its nonce, what it is about, and what stays served."""
    good, bad = cluster("a"), cluster("a", 2)
    talk = Talk(good, cluster("b"), delta=delta)
    talk.sync((CLUSTER,))
    answer = only(talk.put(bad))
    assert talk.nack(answer, "no such thing") == []
    refusal = only(talk.stream.refusals)
    assert (refusal.type_url, refusal.nonce, refusal.message) == (CLUSTER, answer.nonce, "no such thing")
    assert refusal.resources == (bad,)
    assert refusal.last_good == {"a": good}
    assert talk.stream.channels[CLUSTER].refused["a"].last_good is good


@both
def test_the_words_of_a_nack_are_bounded(delta: bool) -> None:
    """Of a very long error text, the first 4096 characters are kept."""
    talk = Talk(cluster("a"), delta=delta)
    talk.nack(only(talk.request(CLUSTER)), "x" * 10_000)
    assert only(talk.stream.refusals).message == "x" * 4096


@both
def test_the_next_change_supersedes_a_refused_version(delta: bool) -> None:
    """After a NACK nothing is repeated; the next version is tried."""
    talk = Talk(cluster("a"), delta=delta)
    talk.sync((CLUSTER,))
    assert talk.nack(only(talk.put(cluster("a", 2)))) == []
    assert talk.put() == []
    assert not talk.stream.in_sync(CLUSTER)
    assert talk.settle(talk.put(cluster("a", 3))) == ["cds a"]
    assert talk.stream.in_sync(CLUSTER)


@both
def test_a_refused_version_may_be_outdated_already(delta: bool) -> None:
    """A NACK of a version that was replaced meanwhile quarantines nothing."""
    talk = Talk(cluster("a"), delta=delta)
    answer = only(talk.request(CLUSTER))
    talk.put(cluster("a", 2))
    assert talk.settle(talk.nack(answer)) == ["cds a"]
    assert talk.stream.in_sync(CLUSTER)
    assert talk.stream.acknowledged_revision == talk.revision


@both
def test_an_ack_is_not_answered(delta: bool) -> None:
    """In sync there is nothing to say, however often the client acknowledges."""
    talk = served(delta)
    assert [talk.ack(response) for response in talk.sent[-4:]] == [[]] * 4
    assert talk.stream.wake_at is None
    assert talk.put() == []


@both
def test_a_type_that_is_not_carried_is_left_unanswered(delta: bool) -> None:
    """A type we do not serve gets no answer, and does no harm to the others."""
    talk = Talk(cluster("a"), delta=delta)
    assert talk.send(Request("type.googleapis.com/envoy.config.route.v3.VirtualHost", names=("x",))) == []
    assert talk.sync((CLUSTER,)) == ["cds a"]


@both
@pytest.mark.parametrize("names", [(), ("*",)], ids=["legacy", "explicit"])
def test_a_wildcard_follows_everything(delta: bool, names: tuple[str, ...]) -> None:
    """Without names, or with `*`, everything is followed, now and later."""
    talk = Talk(cluster("a"), cluster("b"), delta=delta)
    assert talk.sync((CLUSTER, *names)) == ["cds a b"]
    new = cluster("c")
    assert talk.settle(talk.put(new)) == ["cds c" if delta else "cds a b c"]
    assert talk.settle(talk.drop(new)) == ["cds -c" if delta else "cds a b"]


@both
def test_an_empty_world_is_answered(delta: bool) -> None:
    """A wildcard is answered even when there is nothing: clients wait for it."""
    talk = Talk(delta=delta)
    assert talk.sync((CLUSTER,), (LISTENER,)) == ["cds", "lds"]


def test_no_names_after_names_is_nothing_in_state_of_the_world() -> None:
    """State of the world: once a name was sent, no names means nothing, not everything."""
    talk = Talk(cluster("a"), cluster("b"), delta=False)
    talk.sync((CLUSTER, "a"))
    assert talk.leave(CLUSTER, "a") == []
    assert talk.put(cluster("a", 2), cluster("b", 2)) == []


@both
def test_names_remain_when_the_wildcard_goes(delta: bool) -> None:
    """Dropping `*` keeps the names asked for beside it."""
    talk = Talk(cluster("a"), cluster("b"), delta=delta)
    talk.sync((CLUSTER, "*"), (CLUSTER, "a"))
    talk.leave(CLUSTER, "*")
    assert talk.put(cluster("b", 2)) == []
    assert talk.settle(talk.put(cluster("a", 2))) == ["cds a"]


def test_the_legacy_wildcard_can_be_left_in_delta() -> None:
    """Delta: who began without names leaves everything by unsubscribing from `*`."""
    talk = Talk(cluster("a"), cluster("b"), delta=True)
    talk.sync((CLUSTER,), (CLUSTER, "a"))
    assert talk.leave(CLUSTER, "*") == []
    assert talk.put(cluster("b", 2)) == []
    assert talk.leave(CLUSTER, "a") == []
    assert talk.put(cluster("a", 2)) == []


@both
def test_secrets_have_no_wildcard(delta: bool) -> None:
    """Secrets are given by name only."""
    talk = Talk(secret("s"), delta=delta)
    assert talk.request(SECRET, "*") == []
    assert talk.sync((SECRET, "s")) == ["sds s"]


@both
def test_a_new_name_is_answered(delta: bool) -> None:
    """A name asked for anew is answered though nothing changed."""
    talk = Talk(endpoints("a"), endpoints("b"), delta=delta)
    assert talk.sync((ENDPOINT, "a"), (ENDPOINT, "b")) == ["eds a", "eds b"]


@both
def test_a_name_left_and_asked_for_again_is_answered(delta: bool) -> None:
    """Who left a name and asks again gets it again."""
    talk = Talk(endpoints("a"), delta=delta)
    talk.sync((ENDPOINT, "a"))
    assert talk.leave(ENDPOINT, "a") == []
    assert talk.sync((ENDPOINT, "a")) == ["eds a"]


def test_a_name_left_and_asked_for_again_unheard_is_answered() -> None:
    """State of the world: a name that was missing in a stale request is given again, for the client let go of it."""
    talk = Talk(endpoints("a"), endpoints("b"), delta=False)
    talk.sync((ENDPOINT, "a", "b"))
    pushed = only(talk.put(endpoints("b", 2)))
    stale = talk.sent[-2].nonce
    assert talk.send(Request(ENDPOINT, nonce=stale, names=("b",))) == []
    assert talk.send(Request(ENDPOINT, nonce=stale, names=("a", "b"))) == []
    assert talk.settle(talk.ack(pushed)) == ["eds a"]


def test_asking_twice_is_answered_twice_in_delta() -> None:
    """Delta: a name asked for again is given again: the client may have forgotten it."""
    talk = Talk(cluster("a"), delta=True)
    assert talk.sync((CLUSTER,), (CLUSTER, "a"), (CLUSTER, "a")) == ["cds a", "cds a", "cds a"]


@both
def test_an_unknown_name_is_remembered(delta: bool) -> None:
    """A name that does not exist is removed (delta) or left unanswered, and given once it exists."""
    talk = Talk(delta=delta)
    assert talk.sync((ENDPOINT, "z")) == (["eds -z"] if delta else [])
    assert talk.settle(talk.put(endpoints("z"))) == ["eds z"]


def test_a_full_set_leaves_out_what_does_not_exist() -> None:
    """State of the world: clusters asked for by name come as the set of those that exist."""
    talk = Talk(cluster("a"), delta=False)
    assert talk.sync((CLUSTER, "a", "z")) == ["cds a"]
    assert talk.settle(talk.put(cluster("z"))) == ["cds a z"]


def test_the_full_set_and_the_partial_ones() -> None:
    """State of the world: clusters come as the whole set, endpoints only as those that changed."""
    talk = Talk(cluster("a"), cluster("b"), endpoints("a"), endpoints("b"), delta=False)
    talk.sync((CLUSTER,), (ENDPOINT, "a", "b"))
    assert talk.settle(talk.put(cluster("b", 2), endpoints("b", of=2))) == ["cds a b", "eds b"]
    assert talk.settle(talk.drop(cluster("a"), endpoints("a"))) == ["cds b"]
    assert talk.settle(talk.drop(cluster("b"), endpoints("b"))) == ["cds"]


@both
def test_names_are_a_set(delta: bool) -> None:
    """A name given twice in a request counts once."""
    talk = Talk(endpoints("a"), delta=delta)
    request = Request(ENDPOINT, subscribe=("a", "a")) if delta else Request(ENDPOINT, names=("a", "a"))
    assert shown(only(talk.send(request))) == "eds a"


@both
def test_leaving_is_not_answered(delta: bool) -> None:
    """Unsubscribing is not answered, not even from a name that was never asked for, and ends the news."""
    talk = Talk(endpoints("a"), endpoints("b"), delta=delta)
    talk.sync((ENDPOINT, "a", "b"))
    assert talk.leave(ENDPOINT, "b", "phantom") == []
    assert talk.put(endpoints("b", 2)) == []


def test_leaving_a_name_beside_the_wildcard_is_answered() -> None:
    """Delta: who unsubscribes from a name beside `*` is told what it has of it now."""
    talk = Talk(cluster("a"), delta=True)
    talk.sync((CLUSTER, "*"), (CLUSTER, "a", "z"))
    assert [shown(response) for response in talk.leave(CLUSTER, "a", "z")] == ["cds a -z"]


def test_a_returning_client_is_given_the_difference() -> None:
    """Delta: who comes back with versions gets what differs, what is new, and the names of what is gone."""
    a, b, c = cluster("a"), cluster("b"), cluster("c")
    talk = Talk(a, cluster("b", 2), cluster("d"), delta=True)
    known = {resource.name: resource.version for resource in (a, b, c)}
    talk.request(CLUSTER, initial_versions=known)
    assert shown(talk.sent[0]) == "cds b d"
    assert talk.settle(talk.ack(talk.sent[0])) == ["cds -c"]


def test_a_returning_client_that_has_everything_is_left_alone() -> None:
    """Delta: who comes back with everything is sent nothing, and counts as up to date at once."""
    talk = served(delta=True)
    known = {t: {n: r.version for (u, n), r in talk.resources.items() if u == t} for t in (CLUSTER, ENDPOINT)}
    talk.reconnect()
    assert talk.request(CLUSTER, initial_versions=known[CLUSTER]) == []
    assert talk.request(ENDPOINT, "a", initial_versions=known[ENDPOINT]) == []
    assert talk.stream.in_sync(CLUSTER)
    assert talk.stream.in_sync(ENDPOINT)


def test_a_returning_client_may_be_using_what_is_gone() -> None:
    """Delta: a cluster that went meanwhile stays until the client told what listeners and routes it has."""
    talk = Talk(cluster("b"), listener("l", "r"), table("r", "b"), delta=True)
    a, old_routes = cluster("a"), table("r", "a")
    assert shown(only(talk.request(CLUSTER, initial_versions={"a": a.version}))) == "cds b"
    talk.request(LISTENER, initial_versions={"l": listener("l", "r").version})
    assert talk.request(ROUTE, "r", initial_versions={"r": old_routes.version}) == []
    assert talk.settle([talk.sent[0]]) == ["cds b", "rds r", "cds -a"]


def test_a_returning_client_that_says_no_more_is_believed() -> None:
    """Delta: when the other types are not asked for in time, what is gone is removed all the same."""
    talk = Talk(delta=True, introduction=1.0)
    assert talk.request(CLUSTER, initial_versions={"a": "1"}) == []
    assert talk.wait(0.9) == []
    assert [shown(response) for response in talk.wait(0.2)] == ["cds -a"]


def test_a_returning_wildcard_with_the_current_version_is_left_alone() -> None:
    """State of the world: who comes back with the current version of everything is sent nothing until it changes."""
    talk = Talk(cluster("a"), cluster("b"), delta=False)
    talk.sync((CLUSTER,))
    version = talk.sent[0].version
    talk.reconnect()
    assert talk.request(CLUSTER, version=version, nonce="") == []
    assert talk.stream.acknowledged_revision == talk.revision
    assert talk.settle(talk.put(cluster("b", 2))) == ["cds a b"]


def test_a_returning_name_list_is_answered() -> None:
    """State of the world: with names, the version says too little, and everything is sent."""
    talk = Talk(cluster("a"), delta=False)
    talk.sync((CLUSTER, "a"))
    version = talk.sent[0].version
    talk.reconnect()
    assert shown(only(talk.request(CLUSTER, "a", version=version, nonce=""))) == "cds a"


@both
def test_one_push_is_in_flight_per_type(delta: bool) -> None:
    """While a push is unanswered, changes gather; the newest follows the ACK. Other types do not wait."""
    talk = Talk(cluster("a"), secret("s"), delta=delta)
    first = only(talk.request(CLUSTER))
    assert talk.put(cluster("a", 2)) == []
    assert talk.put(cluster("a", 3)) == []
    assert shown(only(talk.request(SECRET, "s"))) == "sds s"
    assert only(talk.ack(first)).resources[0].version == cluster("a", 3).version


def test_answers_without_ack_are_bounded() -> None:
    """Delta: who asks and asks without ever acknowledging is answered only so often."""
    names = [f"e{number}" for number in range(100)]
    talk = Talk(*map(endpoints, names), delta=True)
    for name in names:
        talk.request(ENDPOINT, name)
    assert len(talk.sent) == 16
    talk.settle(list(talk.sent))
    assert talk.stream.in_sync(ENDPOINT)


def test_a_large_response_is_split_in_delta() -> None:
    """Delta: what is larger than `max_bytes` comes in parts, each after the ACK of the one before."""
    clusters = [cluster(f"c{number}") for number in range(5)]
    talk = Talk(*clusters, delta=True, max_bytes=2 * len(clusters[0].body))
    assert talk.sync((CLUSTER,)) == ["cds c0 c1", "cds c2 c3", "cds c4"]


@both
def test_a_revision_is_claimed_when_all_of_it_is_acknowledged(delta: bool) -> None:
    """A revision counts as acknowledged when everything is, types not yet asked for included."""
    talk = Talk(cluster("a"), endpoints("a"), listener("l", "r"), table("r", "a"), delta=delta, revision=7)
    claims = []
    for type_url, *names in ((CLUSTER,), (ENDPOINT, "a"), (LISTENER,), (ROUTE, "r")):
        answer = only(talk.request(type_url, *names))
        claims.append(talk.stream.acknowledged_revision)
        talk.ack(answer)
        claims.append(talk.stream.acknowledged_revision)
    assert claims == [None] * 7 + [7]
