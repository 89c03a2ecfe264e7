"""Tokens, teams and dataplanes, against a real control plane."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from click.testing import CliRunner

from headgate.cli.root import cli
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.store.store import Store
from headgate.testing.envoy import require_envoy  # noqa: F401 - the module must import without a running Envoy
from tests.cli.test_status import page


def test_token_is_shown_once(plane, headgate, monkeypatch):
    """The token goes to standard output alone, works, and stops working when revoked."""
    made = headgate("token", "create", "ci", "--scope", "clusters:read", "--expires-in", "90d")
    token = made.out.strip()
    assert token.startswith("hg_")
    assert token not in made.err
    listed = json.loads(headgate("-o", "json", "token", "list").out)["items"]
    (entry,) = [one for one in listed if one["name"] == "ci"]
    assert token not in json.dumps(listed)
    monkeypatch.setenv("HEADGATE_TOKEN", token)
    assert headgate("get", "clusters").code == 0
    refused = headgate("get", "listeners")
    assert (refused.code, "listeners:read" in refused.err) == (3, True)
    monkeypatch.setenv("HEADGATE_TOKEN", plane.token)
    assert headgate("token", "revoke", entry["id"], "--yes").code == 0
    assert "revoked" in headgate("token", "list").out
    monkeypatch.setenv("HEADGATE_TOKEN", token)
    assert headgate("get", "clusters").code == 3


def test_tokens_say_how_long_they_are_good(headgate, api):
    """The list says of each token whether it is valid, for how long, or that it expired or was revoked."""

    def token(name, *, expires_s=None, revoked_at=None):
        expires_at = expires_s and (datetime.now(UTC) + timedelta(seconds=expires_s)).isoformat()
        dates = {"expires_at": expires_at, "revoked_at": revoked_at, "last_used_at": None, "created_at": None}
        return {"id": name, "name": name, "scopes": ["*"], "team": None, "created_by": "admin", **dates}

    api.answers["GET /api/v1/tokens"] = page(
        token("forever"),
        token("later", expires_s=90 * 86_400),
        token("past", expires_s=-1),
        token("gone", expires_s=3600, revoked_at="2026-01-01T00:00:00Z"),
    )
    table = headgate("token", "list").out
    states = {line.split("  ")[0]: line for line in table.splitlines()}
    for name, state in {"forever": "valid", "later": "valid for 90 d", "past": "expired", "gone": "revoked"}.items():
        assert re.search(rf"every team +{state} +never", states[name]), table


def test_revoking_by_name(plane, headgate):
    """A token is revoked by its id; whoever gives something else is told where the ids are."""
    result = headgate("token", "revoke", "ci", "--yes")
    assert (result.code, "hint: `headgate token list` shows the ids" in result.err) == (3, True)


@pytest.mark.parametrize("time", ["90", "d", "-1d", "0d", "1y"])
def test_bad_expiry(plane, headgate, time):
    """A time without a unit is wrong usage."""
    assert headgate("token", "create", "x", "--scope", "*", f"--expires-in={time}").code == 2


def test_teams(plane, headgate):
    """A team can be made once, and is listed."""
    assert headgate("team", "create", "payments").code == 0
    assert headgate("team", "create", "payments").code == 3
    assert "payments" in headgate("team", "list").out


def test_bootstrap_for_a_team(plane, headgate, monkeypatch):
    """The bootstrap is for the team of --team, with the paths and addresses given."""
    monkeypatch.delenv("HEADGATE_TEAM")
    result = headgate(
        *("--team", "shop", "dataplane", "bootstrap", "--id", "n", "--xds", "cp.example.com:443", "--admin", "none"),
        *("--tls-ca", "/etc/ca.pem", "--scope", "allowlist", "--listener", "a", "--listener", "b"),
    )
    document = yaml.safe_load(result.out)
    assert document["node"]["id"] == "n"
    assert document["node"]["metadata"]["headgate"] == {"team": "shop", "scope": "allowlist", "listeners": ["a", "b"]}
    assert "admin" not in document
    assert 'sni: "cp.example.com"' in result.out or '"sni": "cp.example.com"' in result.out


def test_bootstrap_for_the_platform_here(headgate, api, tmp_path):
    """Without --xds an Envoy goes to the control plane that `headgate up` runs here, else to the usual port."""
    bootstrap = ("dataplane", "bootstrap", "--id", "n", "--format", "json")
    assert '"port_value": 18000' in headgate(*bootstrap).out
    (tmp_path / ".headgate").mkdir()
    (tmp_path / ".headgate" / "platform.json").write_text(json.dumps({"xds": "127.0.0.1:18123"}))
    assert '"port_value": 18123' in headgate(*bootstrap).out
    assert '"port_value": 18001' in headgate(*bootstrap, "--xds", "127.0.0.1:18001").out


def test_bootstrap_of_nonsense(headgate):
    """Options that do not go together are wrong usage, with the place."""
    assert headgate("dataplane", "bootstrap", "--id", "a", "--tls-key", "k").code == 2
    result = headgate("dataplane", "bootstrap", "--id", "a", "--admin", "0.0.0.0:1")
    assert result.code == 2
    assert "/admin: must be a loopback address" in result.err


def test_forget(plane, headgate):
    """Forgetting a dataplane that was never there is refused."""
    assert headgate("dataplane", "forget", "nobody", "--yes").code == 3


def test_a_lost_admin_token_is_recovered_from_the_database(tmp_path):
    """Whoever may open the database can make an admin token without one, and gets it once."""
    runner = CliRunner()
    made = runner.invoke(cli, ["token", "recover", "--state-dir", str(tmp_path)])
    assert made.exit_code == 0, made.output
    token = made.output.strip()

    async def principal():
        store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/headgate.db")
        try:
            return await Tokens(store).authenticate(token)
        finally:
            await store.close()

    found = asyncio.run(principal())
    assert (found.name, found.team, found.scopes) == ("admin", None, frozenset({"*"}))
