"""Tokens, teams and dataplanes, against a real control plane."""

import asyncio
import json

import pytest
import yaml
from click.testing import CliRunner

from headgate.cli.root import cli
from headgate.controlplane.core.tokens import Tokens
from headgate.controlplane.store.store import Store
from headgate.testing.envoy import require_envoy  # noqa: F401 - the module must import without a running Envoy


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
