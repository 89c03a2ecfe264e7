"""Make before break on one stream: additions from clusters to routes, removals the other way, gated by ACKs."""

import pytest

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from headgate.controlplane.xds.messages import Request
from tests.controlplane.xds.talk import Talk, cluster, endpoints, listener, only, secret, shown, table

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
GRACE = 0.05


def served(*more: object, delta: bool) -> Talk:
    """A client in sync: listener l, route config r, cluster a with endpoints."""
    talk = Talk(cluster("a"), endpoints("a"), listener("l", "r"), table("r", "a"), *more, delta=delta)
    talk.sync((CLUSTER,), (ENDPOINT, "a"), (LISTENER,), (ROUTE, "r"))
    assert talk.stream.acknowledged_revision == talk.revision
    return talk


@both
def test_endpoints_come_again_after_their_cluster(delta: bool) -> None:
    """Whoever gets a cluster again gets its endpoints again behind it, though they did not change."""
    talk = served(delta=delta)
    pushed = talk.put(cluster("a", 2))
    assert [shown(response) for response in pushed] == ["cds a", "eds a"]


@both
def test_endpoints_never_overtake_their_cluster(delta: bool) -> None:
    """Endpoints of a new version of a cluster wait until that version is sent."""
    talk = served(delta=delta)
    first = talk.put(cluster("a", 2), endpoints("a", of=2))
    assert talk.put(cluster("a", 3), endpoints("a", of=3)) == []
    assert talk.ack(first[1]) == []
    assert [shown(response) for response in talk.ack(first[0])] == ["cds a", "eds a"]


@both
def test_endpoints_come_again_when_a_change_is_taken_back(delta: bool) -> None:
    """A cluster changed and changed back has been sent twice, so its endpoints come once more."""
    talk = served(delta=delta)
    blocked = only(talk.put(endpoints("a", 2)))
    changed = only(talk.put(cluster("a", 2), endpoints("a", 2, of=2)))
    assert talk.put(cluster("a"), endpoints("a", 2)) == []
    assert [shown(response) for response in talk.ack(changed)] == ["cds a"]
    assert [shown(response) for response in talk.ack(blocked)] == ["eds a"]


@both
def test_a_cluster_under_way_gets_the_endpoints_it_waits_for(delta: bool) -> None:
    """A cluster that is sent and changed before its endpoints were asked for gets those it was sent with."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b"), endpoints("b")))
    assert talk.put(cluster("b", 2), endpoints("b", of=2)) == []
    warmed = only(talk.request(ENDPOINT, "b"))
    assert warmed.resources[0].version == endpoints("b").version
    assert talk.ack(warmed) == []
    assert [shown(r) for r in talk.ack(added)] == ["cds b" if delta else "cds a b", "eds b"]
    assert talk.sent[-1].resources[0].version == endpoints("b", of=2).version


@both
def test_a_cluster_under_way_gets_its_endpoints_though_they_are_gone(delta: bool) -> None:
    """A cluster that is deleted before its endpoints were asked for still gets them, for Envoy waits for them."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b", 1, "s"), endpoints("b"), secret("s")))
    assert talk.drop(cluster("b", 1, "s"), endpoints("b"), secret("s")) == []
    assert shown(only(talk.request(ENDPOINT, "b"))) == "eds b"
    assert shown(only(talk.request(SECRET, "s"))) == "sds s"
    assert talk.settle([*talk.sent[-2:], added])[-1] in ("cds a", "sds -s", "eds -b")
    assert talk.stream.acknowledged_revision == talk.revision


