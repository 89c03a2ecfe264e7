"""The newcomer's path: `headgate up`, the lines it prints, and the commands that follow."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest

from headgate.testing.envoy import eventually
from headgate.testing.server import free_port
from tests.scenarios.running import Up, free_ports, run
from tests.scenarios.traffic import Traffic

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """A platform that runs for all tests of this file that leave it as it is."""
    with Up(tmp_path_factory.mktemp("platform"), free_ports()) as up:
        yield up.wait_ready()


@pytest.fixture(scope="module")
def hello():
    """A small upstream of the user's own: its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"hello from {self.path}".encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def test_it_says_what_works(platform):
    """`up` ends with a table, after a request that really passed through Envoy, and the token is kept for its owner."""
    assert f"GET {platform.gateway}/books answered 200 through Envoy" in platform.text
    assert f"{platform.api}/swagger-ui" in platform.text
    assert platform.token in platform.text
    token_file = platform.directory / ".headgate" / "admin-token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert httpx.get(f"{platform.api}/swagger-ui").status_code == 200


def test_curl_lines_work(platform):
    """Each curl line that was printed works as printed."""
    assert len(platform.curls()) == 3
    answers = []
    for line in platform.curls():
        if shutil.which("curl"):
            done = subprocess.run(f"{line} -sSf", shell=True, capture_output=True, text=True, timeout=30, check=True)  # noqa: S602
            answers.append(done.stdout)
        else:
            answers.append(_like_curl(line))
    assert "Solaris" in answers[0]
    assert json.loads(answers[1])["book"] == "dune"
    assert answers[2].count("event: stock") == 3


