"""The command line as a whole."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

import headgate as package
from headgate.cli.reference import page
from headgate.cli.root import VERBS, cli
from tests.cli.api import problem

CLUSTERS = "GET /api/v1/native/clusters"


def commands(command=cli, path=("headgate",)):
    """Yield every command with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("name", VERBS)
def test_table_says_what_the_verb_says(name):
    """The line in the table of verbs is the first line of the verb's own help."""
    command = cli.get_command(click.Context(cli), name)
    assert (command.help or "").split("\n")[0].strip() == VERBS[name][1]


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_everything_is_explained(path, command):
    """Every command and every option has a help text."""
    assert command.help, path
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, (path, option.name)


def test_page_is_current():
    """The reference page says what the commands say."""
    file = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert file.read_text(encoding="utf-8") == page(), "write it anew: python -m headgate.cli.reference " + str(file)


def test_help_imports_little():
    """Help and version need no HTTP client, no server, no settings."""
    script = (
        "import sys; sys.argv = ['headgate', '--help']\n"
        "from headgate.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'pydantic', 'structlog', 'fastapi', 'grpc', 'rich', 'yaml', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "up " in done.stdout


def test_version(headgate):
    """--version prints the version."""
    assert headgate("--version").out.strip() == f"headgate, version {package.__version__}"


def test_misspelt_verb(headgate):
    """A misspelt verb is usage, and the nearest one is offered."""
    result = headgate("expsoe")
    assert result.code == 2
    assert "Did you mean 'expose'?" in result.err


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (("get", "clusters", "-o", "json"), "headgate -o json get ..."),
        (("get", "clusters", "--output=yaml"), "headgate --output json get ..."),
        (("token", "list", "--team", "a"), "headgate --team NAME token list ..."),
    ],
)
def test_global_option_after_the_verb(headgate, arguments, right):
    """A global option after the verb is usage, and where it goes is shown."""
    result = headgate(*arguments)
    assert (result.code, f"Put it before the verb: {right}\n" in result.err) == (2, True), result.err


def test_unreachable(headgate, monkeypatch):
    """An API that is not there is exit code 4, and the hint asks whether `headgate up` runs."""
    monkeypatch.setenv("HEADGATE_TOKEN", "hg_test")
    result = headgate("--api", "http://127.0.0.1:9", "get", "clusters")
    assert result.code == 4
    assert "is `headgate up` running?" in result.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://[::1"])
def test_bad_api_url(headgate, monkeypatch, url):
    """An --api that is no URL is told so."""
    monkeypatch.setenv("HEADGATE_TOKEN", "hg_test")
    result = headgate("--api", url, "get", "clusters")
    assert result.code == 1
    assert "is not a URL" in result.err


def test_refusal_is_shown(headgate, api):
    """A problem document becomes message, places and hint, and exit code 3."""
    errors = [
        {"pointer": "/spec/endpoints/0/port", "message": "must be 1 to 65535", "hint": "the port of the upstream"}
    ]
    api.answers[CLUSTERS] = problem(400, "invalid_argument", "1 thing is wrong", errors=errors, hint="correct it")
    result = headgate("get", "clusters")
    assert result.code == 3
    assert result.err.splitlines() == [
        "error: 1 thing is wrong",
        "  /spec/endpoints/0/port: must be 1 to 65535",
        "    the port of the upstream",
        "hint: correct it",
    ]


def test_refusal_as_json(headgate, api):
    """With --output json the problem document is printed as it came."""
    api.answers[CLUSTERS] = problem(403, "permission_denied", "no", request_id="r1")
    result = headgate("--output", "json", "get", "clusters")
    assert result.code == 3
    assert json.loads(result.err)["code"] == "permission_denied"


def test_server_error_has_a_request_id(headgate, api):
    """A defect of the server is exit code 1, and its request id is shown to find it in the log."""
    api.answers[CLUSTERS] = problem(500, "internal", "something broke", request_id="req-9")
    result = headgate("get", "clusters")
    assert result.code == 1
    assert "req-9" in result.err


def test_not_our_api(headgate, api):
    """Something else on that port is said to be something else."""
    from starlette.responses import HTMLResponse

    api.answers[CLUSTERS] = HTMLResponse("<h1>hello</h1>")
    result = headgate("get", "clusters")
    assert result.code == 4
    assert "is not Headgate's API" in result.err


def test_no_traceback(headgate, api, monkeypatch):
    """A defect of the command line itself is one line, not a traceback."""
    api.answers[CLUSTERS] = {"unexpected": "shape"}
    result = headgate("get", "clusters")
    assert result.code == 1
    assert "unexpected KeyError" in result.err
    assert "Traceback" not in result.err


def test_token_of_this_directory(headgate, api, tmp_path, monkeypatch):
    """Without a token given, the one `headgate up` wrote here is shown to this machine."""
    monkeypatch.delenv("HEADGATE_TOKEN")
    assert headgate("get", "clusters").code == 1
    (tmp_path / ".headgate").mkdir()
    (tmp_path / ".headgate" / "admin-token").write_text("hg_local\n")
    api.answers[CLUSTERS] = {"items": [], "total": 0, "next_cursor": ""}
    assert headgate("get", "clusters").code == 0
    assert api.last("GET").headers["authorization"] == "Bearer hg_local"


def test_local_token_stays_local(headgate, api, tmp_path, monkeypatch):
    """The admin token of this directory is not sent to another machine."""
    monkeypatch.delenv("HEADGATE_TOKEN")
    (tmp_path / ".headgate").mkdir()
    (tmp_path / ".headgate" / "admin-token").write_text("hg_local\n")
    result = headgate("--api", "http://example.com", "get", "clusters")
    assert result.code == 1
    assert "no token for http://example.com" in result.err


def test_api_of_this_directory(headgate, api, tmp_path, monkeypatch):
    """Without --api, the address that `headgate up` left here is used."""
    monkeypatch.delenv("HEADGATE_API")
    (tmp_path / ".headgate").mkdir()
    (tmp_path / ".headgate" / "platform.json").write_text(json.dumps({"api": api.url}))
    api.answers[CLUSTERS] = {"items": [], "total": 0, "next_cursor": ""}
    assert headgate("get", "clusters").code == 0


def test_team_goes_along(headgate, api):
    """--team is sent with every request."""
    api.answers[CLUSTERS] = {"items": [], "total": 0, "next_cursor": ""}
    headgate("--team", "payments", "get", "clusters")
    assert api.last("GET").query["team"] == "payments"
