"""The commands in the guides are run as they stand, one after the other, and answer what the guides say."""

import re
import shlex
from pathlib import Path

import pytest

from headgate.controlplane.tenancy.principal import SCOPES
from headgate.testing.controlplane import running_control_plane

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(curl .*?)    # (\d{3})$", re.MULTILINE | re.DOTALL)


def _requests(guide: str, **variables: str):
    """Each curl command as (method, url, headers, body, expected status)."""
    for block in BLOCK.findall((GUIDES / guide).read_text(encoding="utf-8")):
        found = COMMAND.findall(block)
        assert len(found) == block.count("curl "), f"a command without its status in {block}"
        for command, status in found:
            line = command.replace("\\\n", " ")
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            yield *_parsed(shlex.split(line)[1:]), int(status)


def _parsed(words: list[str]) -> tuple[str, str, dict[str, str], str | None]:
    method, url, headers, body = "", "", {}, None
    rest = iter(words)
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest)
        else:
            assert word.startswith("http"), word
            url = word
    return method or ("POST" if body else "GET"), url, headers, body


@pytest.mark.parametrize(("guide", "least"), [("native-api.md", 12), ("tokens.md", 6)])
async def test_the_commands_of_the_guide_work(tmp_path, guide, least):
    """Every curl command of the guide, in order, on a fresh control plane, answers with the status beside it."""
    async with running_control_plane(tmp_path) as running:
        commands = list(_requests(guide, API=f"{running.url}/api/v1", TOKEN=running.token))
        assert len(commands) >= least
        async with running.client_for(None) as client:
            for method, url, headers, body, status in commands:
                answer = await client.request(method, url, headers=headers, content=body)
                assert answer.status_code == status, f"{method} {url} {body}: {answer.text}"


def test_the_guide_has_every_scope():
    """The table of scopes is whole, and names none that does not exist."""
    named = set(re.findall(r"`([a-z*-]+:(?:read|write)|\*)`", (GUIDES / "tokens.md").read_text(encoding="utf-8")))
    assert named == SCOPES - {"audit:write"}
