"""Tokens, teams, and who may do what."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from headgate.controlplane.tenancy.principal import SCOPES
from headgate.testing.controlplane import running_control_plane
from headgate.testing.envoy import eventually
from tests.controlplane.native.samples import cluster

pytestmark = pytest.mark.asyncio(loop_scope="session")

NATIVE = "/api/v1/native"


@pytest_asyncio.fixture(loop_scope="session")
async def holder(running, team):
    """Makes a client whose token has these scopes, in the team unless another (or None) is given."""
    clients = []

    async def make(*scopes: str, of: str | None = team):
        body = {"name": "holder", "team": of, "scopes": list(scopes)}
        answer = await running.client.post("/api/v1/tokens", json=body)
        assert answer.status_code == 201, answer.text
        clients.append(running.client_for(answer.json()["token"]))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def test_the_secret_of_a_token_is_told_once(running, team):
    """POST answers with the secret, uncached; no list and no reading shows it again."""
    answer = await running.client.post("/api/v1/tokens", json={"name": "ci", "team": team, "scopes": ["*:read"]})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made["token"].startswith("hg_")
    assert (made["name"], made["team"], made["scopes"], made["created_by"]) == ("ci", team, ["*:read"], "admin")
    shown = await running.client.get(answer.headers["location"])
    listed = await running.client.get("/api/v1/tokens", params={"team": team})
    assert made["token"] not in shown.text + listed.text
    assert shown.json() == {key: value for key, value in made.items() if key != "token"}
    assert listed.json()["items"] == [shown.json()]


async def test_a_revoked_token_opens_nothing(running, team, holder):
    """DELETE revokes from then on, says when, and may be repeated."""
    client = await holder("*:read")
    token_id = (await client.get("/api/v1/whoami")).json()["token_id"]
    revoked = await running.client.delete(f"/api/v1/tokens/{token_id}")
    assert (revoked.status_code, bool(revoked.json()["revoked_at"])) == (200, True)
    assert (await running.client.delete(f"/api/v1/tokens/{token_id}")).json() == revoked.json()
    refused = await client.get("/api/v1/whoami")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")


async def test_a_token_may_expire(running):
    """`expires_in_s` and `expires_at` bound a token's life; the past and both together are refused."""
    base = {"name": "short", "scopes": ["*:read"]}
    soon = (await running.client.post("/api/v1/tokens", json={**base, "expires_in_s": 3600})).json()["expires_at"]
    assert timedelta(minutes=59) < datetime.fromisoformat(soon) - datetime.now(UTC) < timedelta(minutes=61)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await running.client.post("/api/v1/tokens", json={**base, "expires_at": later})).status_code == 201
    for wrong in (
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": later, "expires_in_s": 5},
        {"expires_in_s": 0},
    ):
        assert (await running.client.post("/api/v1/tokens", json={**base, **wrong})).status_code == 400


async def test_a_mistyped_scope_names_the_nearest(running):
    """A scope that does not exist is refused with a pointer and the one that was probably meant."""
    answer = await running.client.post("/api/v1/tokens", json={"name": "x", "scopes": ["*:read", "cluster:write"]})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (400, "/scopes/1")
    assert "clusters:write" in error["hint"]


async def test_nobody_grants_more_than_they_hold(holder, team):
    """A token cannot make one with more scopes, of another team, or of no team."""
    client = await holder("tokens:write", "clusters:read")
    for body in (
        {"name": "x", "scopes": ["clusters:write"]},
        {"name": "x", "scopes": ["*"]},
        {"name": "x", "scopes": ["clusters:read"], "team": None},
        {"name": "x", "scopes": ["clusters:read"], "team": "default"},
    ):
        answer = await client.post("/api/v1/tokens", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "grant_exceeds_holder"), body
    allowed = await client.post("/api/v1/tokens", json={"name": "x", "scopes": ["clusters:read"]})
    assert (allowed.status_code, allowed.json()["team"]) == (201, team)


async def test_tokens_of_others_are_out_of_sight(running, holder, team):
    """A team's token lists, reads and revokes its team's tokens only; the admin's do not exist for it."""
    client = await holder("tokens:read", "tokens:write")
    admin_id = (await running.client.get("/api/v1/whoami")).json()["token_id"]
    assert {item["team"] for item in (await client.get("/api/v1/tokens")).json()["items"]} == {team}
    for answer in (await client.get(f"/api/v1/tokens/{admin_id}"), await client.delete(f"/api/v1/tokens/{admin_id}")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await running.client.get("/api/v1/whoami")).status_code == 200