@both
def test_routes_wait_for_new_clusters(delta: bool) -> None:
    """Routes to a new cluster follow when it and its endpoints are acknowledged, and not before."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b"), endpoints("b"), table("r", "a", "b", version=2)))
    assert shown(added) == ("cds b" if delta else "cds a b")
    warmed = only(talk.request(ENDPOINT, "b"))
    assert talk.ack(added) == []
    assert talk.stream.waiting_for(ROUTE) == {"r": ["b"]}
    assert shown(only(talk.ack(warmed))) == "rds r"


def test_routes_wait_for_endpoints_asked_for_in_a_stale_request() -> None:
    """State of the world: a request too stale to answer still says that the client waits for those endpoints."""
    talk = served(delta=False)
    stale = talk.sent[1].nonce
    moved = only(talk.put(endpoints("a", 2)))
    added = only(talk.put(cluster("b"), endpoints("b"), table("r", "b", version=2)))
    assert talk.send(Request(ENDPOINT, nonce=stale, names=("a", "b"))) == []
    assert talk.ack(added) == []
    talk.names[ENDPOINT].add("b")
    warmed = only(talk.ack(moved))
    assert shown(warmed) == "eds b"
    assert shown(only(talk.ack(warmed))) == "rds r"


@both
def test_routes_wait_for_the_secrets_of_their_clusters(delta: bool) -> None:
    """A cluster whose certificate has not arrived does not take requests yet, so routes to it wait."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b", 1, "s"), secret("s"), table("r", "b", version=2)))
    key = only(talk.request(SECRET, "s"))
    assert talk.ack(added) == []
    assert shown(only(talk.ack(key))) == "rds r"


@both
def test_a_listener_waits_for_the_clusters_it_names(delta: bool) -> None:
    """A listener that names a cluster itself waits for it as routes do."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b"), listener("tcp", clusters=("b",))))
    assert shown(added).startswith("cds")
    assert shown(only(talk.ack(added))) == ("lds tcp" if delta else "lds l tcp")


@both
def test_a_cluster_leaves_after_its_routes(delta: bool) -> None:
    """A replaced cluster stays until the new routes are acknowledged, and for the grace after that."""
    talk = served(delta=delta)
    pushed = talk.change(put=(cluster("b"), table("r", "b", version=2)), drop=(cluster("a"), endpoints("a")))
    routes = only(talk.ack(only(pushed)))
    assert shown(routes) == "rds r"
    assert talk.wait(10 * GRACE) == []
    assert talk.ack(routes) == []
    assert talk.wait(GRACE / 2) == []
    assert shown(only(talk.wait(GRACE / 2))) == ("cds -a" if delta else "cds b")


@both
def test_a_cluster_that_is_needed_again_stays(delta: bool) -> None:
    """A cluster whose routes come back within the grace is not removed."""
    talk = served(delta=delta)
    talk.settle(talk.put(cluster("b")))
    routes = only(talk.change(put=(table("r", "b", version=2),), drop=(cluster("a"), endpoints("a"))))
    talk.ack(routes)
    talk.wait(GRACE / 2)
    back = talk.put(cluster("a"), endpoints("a"), table("r", "a"))
    assert [shown(response) for response in back] == ["rds r"]
    assert talk.settle(back) == ["rds r"]


@both
def test_a_cluster_under_removal_is_not_there(delta: bool) -> None:
    """A cluster that comes back while its removal is under way is sent again before routes to it."""
    talk = served(cluster("b"), delta=delta)
    assert talk.drop(cluster("b")) == []
    removed = only(talk.wait(GRACE))
    assert talk.put(cluster("b"), table("r", "b", version=2)) == []
    added = only(talk.ack(removed))
    assert shown(added) == ("cds b" if delta else "cds a b")
    assert shown(only(talk.ack(added))) == "rds r"


@both
def test_routes_wait_for_a_change_that_is_taken_back(delta: bool) -> None:
    """While another version of a cluster is under way, even the version the client has is not sure."""
    talk = served(delta=delta)
    changed = talk.put(cluster("a", 2))
    assert talk.put(cluster("a"), table("r", "a", version=2)) == []
    back = talk.ack(*changed)
    assert [shown(response) for response in back] == ["cds a", "eds a"]
    assert [shown(response) for response in talk.ack(*back)] == ["rds r"]


@both
def test_what_is_deleted_goes_from_listener_to_endpoints(delta: bool) -> None:
    """When all of an API is deleted, listener, routes, cluster and endpoints go in this order."""
    talk = served(delta=delta)
    order = talk.settle(talk.drop(cluster("a"), endpoints("a"), listener("l", "r"), table("r", "a")))
    assert order == (["lds -l", "rds -r", "cds -a", "eds -a"] if delta else ["lds", "cds"])


@both
def test_a_listener_leaves_with_its_replacement(delta: bool) -> None:
    """A listener that is replaced stays until the new one can be sent, and goes in the same response."""
    talk = served(delta=delta)
    added = only(talk.change(put=(cluster("b"), listener("m", clusters=("b",))), drop=(listener("l", "r"),)))
    assert shown(added).startswith("cds")
    assert shown(only(talk.ack(added))) == ("lds m -l" if delta else "lds m")


@both
def test_a_listener_leaves_though_another_cannot_come(delta: bool) -> None:
    """A new listener whose cluster was refused does not keep a deleted one alive."""
    talk = served(delta=delta)
    added = only(talk.put(cluster("b"), listener("m", clusters=("b",))))
    assert talk.nack(added) == []
    assert talk.settle(talk.drop(listener("l", "r")))[0] == ("lds -l" if delta else "lds")


@both
def test_a_warming_listener_keeps_what_its_predecessor_uses(delta: bool) -> None:
    """While a changed listener waits for its routes, the old one serves: its routes' cluster stays."""
    talk = served(delta=delta)
    changed = talk.change(
        put=(cluster("b"), endpoints("b"), listener("l", "r2", version=2), table("r2", "b")),
        drop=(cluster("a"), endpoints("a"), table("r", "a")),
    )
    added, replaced = changed
    assert [shown(response).split()[0] for response in changed] == ["cds", "lds"]
    warmed = only(talk.request(ENDPOINT, "b"))
    assert talk.ack(added) == []
    talk.names[ROUTE] = {"r", "r2"}
    talk.request(ROUTE, "r2")
    assert talk.ack(replaced) == []
    assert talk.wait(10 * GRACE) == []
    routes = only(talk.ack(warmed))
    assert shown(routes) == "rds r2"
    assert talk.settle([routes])[-1] in ("cds -a", "cds b", "eds -a")


