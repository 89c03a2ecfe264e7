"""The control plane as a process: what it starts, what it needs to be ready, and how it stops."""

import asyncio
import os
import signal
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from headgate.controlplane import app
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.tasks import end
from headgate.testing.controlplane import local_settings, running_control_plane
from headgate.testing.server import free_port
from tests.scenarios.xds.certificates import Authority

CLUSTER = {"endpoints": [{"address": "127.0.0.1", "port": 3001}]}
PROGRAM = (
    "from headgate.controlplane.app import serve\n"
    "from headgate.controlplane.settings import ControlPlaneSettings\n"
    "from headgate.kit.observe.logs import configure_logs\n"
    "from headgate.kit.serve.loop import run\n"
    "configure_logs()\n"
    "run(serve(ControlPlaneSettings.load()))\n"
)


class Process:
    """A control plane of its own, as `headgate serve` runs it."""

    def __init__(self, state: Path, **environment: str) -> None:
        self.port, self.xds_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")},
            "HEADGATE_STATE_DIR": str(state),
            "HEADGATE_API_PORT": str(self.port),
            "HEADGATE_XDS_PORT": str(self.xds_port),
            "HEADGATE_SHUTDOWN_GRACE": "5",
            **environment,
        }

    async def __aenter__(self) -> "Process":
        pipe = asyncio.subprocess.PIPE
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, env=self._environment, stdout=pipe, stderr=pipe
        )
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            while self.child.returncode is None:
                with suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/ready")).is_success:
                        return self
                await asyncio.sleep(0.02)
        raise AssertionError((await self.child.communicate())[1].decode())

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
        """Send a signal, wait, and return what it wrote."""
        self.child.send_signal(how)
        out, log = await asyncio.wait_for(self.child.communicate(), 30)
        return out.decode(), log.decode()

    async def __aexit__(self, *_: object) -> None:
        if self.child.returncode is None:
            self.child.kill()
            await self.child.communicate()


def _accepted(process: Process) -> bool:
    """Whether the process has taken a connection to its API."""
    connections = psutil.Process(process.child.pid).net_connections()
    return any(each.laddr.port == process.port and each.status == "ESTABLISHED" for each in connections)


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


async def _ask(process: Process, token: str, path: str = "/api/v1/whoami") -> int:
    async with httpx.AsyncClient() as client:
        answer = await client.get(process.url + path, headers={"authorization": f"Bearer {token}"})
        return answer.status_code


