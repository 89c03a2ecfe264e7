"""`headgate services` on a registry that is a file: what it shows of instances that differ."""

import json

from click.testing import CliRunner

from headgate.cli.root import cli


def test_contracts_that_differ_are_told(tmp_path):
    """Instances of one service that promise different things are named, apart from those that promise nothing."""
    hashes = {"orders-1": "sha256:" + "a" * 64, "orders-2": "sha256:" + "b" * 64, "orders-3": ""}
    listed = [{"id": name, "contract": contract} for name, contract in hashes.items()]
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"services": {"orders": listed, "stock": [{"id": "s-1", "contract": "sha256:c"}]}}))
    result = CliRunner().invoke(cli, ["services", "--no-health", "--registry", f"file://{path}"])
    assert result.exit_code == 0
    assert result.stderr == f"orders: its instances have 2 contracts ({'a' * 12}: orders-1; {'b' * 12}: orders-2)\n"
    assert "orders-3" in result.stdout


def test_a_registry_that_cannot_be_asked_is_a_failure(tmp_path):
    """Where nothing is known because the registry cannot be asked, that is said, and not that there is no service."""
    result = CliRunner().invoke(cli, ["services", "orders", "--registry", f"file://{tmp_path}/none.yaml"])
    assert result.exit_code == 4
    assert "could not be asked" in result.output
    assert "no service is known" not in result.output