@both
def test_who_does_not_follow_clusters_is_not_kept_waiting(delta: bool) -> None:
    """A client that asks for listener, routes and cluster in this order (gRPC) gets each at once."""
    talk = Talk(cluster("a"), endpoints("a"), listener("l", "r"), table("r", "a"), delta=delta)
    wanted = ((LISTENER, "l"), (ROUTE, "r"), (CLUSTER, "a"), (ENDPOINT, "a"))
    assert talk.sync(*wanted) == ["lds l", "rds r", "cds a", "eds a"]
    assert talk.settle(talk.put(cluster("b"), table("r", "b", version=2))) == ["rds r"]
    assert talk.sync((CLUSTER, "b")) == ["cds b" if delta else "cds a b"]


@both
def test_a_stream_of_one_type_waits_for_no_other(delta: bool) -> None:
    """Separate services know nothing of each other: routes and removals travel at once."""
    routes = Talk(table("r", "a"), delta=delta, types=[ROUTE])
    assert routes.sync((ROUTE, "r")) == ["rds r"]
    assert routes.settle(routes.put(table("r", "b"), cluster("b"))) == ["rds r"]
    clusters = Talk(cluster("a"), table("r", "a"), delta=delta, types=[CLUSTER])
    clusters.sync((CLUSTER,))
    assert clusters.settle(clusters.drop(cluster("a"), table("r", "a"))) == ["cds -a" if delta else "cds"]


@both
def test_secrets_leave_after_whoever_names_them(delta: bool) -> None:
    """A secret is removed when the cluster that named it is acknowledged without it."""
    talk = Talk(cluster("a", 1, "s"), secret("s"), delta=delta)
    talk.sync((CLUSTER,), (SECRET, "s"))
    pushed = only(talk.change(put=(cluster("a", 2),), drop=(secret("s"),)))
    assert shown(pushed) == "cds a"
    assert [shown(response) for response in talk.ack(pushed)] == (["sds -s"] if delta else [])
