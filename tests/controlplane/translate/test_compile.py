"""The compiler: the same rows, the same bytes, whatever the order; one bad row harms nobody."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.controlplane.model.rows import Row, RowChange, explode
from headgate.controlplane.translate import wire
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPES
from headgate.controlplane.translate.tree import decoded
from tests.controlplane.translate import documents

CA = "-----BEGIN CERTIFICATE-----\nplaceholder\n-----END CERTIFICATE-----\n"


def created(*rows):
    """Changes that create the rows."""
    return [RowChange(None, row) for row in rows]


def rows_of(config, document, gap=1):
    """The rows of a route config's document."""
    shell, routes = explode(config, document)
    return [
        Row("route_config", config, shell),
        *(Row("route", name, spec, position=index * gap) for index, (name, spec) in enumerate(routes)),
    ]


def compiled(*rows, team="team"):
    """The snapshot of the rows, compiled at once."""
    compiler = TeamCompiler(team, system_ca=CA)
    return compiler.apply(created(*rows), 1)


def content(snapshot):
    """Everything a client could tell two snapshots apart by, in order."""
    return [
        (type_url, name, each.version, each.body, each.refs, each.source)
        for type_url in TYPES
        for name, each in snapshot.resources[type_url].items()
    ]


@st.composite
def teams(draw):
    """All rows of a team."""
    rows = [
        Row("cluster", f"c{index}", spec) for index, spec in enumerate(draw(st.lists(documents.clusters(), max_size=3)))
    ]
    rows += [
        Row("listener", f"l{index}", spec)
        for index, spec in enumerate(draw(st.lists(documents.listeners(), max_size=2)))
    ]
    for index, document in enumerate(draw(st.lists(documents.route_configs(), max_size=2))):
        rows += rows_of(f"rc{index}", document)
    return rows


some = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@some
@given(teams(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_of_arrival_does_not_matter(rows, random, batch):
    """Rows in any order and in any batches lead to the same resources as all at once."""
    shuffled = random.sample(rows, len(rows))
    compiler = TeamCompiler("team", system_ca=CA)
    snapshot = compiler.apply([], 0)
    for start in range(0, len(shuffled), batch):
        snapshot = compiler.apply(created(*shuffled[start : start + batch]), start)
    assert content(snapshot) == content(compiled(*rows))
    assert snapshot.problems == ()


@some
@given(teams(), teams(), st.randoms(use_true_random=False))
def test_incremental_equals_from_scratch(before, after, random):
    """From one state to any other, changed rows only, the compiler ends where a fresh one starts."""
    old, new = ({(row.kind, row.name): row for row in rows} for rows in (before, after))
    changes = [RowChange(old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)]
    compiler = TeamCompiler("team", system_ca=CA)
    compiler.apply(created(*before), 1)
    random.shuffle(changes)
    gone = [change for change in changes if change.after is None]
    snapshot = compiler.apply([*gone, *(change for change in changes if change.after)], 2)
    assert content(snapshot) == content(compiled(*after))


@some
@given(documents.route_configs())
def test_the_pieces_make_the_whole(document):
    """The concatenated encoding is the encoding of the whole message."""
    snapshot = compiled(*rows_of("rc", document))
    (resource,) = snapshot.resources[ROUTE].values()
    whole = decoded(ROUTE, resource.body)
    assert [host.name for host in whole.virtual_hosts] == [host["name"] for host in document["virtual_hosts"]]
    for host, wanted in zip(whole.virtual_hosts, document["virtual_hosts"], strict=True):
        assert [each.name for each in host.routes] == [each["name"] for each in wanted["routes"]]
    assert len(wire.encode(whole)) == len(resource.body)


ENDPOINTS = {"endpoints": [{"address": "192.0.2.1", "port": 80}]}
CONFIG = {
    "virtual_hosts": [
        {
            "name": "all",
            "domains": ["*"],
            "routes": [
                {"name": name, "match": {"path": {"prefix": f"/{name}"}}, "forward": {"cluster": "c"}}
                for name in ("one", "two", "three")
            ],
        }
    ]
}
LISTENER_DOCUMENT = {
    "port": 10_000,
    "filter_chains": [
        {
            "name": "http",
            "http": {"route_config": "rc"},
            "tls": {"certificate_secrets": ["cert"], "client_ca_secret": "ca"},
        },
        {"name": "tcp", "server_names": ["db.example"], "tcp": {"weighted_clusters": [{"cluster": "c", "weight": 1}]}},
    ],
}


def test_resources_name_what_they_refer_to():
    """Refs hold route configs, clusters and secrets of listeners, clusters of routes, secrets of clusters."""
    tls = {"sni": "a.example", "client_certificate_secret": "cert"}
    snapshot = compiled(
        Row("cluster", "c", {**ENDPOINTS, "tls": tls}), *rows_of("rc", CONFIG), Row("listener", "l", LISTENER_DOCUMENT)
    )
    assert snapshot.resources[LISTENER]["team/l"].refs == {
        (ROUTE, "team/rc"), (CLUSTER, "team/c"), (SECRET, "team/cert"), (SECRET, "team/ca"),
    }  # fmt: skip
    assert snapshot.resources[ROUTE]["team/rc"].refs == {(CLUSTER, "team/c")}
    assert snapshot.resources[CLUSTER]["team/c"].refs == {(SECRET, "team/cert"), (SECRET, "team/_system-ca")}
    assert snapshot.resources[ENDPOINT]["team/c"].refs == frozenset()
    assert snapshot.resources[ENDPOINT]["team/c"].source == ("cluster", "c")


def test_the_system_authorities_come_only_when_somebody_trusts_them():
    """The built-in secret is in the snapshot exactly as long as a cluster refers to it."""
    compiler = TeamCompiler("team", system_ca=CA)
    plain, trusting = Row("cluster", "c", ENDPOINTS), Row("cluster", "c", {**ENDPOINTS, "tls": {"sni": "a.example"}})
    assert not compiler.apply(created(plain), 1).resources[SECRET]
    secrets = compiler.apply([RowChange(plain, trusting)], 2).resources[SECRET]
    assert list(secrets) == ["team/_system-ca"]
    assert CA.encode() in secrets["team/_system-ca"].body
    assert not compiler.apply([RowChange(trusting, plain)], 3).resources[SECRET]


def test_endpoints_look_new_whenever_their_cluster_is():
    """The endpoint resource's version covers its cluster, though its bytes do not change."""
    first = compiled(Row("cluster", "c", ENDPOINTS)).resources[ENDPOINT]["team/c"]
    second = compiled(Row("cluster", "c", {**ENDPOINTS, "connect_timeout_ms": 9})).resources[ENDPOINT]["team/c"]
    assert first.body == second.body
    assert first.version != second.version


def test_dns_clusters_have_no_endpoint_resource():
    """A cluster that turns to DNS takes its endpoints along."""
    compiler = TeamCompiler("team", system_ca=CA)
    static = Row("cluster", "c", ENDPOINTS)
    dns = Row("cluster", "c", {"discovery": "strict_dns", "endpoints": [{"address": "a.example", "port": 80}]})
    compiler.apply(created(static), 1)
    snapshot = compiler.apply([RowChange(static, dns)], 2)
    assert not snapshot.resources[ENDPOINT]
    assert list(snapshot.resources[CLUSTER]) == ["team/c"]


def test_what_did_not_change_stays_the_same_object():
    """An edit of one route leaves every other resource, and every other type's mapping, as it was."""
    compiler = TeamCompiler("team", system_ca=CA)
    rows = rows_of("rc", CONFIG)
    before = compiler.apply(created(Row("cluster", "c", ENDPOINTS), *rows, *rows_of("other", CONFIG)), 1)
    edited = Row("route", rows[1].name, {**rows[1].spec, "request_headers": {"remove": ["x-a"]}}, rows[1].position)
    after = compiler.apply([RowChange(rows[1], edited)], 2)
    assert after.resources[CLUSTER] is before.resources[CLUSTER]
    assert after.resources[ROUTE]["team/other"] is before.resources[ROUTE]["team/other"]
    assert after.resources[ROUTE]["team/rc"].version != before.resources[ROUTE]["team/rc"].version


def test_a_change_without_effect_keeps_the_resource():
    """A default that is spelled out changes nothing for Envoy, and nothing is sent."""
    compiler = TeamCompiler("team", system_ca=CA)
    row = Row("cluster", "c", ENDPOINTS)
    before = compiler.apply(created(row), 1)
    after = compiler.apply([RowChange(row, Row("cluster", "c", {**ENDPOINTS, "protocol": "http1"}))], 2)
    assert after.resources[CLUSTER]["team/c"] is before.resources[CLUSTER]["team/c"]
    assert after.revision == 2


def test_routes_follow_their_positions():
    """A moved route moves; ties are broken by name."""
    rows = rows_of("rc", CONFIG)
    moved = Row("route", rows[1].name, rows[1].spec, position=99)
    tied = Row("route", rows[2].name, rows[2].spec, position=99)
    compiler = TeamCompiler("team", system_ca=CA)
    compiler.apply(created(*rows), 1)
    snapshot = compiler.apply([RowChange(rows[1], moved), RowChange(rows[2], tied)], 2)
    (resource,) = snapshot.resources[ROUTE].values()
    assert [each.name for each in decoded(ROUTE, resource.body).virtual_hosts[0].routes] == ["three", "one", "two"]


def test_a_row_that_cannot_be_translated_keeps_its_last_good_resource():
    """The rest of the team goes on, the problem is named, and goes away when the row is mended."""
    compiler = TeamCompiler("team", system_ca=CA)
    good, other = Row("cluster", "c", ENDPOINTS), Row("cluster", "d", ENDPOINTS)
    before = compiler.apply(created(good), 1)
    bad = Row("cluster", "c", {"endpoints": "of an older version"})
    after = compiler.apply([RowChange(good, bad), RowChange(None, other)], 2)
    assert after.resources[CLUSTER]["team/c"] is before.resources[CLUSTER]["team/c"]
    assert "team/d" in after.resources[CLUSTER]
    assert [(problem.kind, problem.name) for problem in after.problems] == [("cluster", "c")]
    assert "endpoints" in after.problems[0].message
    assert compiler.apply([RowChange(bad, good)], 3).problems == ()


def test_a_route_that_cannot_be_translated_keeps_its_last_good_form():
    """A broken route does not take its route config along; when the config goes, so does the problem."""
    compiler = TeamCompiler("team", system_ca=CA)
    rows = rows_of("rc", CONFIG)
    before = compiler.apply(created(*rows), 1)
    bad = Row("route", rows[1].name, {"name": "one"}, rows[1].position)
    new = Row("route", "rc/all/new", {"name": "new"}, 100)
    after = compiler.apply([RowChange(rows[1], bad), RowChange(None, new)], 2)
    assert after.resources[ROUTE]["team/rc"].body == before.resources[ROUTE]["team/rc"].body
    assert [problem.name for problem in after.problems] == ["rc/all/new", "rc/all/one"]
    gone = compiler.apply([RowChange(rows[0], None)], 3)
    assert not gone.resources[ROUTE]
    assert gone.problems == ()


def test_a_secrets_problem_does_not_quote_the_secret():
    """What is wrong with a secret is told without any of it."""
    compiler = TeamCompiler("team", system_ca=CA)
    broken = Row("secret", "s", {"tls_certificate": {"certificate_chain": "hush", "private_key": "hush"}})
    (problem,) = compiler.apply(created(broken), 1).problems
    assert "hush" not in problem.message


def test_everything_can_be_taken_away_again():
    """A team whose rows are all deleted has nothing left."""
    rows = [Row("cluster", "c", ENDPOINTS), *rows_of("rc", CONFIG), Row("listener", "l", LISTENER_DOCUMENT)]
    compiler = TeamCompiler("team", system_ca=CA)
    compiler.apply(created(*rows), 1)
    snapshot = compiler.apply([RowChange(row, None) for row in rows], 2)
    assert content(snapshot) == []
