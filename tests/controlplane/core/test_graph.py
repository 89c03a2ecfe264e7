"""Whatever is named must be there; whatever is named must stay."""

from typing import Any

import pytest

from headgate.controlplane.core.changes import Change
from headgate.controlplane.core.resources import Resources
from headgate.kit.controls.faults import AlreadyExists, FailedPrecondition
from tests.controlplane.core.conftest import Pair
from tests.controlplane.core.documents import ME, TEAM, cluster, listener, route, route_config, world

UPSTREAM = {"sni": "a.example", "verify": "secret", "ca_secret": "s"}
WEIGHTED = {"weighted_clusters": [{"cluster": "a", "weight": 1}, {"cluster": "ghost", "weight": 1}]}


def _tls(**fields: Any) -> dict[str, Any]:
    return {"filter_chains": [{"name": "x", "tcp": {"cluster": "a"}, "tls": fields}]}


DANGLING: list[tuple[Change, str]] = [
    (Change("put", "cluster", "x", cluster(tls=UPSTREAM)), "/tls/ca_secret"),
    (
        Change("put", "cluster", "x", cluster(tls={"sni": "a.example", "client_certificate_secret": "s"})),
        "/tls/client_certificate_secret",
    ),
    (Change("put", "route", "gw/default/x", route("x", to="ghost")), "/forward/cluster"),
    (
        Change("put", "route", "gw/default/x", {**route("x"), "forward": WEIGHTED}),
        "/forward/weighted_clusters/1/cluster",
    ),
    (
        Change(
            "put", "route", "gw/default/x", {**route("x"), "forward": {"cluster": "a", "mirrors": [{"cluster": "g"}]}}
        ),
        "/forward/mirrors/0/cluster",
    ),
    (
        Change("put", "route_config", "gw", route_config([route("r0"), route("r1", to="ghost")])),
        "/virtual_hosts/0/routes/1/forward/cluster",
    ),
    (Change("put", "listener", "x", listener(1, config="ghost")), "/filter_chains/0/http/route_config"),
    (
        Change("put", "listener", "x", {"port": 1, "filter_chains": [{"name": "x", "tcp": {"cluster": "ghost"}}]}),
        "/filter_chains/0/tcp/cluster",
    ),
    (
        Change("put", "listener", "x", {"port": 1, "filter_chains": [{"name": "x", "tcp": WEIGHTED}]}),
        "/filter_chains/0/tcp/weighted_clusters/1/cluster",
    ),
    (
        Change("put", "listener", "x", {"port": 1, **_tls(certificate_secrets=["s"])}),
        "/filter_chains/0/tls/certificate_secrets/0",
    ),
]


@pytest.mark.parametrize(("change", "pointer"), DANGLING, ids=[pointer for _, pointer in DANGLING])
async def test_a_dangling_name_is_refused_where_it_stands(resources: Resources, change: Change, pointer: str) -> None:
    """Every field that names a resource is checked, and the answer points at it."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(ME, TEAM, [change])
    assert refused.value.code == "unknown_reference"
    assert [violation.pointer for violation in refused.value.violations] == [pointer]
    assert (await resources.revisions(TEAM)).total == 1


async def test_pointers_of_a_batch_start_with_the_change(resources: Resources) -> None:
    """Among several changes the pointer says which one is meant."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(
            ME,
            TEAM,
            [Change("put", "cluster", "b", cluster()), Change("put", "route", "gw/default/x", route("x", to="ghost"))],
        )
    assert refused.value.violations[0].pointer == "/1/forward/cluster"