async def test_importing_starts_nothing(tmp_path):
    """Importing the application makes no file, opens no port and starts no thread."""
    code = "import headgate.controlplane.app, threading; assert threading.active_count() == 1"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=tmp_path)
    assert await child.wait() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_token_is_shown_once_and_a_signal_ends_it_in_order(tmp_path, how):
    """The first start writes a working admin token to standard output only; the signal stops all with status 0."""
    async with Process(tmp_path) as process:
        out, log = await process.stop(how)
    assert process.child.returncode == 0, log
    assert "stopped" in log
    (line,) = out.splitlines()
    token = line.rpartition(" ")[2]
    assert token.startswith("hg_")
    assert token not in log
    for port in (process.port, process.xds_port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_hangup_reads_the_certificates_again(tmp_path):
    """SIGHUP looks at the TLS files of xDS at once, and what they hold then is shown to the next connection."""
    files = Authority().server_files(tmp_path)
    environment = {f"HEADGATE_{name.upper()}": str(path) for name, path in files.items()}
    async with Process(tmp_path / "state", HEADGATE_XDS_TLS_RELOAD="0", **environment) as process:
        address = ("127.0.0.1", process.xds_port)
        first = await asyncio.to_thread(ssl.get_server_certificate, address)
        assert first.strip() == files["xds_tls_certificate"].read_text().strip()
        Authority().server_files(tmp_path)
        process.child.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(ssl.get_server_certificate, address) == first:
                await asyncio.sleep(0.02)
        await process.stop()
    assert process.child.returncode == 0


async def test_the_token_goes_to_the_file_that_was_asked_for(tmp_path):
    """With `admin_token_file` the first token is in that file, for its owner only, nowhere else, and made once."""
    file = tmp_path / "made" / "admin-token"
    async with Process(tmp_path / "state", HEADGATE_ADMIN_TOKEN_FILE=str(file)) as process:
        token = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await _ask(process, token) == 200
        out, log = await process.stop()
    assert token not in out + log
    file.unlink()
    async with Process(tmp_path / "state", HEADGATE_ADMIN_TOKEN_FILE=str(file)) as again:
        assert await _ask(again, token) == 200
        assert not file.exists()


async def test_logs_are_as_all_their_settings_say(tmp_path):
    """The form of the log, and what is masked in it, are as set for whoever serves."""
    file = tmp_path / "pear-123"
    variables = {"HEADGATE_REDACT_PATTERNS": "pear-[0-9]+", "HEADGATE_LOG_FORMAT": "console"}
    async with Process(tmp_path, HEADGATE_ADMIN_TOKEN_FILE=str(file), **variables) as process:
        _, log = await process.stop()
    (line,) = [line for line in log.splitlines() if "admin token written" in line]
    assert not line.startswith("{")
    assert "file=" in line
    assert "pear-123" not in log


@pytest.mark.usefixtures("logged")  # puts the logs of the tests back
async def test_a_token_is_not_lost_when_something_else_fails(tmp_path, capsys):
    """A start that fails after the token was made has handed it over, and a file that cannot be written is no loss."""
    (tmp_path / "file").touch()
    unreadable = dict.fromkeys(("xds_tls_certificate", "xds_tls_key", "xds_tls_client_ca"), tmp_path / "none.pem")
    settings = local_settings(tmp_path / "state", admin_token_file=tmp_path / "file" / "token", **unreadable)
    with pytest.raises(InvalidArgument):
        await app.serve(settings)
    token = capsys.readouterr().out.strip().splitlines()[-1].rpartition(" ")[2]
    async with running_control_plane(tmp_path / "state", token=token) as running:
        assert (await running.client.get("/api/v1/whoami")).status_code == 200


async def test_it_is_ready_only_when_the_token_is_handed_over():
    """Whoever waits for readiness finds the token then; it is handed over once."""
    given = []
    started = app._Started("hg_first", given.append)
    with pytest.raises(Unavailable):
        await started.check()
    started()
    started()
    await started.check()
    assert given == ["hg_first"]


async def test_requests_under_way_are_finished(tmp_path):
    """A request that has begun when the signal comes is answered; then the process ends."""
    file = tmp_path / "token"
    async with Process(tmp_path / "state", HEADGATE_ADMIN_TOKEN_FILE=str(file)) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        body = b'{"endpoints": []}'
        head = (
            "PUT /api/v1/native/clusters/late HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {file.read_text().strip()}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:5])
        await writer.drain()
        await _until(lambda: _accepted(process))
        process.child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            with suppress(OSError):
                while True:
                    (await asyncio.open_connection("127.0.0.1", process.port))[1].close()
                    await asyncio.sleep(0.01)
        writer.write(body[5:])
        assert b"201" in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        await asyncio.wait_for(process.child.communicate(), 20)
        assert process.child.returncode == 0


@pytest.mark.parametrize("setting", ["api_port", "xds_port"])
async def test_a_taken_port_names_its_setting(tmp_path, setting):
    """A port in use is a fault that says which setting to change, before any state is made."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        settings = local_settings(tmp_path / "state", **{setting: holder.getsockname()[1]})
        with pytest.raises(FailedPrecondition) as refused:
            async with app.control_plane(settings):
                pass
    assert setting in refused.value.message
    assert f"HEADGATE_{setting.upper()}" in refused.value.hint
    assert not (tmp_path / "state").exists()


async def test_what_was_written_is_there_after_a_restart(tmp_path):
    """Opened again, the same directory has the same resources, token and teams, and makes no second token."""
    async with running_control_plane(tmp_path) as first:
        assert (await first.client.put("/api/v1/native/clusters/c", json=CLUSTER)).status_code == 201
        token = first.token
    async with running_control_plane(tmp_path, token=token) as second:
        assert second.plane.first_token is None
        assert (await second.client.get("/api/v1/native/clusters/c")).json()["spec"] == CLUSTER
        assert (await second.client.get("/api/v1/teams")).json()["total"] == 1


@pytest.mark.postgres
async def test_it_runs_on_postgresql(tmp_path, postgres_url):
    """The same control plane over PostgreSQL: first start, write, read, history, conditions."""
    async with running_control_plane(tmp_path, database_url=postgres_url) as running:
        made = await running.client.put("/api/v1/native/clusters/c", json=CLUSTER)
        assert made.status_code == 201
        stale = {"if-match": '"99"'}
        assert (await running.client.delete("/api/v1/native/clusters/c", headers=stale)).status_code == 412
        assert (await running.client.get("/api/v1/native/revisions/1")).json()["changes"][0]["after"] == CLUSTER
        assert (await running.client.get("/ready")).json()["status"] == "ready"


async def test_ready_names_each_check(tmp_path):
    """A replica is ready when store, snapshots, feed and xDS are, and not when it has lost its store."""
    async with running_control_plane(tmp_path) as running:
        found = (await running.client.get("/ready")).json()
        assert found["checks"] == {name: {"status": "ok"} for name in ("store", "snapshots", "feed", "xds", "start")}
        await running.plane.store.close()
        (tmp_path / "headgate.db").rename(tmp_path / "away.db")
        (tmp_path / "headgate.db").mkdir()
        answer = await running.client.get("/ready")
        assert (answer.status_code, answer.json()["checks"]["store"]["status"]) == (503, "failed")


async def test_a_change_reaches_the_snapshots(tmp_path):
    """What is written through the API is compiled for the dataplanes."""
    async with running_control_plane(tmp_path) as running:
        await running.client.put("/api/v1/native/clusters/c", json=CLUSTER)
        await _until(lambda: getattr(running.plane.snapshots.current("default"), "revision", 0) == 1)


async def test_limits_come_from_the_settings(tmp_path):
    """The size of a body, announced or not, and of a page are bounded by their settings."""
    async with running_control_plane(tmp_path, max_body_size=1024, page_limit_max=3) as running:
        for announced in (True, False):
            content = b"x" * 2000

            async def chunks(content=content):
                yield content

            answer = await running.client.put(
                "/api/v1/native/clusters/c",
                content=content if announced else chunks(),
                headers={"content-type": "application/json"},
            )
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert (await running.client.get("/api/v1/native/clusters?limit=4")).status_code == 400
        for number in range(5):
            await running.client.put(f"/api/v1/native/clusters/c{number}", json=CLUSTER)
        assert len((await running.client.get("/api/v1/native/clusters")).json()["items"]) == 3


async def test_a_body_that_is_too_large_is_not_read_for_strangers(tmp_path):
    """Without a token nothing of a body is waited for: the answer comes at once."""
    async with running_control_plane(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        writer.write(b"PUT /api/v1/native/clusters/c HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert b"401" in await asyncio.wait_for(reader.readline(), 10)
        writer.close()


class Refusing:
    """A gate that refuses whatever mentions a word."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked = 0

    async def check(self, config: Mapping[str, Any]) -> str | None:
        """Refuse a configuration with the word in it."""
        self.asked += 1
        return f"{self.word} is not to my liking" if self.word in str(config) else None


async def test_the_gate_is_asked_before_anything_is_kept(tmp_path):
    """What Envoy would refuse is 400 with Envoy's words, also in a dry run, and is not stored."""
    gate = Refusing("10.9.8.7")
    bad = {"endpoints": [{"address": "10.9.8.7", "port": 1}]}
    async with running_control_plane(tmp_path, gate=gate) as running:
        for query in ("", "?dry_run=true"):
            answer = await running.client.put(f"/api/v1/native/clusters/c{query}", json=bad)
            assert (answer.status_code, answer.json()["code"]) == (400, "refused_by_envoy")
            assert "not to my liking" in answer.text
        assert (await running.client.put("/api/v1/native/clusters/c", json=CLUSTER)).status_code == 201
        assert (await running.client.get("/api/v1/native/revisions")).json()["total"] == 1
        assert gate.asked >= 3


async def test_history_is_pruned_again_and_again(tmp_path, monkeypatch):
    """Pruning goes on for ever, over a failure, to the bounds in the settings."""
    settings = local_settings(tmp_path, audit_days=7, revisions_kept=20)
    done = asyncio.Event()
    calls: list[dict[str, int]] = []

    class Pruned:
        async def prune(self, **bounds: int) -> dict[str, int]:
            calls.append(bounds)
            if len(calls) == 1:
                raise Unavailable("not now")
            done.set()
            return {"audit": 0, "revisions": 0}

    monkeypatch.setattr(app, "PRUNE_EVERY_S", 0.0)
    task = asyncio.create_task(app._prune_for_ever(Pruned(), settings))  # type: ignore[arg-type]
    await asyncio.wait_for(done.wait(), 10)
    await end(task)
    assert calls[1] == {"audit_days": 7, "revisions_keep": 20}