async def test_who_am_i(holder, team, running):
    """Any valid token may ask whose it is."""
    client = await holder("audit:read")
    assert (await client.get("/api/v1/whoami")).json() | {"token_id": ""} == {
        "token_id": "", "name": "holder", "team": team, "scopes": ["audit:read"],
    }  # fmt: skip
    assert (await running.client.get("/api/v1/whoami")).json()["team"] is None


async def test_teams_are_made_listed_and_read(running):
    """POST makes a team at revision 0; a name that is taken or none is refused."""
    answer = await running.client.post("/api/v1/teams", json={"name": "payments"})
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/v1/teams/payments")
    assert (answer.json()["name"], answer.json()["revision"]) == ("payments", 0)
    assert (await running.client.get("/api/v1/teams/payments")).json() == answer.json()
    assert (await running.client.post("/api/v1/teams", json={"name": "payments"})).status_code == 409
    assert (await running.client.post("/api/v1/teams", json={"name": "No Team"})).status_code == 400
    assert (await running.client.get("/api/v1/teams/nope")).json()["code"] == "unknown_team"
    names, cursor = [], ""
    while True:
        found = (await running.client.get("/api/v1/teams", params={"limit": 2, "cursor": cursor})).json()
        names += [item["name"] for item in found["items"]]
        cursor = found["next_cursor"]
        if not cursor:
            break
    assert names == sorted(names)
    assert {"default", "payments"} <= set(names)


async def test_a_teams_token_sees_its_team_only(holder, team):
    """A team's token does not learn of other teams, and cannot make any."""
    client = await holder("teams:read", "teams:write", "*:read")
    assert [item["name"] for item in (await client.get("/api/v1/teams")).json()["items"]] == [team]
    assert (await client.get("/api/v1/teams/default")).status_code == 404
    answer = await client.post("/api/v1/teams", json={"name": "mine-too"})
    assert (answer.status_code, answer.json()["code"]) == (403, "team_token")


