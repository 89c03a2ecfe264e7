"""The guides to the Platform API: their commands work as they stand, their tables are whole."""

import ast
import re
from pathlib import Path

import pytest

import headgate.controlplane.openapi as room
from headgate.testing.controlplane import running_control_plane
from tests.controlplane.native.test_guides import GUIDES, _requests


@pytest.mark.parametrize(("guide", "least"), [("import-openapi.md", 7), ("expose.md", 5)])
async def test_the_commands_of_the_guide_work(tmp_path, guide, least):
    """Every curl command of the guide, in order, on a fresh control plane, answers with the status beside it."""
    async with running_control_plane(tmp_path) as running, running.client_for(None) as client:
        commands = list(_requests(guide, API=f"{running.url}/api/v1", TOKEN=running.token))
        assert len(commands) >= least
        for method, url, headers, body, status in commands:
            answer = await client.request(method, url, headers=headers, content=body)
            assert answer.status_code == status, f"{method} {url} {body}: {answer.text}"


def test_every_reason_is_in_the_guide():
    """The table of codes has every reason for which an operation is not routed, and no other."""
    guide = (GUIDES / "import-openapi.md").read_text(encoding="utf-8")
    table = guide.partition("| code |")[2].partition("\n\n")[0]
    documented = {code for line in table.splitlines()[2:] for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])}
    assert documented == _codes()


def _codes() -> set[str]:
    """What is given as a code to an obstacle, to an UnroutableError, or to a refusal."""
    found = set()
    for file in Path(room.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if name in {"UnroutableError", "Obstacle", "refuse"}:
                    found.add(node.args[0].value)
    return found