@pytest.mark.parametrize(("kind", "name"), [("cluster", "a"), ("route_config", "gw")])
async def test_what_is_in_use_stays(resources: Resources, kind: Any, name: str) -> None:
    """Deleting what others name is refused, and the answer names them."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(ME, TEAM, [Change("delete", kind, name)])
    assert refused.value.code == "in_use"
    assert ("route 'gw/default/r0'" if kind == "cluster" else "listener 'l'") in refused.value.message


async def test_a_secret_in_use_stays(resources: Resources, pair: Pair) -> None:
    """A secret cannot go while a cluster or a listener names it."""
    await resources.apply(
        ME,
        TEAM,
        [
            Change("put", "secret", "s", pair.ca()),
            Change("put", "secret", "t", pair.tls()),
            Change("put", "cluster", "a", cluster(tls=UPSTREAM)),
            Change("put", "listener", "l", {"port": 1, **_tls(certificate_secrets=["t"], client_ca_secret="s")}),
        ],
    )
    for name in ("s", "t"):
        with pytest.raises(FailedPrecondition) as refused:
            await resources.apply(ME, TEAM, [Change("delete", "secret", name)])
        assert refused.value.code == "in_use"


async def test_what_used_it_may_go_along(resources: Resources) -> None:
    """A cluster can be deleted in the same change that frees it, in whatever order it is written."""
    await resources.apply(ME, TEAM, [*world(), Change("create", "cluster", "b", cluster())])
    moved = [Change("patch", "route", f"gw/default/r{n}", {"forward": {"cluster": "b"}}) for n in range(3)]
    await resources.apply(ME, TEAM, [Change("delete", "cluster", "a"), *moved])
    gone = [Change("delete", "cluster", "b"), Change("delete", "route_config", "gw"), Change("delete", "listener", "l")]
    await resources.apply(ME, TEAM, gone)
    assert (await resources.list(TEAM, "cluster")).total == 0


async def test_a_change_cannot_name_what_it_deletes(resources: Resources) -> None:
    """A row written in the change that deletes what it names is refused at its own pointer."""
    await resources.apply(ME, TEAM, [Change("create", "cluster", "b", cluster()), *world()])
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(
            ME,
            TEAM,
            [
                Change("delete", "cluster", "b"),
                Change("patch", "route", "gw/default/r0", {"forward": {"cluster": "b"}}),
            ],
        )
    assert (refused.value.code, refused.value.violations[0].pointer) == ("unknown_reference", "/1/forward/cluster")


async def test_a_row_written_unchanged_still_holds_what_it_names(resources: Resources) -> None:
    """Writing a route again as it is does not free its cluster."""
    await resources.apply(ME, TEAM, world())
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(
            ME, TEAM, [Change("put", "route", "gw/default/r0", route("r0")), Change("delete", "cluster", "a")]
        )
    assert refused.value.code == "in_use"


async def test_a_secret_of_the_wrong_type_is_refused(resources: Resources, pair: Pair) -> None:
    """Where a certificate is needed, authorities do not do, and the other way round."""
    await resources.apply(
        ME, TEAM, [*world(), Change("put", "secret", "s", pair.tls()), Change("put", "secret", "ca", pair.ca())]
    )
    for change, pointer in (
        (Change("put", "cluster", "x", cluster(tls=UPSTREAM)), "/tls/ca_secret"),
        (
            Change("put", "listener", "x", {"port": 1, **_tls(certificate_secrets=["s", "ca"])}),
            "/filter_chains/0/tls/certificate_secrets/1",
        ),
    ):
        with pytest.raises(FailedPrecondition) as refused:
            await resources.apply(ME, TEAM, [change])
        assert refused.value.code == "wrong_secret_type"
        assert [violation.pointer for violation in refused.value.violations] == [pointer]


async def test_a_secret_in_use_keeps_its_type(resources: Resources, pair: Pair) -> None:
    """A secret's content may be renewed under whoever names it; its type may not."""
    await resources.apply(
        ME, TEAM, [Change("put", "secret", "s", pair.ca()), Change("put", "cluster", "a", cluster(tls=UPSTREAM))]
    )
    with pytest.raises(FailedPrecondition) as refused:
        await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])
    assert refused.value.code == "in_use"
    await resources.apply(ME, TEAM, [Change("patch", "cluster", "a", {"tls": None})])
    await resources.apply(ME, TEAM, [Change("put", "secret", "s", pair.tls())])


async def test_a_port_is_served_once(resources: Resources) -> None:
    """Two listeners of a team cannot have one address and port; another address, or a swap, is fine."""
    await resources.apply(ME, TEAM, world())
    for same in (listener(10000), listener(10000, address="127.0.0.1")):
        with pytest.raises(AlreadyExists) as refused:
            await resources.apply(ME, TEAM, [Change("put", "listener", "m", same)])
        assert (refused.value.code, refused.value.violations[0].pointer) == ("port_in_use", "/port")
    await resources.apply(ME, TEAM, [Change("put", "listener", "m", listener(10000, address="127.0.0.2"))])
    await resources.apply(ME, TEAM, [Change("put", "listener", "six", listener(10000, address="::1"))])
    with pytest.raises(AlreadyExists):
        await resources.apply(ME, TEAM, [Change("put", "listener", "seven", listener(10000, address="0:0::0:1"))])
    await resources.apply(ME, TEAM, [Change("put", "listener", "n", listener(10001))])
    swap = [Change("put", "listener", "l", listener(10001)), Change("put", "listener", "n", listener(10000))]
    await resources.apply(ME, TEAM, swap)
    with pytest.raises(AlreadyExists):
        await resources.apply(
            ME, TEAM, [Change("put", "listener", "p", listener(9)), Change("put", "listener", "q", listener(9))]
        )