@pytest.mark.parametrize("how", [{"params": {"team": "default"}}, {"headers": {"x-headgate-team": "default"}}])
async def test_a_foreign_team_is_404(holder, how):
    """Naming another team than the token's is as if there were none: for reads, writes and scopeless calls."""
    client = await holder("*")
    for answer in (
        await client.get(f"{NATIVE}/clusters", **how),
        await client.put(f"{NATIVE}/clusters/c", json=cluster(), **how),
        await client.get("/api/v1/whoami", **how),
        await client.post(f"{NATIVE}/changes", json={"changes": []}, **how),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_team")


async def test_an_unknown_team_is_404_for_everybody(running):
    """A token of no team, too, gets 404 for a team that is not there."""
    answer = await running.client.get(f"{NATIVE}/clusters", params={"team": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_team")


async def test_two_names_for_the_team_must_agree(running):
    """Query and header may both name the team, but not two teams."""
    headers = {"x-headgate-team": "default"}
    assert (await running.client.get(f"{NATIVE}/clusters?team=default", headers=headers)).status_code == 200
    answer = await running.client.get(f"{NATIVE}/clusters?team=other", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_team")


async def test_without_a_name_the_tokens_team_is_meant(holder, team, running):
    """A team's token acts on its team, a token of no team on `default`."""
    client = await holder("*")
    assert (await client.put(f"{NATIVE}/clusters/c", json=cluster())).json()["team"] == team
    assert (await running.client.put(f"{NATIVE}/clusters/c", json=cluster())).json()["team"] == "default"
    await running.client.delete(f"{NATIVE}/clusters/c")


OPERATIONS = {
    "clusters:read": ("GET", f"{NATIVE}/clusters", None),
    "clusters:write": ("PUT", f"{NATIVE}/clusters/c", cluster()),
    "route-configs:read": ("GET", f"{NATIVE}/route-configs", None),
    "route-configs:write": ("PUT", f"{NATIVE}/route-configs/r", {}),
    "listeners:read": ("GET", f"{NATIVE}/listeners", None),
    "listeners:write": ("PUT", f"{NATIVE}/listeners/l?dry_run=true", {"port": 1, "filter_chains": []}),
    "secrets:read": ("GET", f"{NATIVE}/secrets", None),
    "secrets:write": ("PUT", f"{NATIVE}/secrets/s", {}),
    "dataplanes:read": ("GET", f"{NATIVE}/dataplanes", None),
    "dataplanes:write": ("DELETE", f"{NATIVE}/dataplanes/none", None),
    "revisions:read": ("GET", f"{NATIVE}/revisions", None),
    "revisions:write": ("POST", f"{NATIVE}/revisions/77/restore", None),
    "audit:read": ("GET", f"{NATIVE}/audit", None),
    "metrics:read": ("GET", "/metrics", None),
    "teams:read": ("GET", "/api/v1/teams", None),
    "tokens:read": ("GET", "/api/v1/tokens", None),
    "tokens:write": ("DELETE", "/api/v1/tokens/none", None),
}


async def test_each_scope_opens_its_own_door_only(holder):
    """With one scope, the operations of that scope are let through and all others are 403 with the scope named."""
    for scope in OPERATIONS:
        client = await holder(scope)
        for needed, (method, path, body) in OPERATIONS.items():
            answer = await client.request(method, path, json=body)
            if needed == scope:
                assert answer.status_code not in {401, 403}, (scope, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), (scope, needed)
                assert needed in answer.json()["detail"]


async def test_wide_scopes_open_many_doors(holder):
    """`*:read` opens every read and no write, `*:write` the reverse, `*` all."""
    for scope in ("*:read", "*:write", "*"):
        client = await holder(scope)
        for needed, (method, path, body) in OPERATIONS.items():
            answer = await client.request(method, path, json=body)
            allowed = scope == "*" or needed.endswith(scope.removeprefix("*"))
            assert (answer.status_code == 403) is not allowed, (scope, needed, answer.text)


async def test_every_scope_is_of_use():
    """There is an operation for every scope that can be granted, but for the making of teams, which no team may."""
    assert {scope for scope in SCOPES if "*" not in scope} - set(OPERATIONS) == {"audit:write", "teams:write"}


async def test_changes_need_the_scope_of_each_kind(holder):
    """Several changes need the write scope of every kind among them, whatever their order."""
    client = await holder("clusters:write")
    changes = [
        {"operation": "put", "kind": "cluster", "name": "c", "spec": cluster()},
        {"operation": "put", "kind": "route_config", "name": "r", "spec": {}},
    ]
    answer = await client.post(f"{NATIVE}/changes", json={"changes": changes})
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert "route-configs:write" in answer.json()["detail"]
    assert (await client.post(f"{NATIVE}/changes", json={"changes": changes[:1]})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Basic aGc6eA=="},
        {"authorization": "Bearer hg_not-a-token"},
        {"authorization": f"Bearer hg_{'A' * 43}"},
        {"authorization": f"Bearer {'x' * 5000}"},
        {"authorization": "Bearer \u00e9".encode("latin-1")},
    ],
)
async def test_without_a_valid_token_it_is_401(running, headers):
    """No token, half a token, another scheme, an unknown token: 401 with a hint, even for what is not there."""
    async with running.client_for(None) as client:
        for path in (f"{NATIVE}/clusters", "/api/v1/whoami", "/metrics", "/nothing/here", "/"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["hint"]


async def test_two_authorization_headers_are_refused(running):
    """Which of two tokens counts is not guessed."""
    async with running.client_for(None) as client:
        both = [("authorization", f"Bearer {running.token}"), ("authorization", "Bearer hg_x")]
        assert (await client.get("/api/v1/whoami", headers=both)).status_code == 401


async def test_refusals_are_in_the_audit_trail(tmp_path):
    """A token that is not known and a scope that is missing are noted, without the token."""
    # A control plane of its own: it keeps only so many refusals a minute.
    async with running_control_plane(tmp_path) as running:
        body = {"name": "auditor", "scopes": ["audit:read"]}
        auditor = (await running.client.post("/api/v1/tokens", json=body)).json()["token"]
        for token in (auditor, f"hg_{'B' * 43}"):
            async with running.client_for(token) as client:
                assert (await client.get(f"{NATIVE}/clusters")).status_code in (401, 403)
        for action in ("authorise", "authenticate"):

            async def entries(action=action):
                return (await running.client.get(f"{NATIVE}/audit", params={"action": action})).json()["items"]

            await eventually(entries, 10.0, f"no entry for {action}")
            (entry,) = await entries()
            assert (entry["outcome"], entry["target"]) == ("refused", f"GET {NATIVE}/clusters")
            assert "hg_" not in str(entry)


async def test_a_metric_reader_needs_a_reading_token(running, holder):
    """`/metrics` takes a token that may read them, or everything, and no other."""
    for scope in ("metrics:read", "*:read"):
        assert (await (await holder(scope)).get("/metrics")).status_code == 200
    refused = await (await holder("clusters:read")).get("/metrics")
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")


async def test_probes_and_documentation_are_public(running):
    """Health, readiness and the documentation answer without a token."""
    async with running.client_for(None) as client:
        for path in ("/health", "/ready", "/swagger-ui", "/swagger-ui/start.js", "/openapi.json"):
            assert (await client.get(path)).status_code == 200, path