def _like_curl(line):
    words = shlex.split(line)
    url = next(word for word in words if word.startswith("http"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    headers = {"content-type": "application/json"} if body else {}
    return (
        httpx.request("POST" if body else "GET", url, content=body, headers=headers, timeout=30).raise_for_status().text
    )


def test_second_up_is_refused(platform):
    """A second `up` in the same directory is refused with the pid of the first, which lives on."""
    again = run(platform.directory, "up")
    assert again.returncode == 1
    assert f"(pid {platform.process.pid})" in again.stderr
    assert httpx.get(f"{platform.gateway}/books").status_code == 200


def test_taken_port(platform, tmp_path):
    """A taken port is an error that names the setting, before anything is started or written."""
    ports = free_ports() | {"gateway_port": platform.ports["gateway_port"]}
    refused = run(tmp_path, "up", *(f"--{name.replace('_', '-')}={port}" for name, port in ports.items()))
    assert refused.returncode == 1
    assert "gateway_port: 127.0.0.1:" in refused.stderr
    assert "--gateway-port" in refused.stderr
    assert not (tmp_path / ".headgate" / "headgate.db").exists()


def test_expose(platform, hello):
    """`expose` publishes a URL, says where, and that Envoy has acknowledged it; `unexpose` takes it back."""
    done = platform.run("expose", f"http://127.0.0.1:{hello}/", "--name", "hello", "--path", "/hello")
    assert done.returncode == 0, done.stderr
    assert f"{platform.gateway}/hello" in done.stdout
    assert "acknowledged by 1 Envoy (local)" in done.stdout
    assert httpx.get(f"{platform.gateway}/hello/a").text == "hello from /a"
    assert platform.run("unexpose", "hello").returncode == 2
    assert platform.run("unexpose", "hello", "--yes").returncode == 0
    assert httpx.get(f"{platform.gateway}/hello/a").status_code == 404


def test_import(platform, hello, tmp_path):
    """`import` publishes a document, changes nothing the second time, and applies the difference of a changed one."""
    document = {
        "openapi": "3.0.3",
        "info": {"title": "Pets", "version": "1"},
        "paths": {"/pets": {"get": {"responses": {}}}, "/pets/{id}": {"get": {"responses": {}}}},
    }
    file = tmp_path / "pets.json"
    file.write_text(json.dumps(document))
    arguments = ("import", "openapi", str(file), "--upstream", f"http://127.0.0.1:{hello}")
    plan = platform.run(*arguments, "--dry-run")
    assert (plan.returncode, "dry run" in plan.stdout) == (0, True), plan.stderr
    assert httpx.get(f"{platform.gateway}/pets").status_code == 404
    done = platform.run(*arguments)
    assert (done.returncode, "acknowledged by 1 Envoy" in done.stdout) == (0, True), done.stderr
    assert httpx.get(f"{platform.gateway}/pets/7").text == "hello from /pets/7"
    assert "nothing changed" in platform.run(*arguments).stdout
    del document["paths"]["/pets/{id}"]
    file.write_text(json.dumps(document))
    refused = platform.run(*arguments)
    assert (refused.returncode, "add --yes" in refused.stderr) == (2, True), refused.stderr
    assert httpx.get(f"{platform.gateway}/pets/7").status_code == 200
    assert platform.run(*arguments, "--yes").returncode == 0
    assert httpx.get(f"{platform.gateway}/pets/7").status_code == 404
    assert "pets" in platform.run("apis", "list").stdout
    assert platform.run("apis", "delete", "pets", "--yes").returncode == 0


def test_import_from_the_service_itself(platform):
    """A document can be fetched from a URL on this machine, and from nowhere else."""
    url = f"http://127.0.0.1:{platform.ports['demo_port']}/openapi.json"
    done = platform.run("import", "openapi", url, "--name", "again", "--path", "/again", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert platform.run("import", "openapi", "http://example.com/openapi.json").returncode == 2


def test_status(platform):
    """`status` shows the Envoy in sync and the processes that run here."""
    done = platform.run("status")
    assert done.returncode == 0, done.stdout
    words = [line.split() for line in done.stdout.splitlines()]
    assert any(line[:3] == ["local", "in", "sync"] for line in words)
    assert {"control", "envoy", "bookshop"} <= {line[0] for line in words if line}


async def test_control_plane_dies_under_traffic(platform):
    """Traffic flows while the control plane is dead, without one failed request, and it comes back."""
    before = platform.child("serve").pid
    async with Traffic(f"{platform.gateway}/books") as traffic:
        os.kill(before, signal.SIGKILL)
        await traffic.more(50)
        await eventually(lambda: _answers(f"{platform.api}/ready"), 60, "the control plane is not back")
        await traffic.more(50)
    assert traffic.bad == []
    assert platform.child("serve").pid != before
    assert "control plane: killed by SIGKILL; restart in" in platform.text
    done = await asyncio.to_thread(
        platform.run, "expose", "http://127.0.0.1:9", "--name", "later", "--path", "/later", "--wait", "30"
    )
    assert "acknowledged by 1 Envoy" in done.stdout, done.stderr
    assert (await asyncio.to_thread(platform.run, "unexpose", "later", "--yes")).returncode == 0


async def test_envoy_dies(platform):
    """A killed Envoy is back with all of its configuration, and `up` says so."""
    os.kill(platform.child("--admin-address-path").pid, signal.SIGKILL)
    await eventually(lambda: _says(platform, "envoy: live again"), 60, "Envoy is not back")
    assert await _answers(f"{platform.gateway}/books")


async def test_bookshop_dies(platform):
    """A killed bookshop is back."""
    os.kill(platform.child("uvicorn").pid, signal.SIGKILL)
    await eventually(lambda: _answers(f"{platform.gateway}/books"), 60, "the bookshop is not back")


def test_again_with_the_same_data(tmp_path, hello):
    """Ctrl-C leaves no process; a second start finds what was there, and does not bring back what was removed."""
    ports = free_ports()
    with Up(tmp_path, ports) as first:
        first.wait_ready()
        assert first.run("expose", f"http://127.0.0.1:{hello}/", "--name", "hello", "--path", "/hello").returncode == 0
        assert first.run("apis", "delete", "bookshop", "--yes").returncode == 0
        token, family = first.token, first.family()
        assert len(family) == 4
        assert first.stop() == 0
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)
    assert first.text.rstrip().endswith("Stopped.")
    with Up(tmp_path, ports) as second:
        second.wait_ready()
        assert second.token == token
        assert token not in second.text
        assert httpx.get(f"{second.gateway}/hello/a").text == "hello from /a"
        assert httpx.get(f"{second.gateway}/books").status_code == 404


def test_a_token_for_another_control_plane(tmp_path):
    """An exported token that this control plane does not know stops no start, hides no token and is pointed out."""
    ports, stranger = free_ports(), {"HEADGATE_TOKEN": "hg_of-another-control-plane"}
    with Up(tmp_path, ports, variables=stranger) as first:
        first.wait_ready()
        token = first.token
        assert f"{token} (shown this once" in first.text
        assert f"GET {first.gateway}/books answered 200" in first.text
        assert "does not know the token in HEADGATE_TOKEN" in first.text
    with Up(tmp_path, ports, variables=stranger) as second:
        second.wait_ready()
        assert token not in second.text
        assert f"GET {second.gateway}/books answered 200" in second.text
    (tmp_path / ".headgate" / "admin-token").unlink()
    with Up(tmp_path, ports, variables={"HEADGATE_TOKEN": token}) as third:
        third.wait_ready()
        assert token not in third.text
        assert f"GET {third.gateway}/books answered 200" in third.text
        assert "note:" not in third.text


def test_moved_ports(tmp_path):
    """Started with other ports, the bookshop is found where it is now, and a listener that stayed is pointed out."""
    ports = free_ports()
    with Up(tmp_path, ports) as first:
        first.wait_ready()
    moved = {**ports, "demo_port": free_port(), "gateway_port": free_port()}
    with Up(tmp_path, moved) as second:
        second.wait_ready()
        stayed = f"http://127.0.0.1:{ports['gateway_port']}"
        assert f"GET {stayed}/books answered 200" in second.text
        assert f"not at gateway_port {moved['gateway_port']}" in second.text


async def test_nothing_survives_a_kill(tmp_path):
    """When `up` itself is killed, its children go with it."""
    with Up(tmp_path, free_ports(), "--no-demo") as up:
        await asyncio.to_thread(up.wait_ready)
        family = up.family()
        up.stop(signal.SIGKILL)
        await eventually(lambda: _gone(family), 20, "children outlived their parent")


def test_failed_start_leaves_nothing(tmp_path):
    """A control plane that cannot start is an error with its own words, and nothing is left running."""
    with Up(tmp_path, free_ports(), "--database-url=sqlite+aiosqlite:////dev/null/a.db") as up:
        assert up.process.wait(60) == 1
        up.stop()
    assert "control plane does not start" in up.text
    assert "Traceback" not in up.text


def test_terminate_is_like_ctrl_c(tmp_path):
    """SIGTERM stops everything in order, also before the start is done."""
    up = Up(tmp_path, free_ports())
    up.wait_for("Starting the control plane")
    assert up.stop(signal.SIGTERM) == 0
    assert "Stopped." in up.text


def test_envoy_command_joins(platform, tmp_path):
    """`headgate envoy` joins the running control plane as a second dataplane and leaves it when stopped."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        admin = probe.getsockname()[1]
    arguments = ["--id", "second", "--xds", f"127.0.0.1:{platform.ports['xds_port']}", "--scope", "allowlist"]
    from tests.scenarios.running import HEADGATE, environment

    process = subprocess.Popen(
        [*HEADGATE, "envoy", *arguments, "--listener", "none", f"--envoy-admin-port={admin}"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        asyncio.run(eventually(lambda: _in_sync(platform, "second"), 60, "the second Envoy did not join"))
    finally:
        process.terminate()
        assert process.wait(30) == 0
    asyncio.run(eventually(lambda: _left(platform, "second"), 60, "the second Envoy did not leave"))
    assert platform.run("dataplane", "forget", "second", "--yes").returncode == 0


def test_bootstrap_leads_here(platform):
    """A bootstrap made beside a running platform leads to its control plane, whatever its port is."""
    done = platform.run("dataplane", "bootstrap", "--id", "n", "--format", "json")
    assert f'"port_value": {platform.ports["xds_port"]}' in done.stdout


async def _answers(url):
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


async def _says(up, text):
    return text in up.text


async def _gone(family):
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)


async def _dataplane(up, name):
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {up.token}"}) as client:
        return (await client.get(f"{up.api}/api/v1/native/dataplanes/{name}")).json()


async def _in_sync(up, name):
    return (await _dataplane(up, name)).get("state") == "in_sync"


async def _left(up, name):
    return (await _dataplane(up, name)).get("connected") is False
