"""`headgate run`: a workspace, and what happens while it runs."""

import io
import os
import sys
import time

import httpx
import pytest

from tests.cli.service.conftest import LEFT_OUT, PATIENCE, json_of, running, spawned


@pytest.fixture(scope="module")
def shared(projects):
    """A workspace that runs for all tests that change nothing."""
    with running(projects["full"], "--nats") as run:
        run.wait("ready: 2 of 2")
        yield projects["full"], run
        assert run.stop() == 0, run.text


@pytest.fixture
def there(shared, monkeypatch):
    """This process in the workspace that runs."""
    for name in LEFT_OUT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(shared[0])
    return shared[0]


def test_order(shared):
    """What others depend on is ready before they start."""
    _, run = shared
    assert run.text.index("hello        | info    serving  url=") < run.text.index(
        "hello-worker | info    serving gRPC"
    )


def test_services_are_found(there, headgate):
    """What runs is in the registry of the directory, with versions, wires, health and contracts."""
    deadline = time.monotonic() + PATIENCE  # who is ready tells the registry next
    while set(found := {each["service"]: each for each in json_of(headgate("-o", "json", "services"))}) != {
        "hello",
        "hello-worker",
    }:
        assert time.monotonic() < deadline, found
    assert found["hello"]["health"] == "ready"
    assert {"http", "grpc", "socket"} <= set(found["hello"]["endpoints"])
    assert found["hello"]["contract"].startswith("sha256:")


@pytest.mark.parametrize("wire", ["http", "grpc", "socket", "nats"])
def test_calls(there, headgate, wire):
    """A method is called over each wire by its service's name alone."""
    done = headgate("call", "hello/hello", '{"name": "Ada"}', "--wire", wire)
    assert json_of(done)["text"] == "Hello, Ada!"


@pytest.mark.parametrize("wire", ["http", "grpc", "socket", "nats"])
def test_faults_are_shown(there, headgate, wire):
    """A declared fault is shown with kind, code, details and hint, and its exit code says that the service refused."""
    done = headgate("call", "hello/Hello", '{"name": "Ada", "language": "tlh"}', "--wire", wire)
    assert done.code == 3, done.err
    assert done.err.splitlines() == [
        "error: nobody here speaks 'tlh'",
        "  NOT_FOUND unknown_language",
        '  details {"known": ["de", "en"]}',
        "hint: teach it, or ask for one that is known",
    ]


def test_events_travel(there, headgate):
    """What one application publishes, another that listens is handed: the embedded NATS carries it."""
    assert headgate("call", "hello/Hello", '{"name": "Eve"}').code == 0
    deadline = time.monotonic() + PATIENCE
    while (done := headgate("call", "hello-worker/Hello", '{"name": "Eve"}')).code:
        assert time.monotonic() < deadline, done.err
    assert json_of(done) == {"name": "Eve", "times": 1}


def test_guards_hold(there, headgate):
    """A guarded method refuses who is not known."""
    done = headgate("-o", "json", "call", "hello/Teach", '{"language": "x", "text": "y"}')
    assert done.code == 3
    assert '"code": "no_credentials"' in done.err


def test_violations_have_places(there, headgate):
    """What is wrong with a request is told with pointers, all of it."""
    done = headgate("call", "hello/Hello", '{"naime": "Ada"}')
    assert done.code == 3
    assert "  /name: is required\n" in done.err
    assert "    did you mean 'name'?\n" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("hello/Helo",), 2, "did you mean Hello?"),
        (("hullo/Hello",), 4, "did you mean hello?"),
        (("hello",), 2, "is no SERVICE/METHOD"),
        (("hello/Hello", "{"), 2, "the request is no JSON"),
        (("hello.Hello/Hello", "{}", "--address", "http://127.0.0.1:9"), 4, "cannot be reached"),
        (("hello/Hello", "{}", "--address", "127.0.0.1:9"), 2, "does not say which wire"),
    ],
)
def test_wrong_calls(there, headgate, arguments, code, said):
    """What cannot be called is said so, with what was meant."""
    done = headgate("call", *arguments)
    assert (done.code, said in done.err) == (code, True), done.err


def test_request_from_a_file(there, headgate, tmp_path, monkeypatch):
    """A request is read from a file, or from standard input."""
    (tmp_path / "request.json").write_text('{"name": "Bo"}')
    assert json_of(headgate("call", "hello/Hello", f"@{tmp_path / 'request.json'}"))["text"] == "Hello, Bo!"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"name": "Cy"}')))
    assert json_of(headgate("call", "hello/Hello", "-"))["text"] == "Hello, Cy!"


def test_inspector(shared):
    """One page has the contracts of all services, calls them, and is for this machine's own pages alone."""
    _, run = shared
    with httpx.Client(base_url=run.inspector, trust_env=False) as client:
        assert client.get("/docs").headers["content-type"].startswith("text/html")
        told = client.get("/contract.json").json()["contracts"]
        assert {each["document"]["service"] for each in told} == {"hello", "hello-worker"}
        assert client.post("/hello.Hello/Hello", json={"name": "Ada"}).json()["text"] == "Hello, Ada!"
        assert client.get("/hello/Ada?language=de").json()["text"] == "Guten Tag, Ada!"
        assert client.get("/docs", headers={"host": "evil.example"}).status_code == 403
        assert client.post("/hello.Hello/Hello", headers={"origin": "http://evil.example"}).status_code == 403


def test_one_at_a_time(there, headgate):
    """A second `headgate run` in the same directory is refused."""
    done = headgate("run")
    assert done.code == 1
    assert "runs already" in done.err


def test_reload(project):
    """What changed starts again and the others go on; what cannot start says why, and waits for the next change."""
    folder = project("full")
    worker = folder / "src" / "hello" / "worker.py"
    with running(folder) as run:
        seen = run.wait("ready: 2 of 2")
        before = run.applications()
        source = worker.read_text()
        worker.write_text(source.replace("Counts who was greeted.", "Counts."))
        seen = run.wait("hello-worker: ready again", after=seen)
        after = run.applications()
        assert after["hello"]["pid"] == before["hello"]["pid"]
        assert after["hello-worker"]["pid"] != before["hello-worker"]["pid"]
        worker.write_text(source + "\nbroken = (\n")
        seen = run.wait("hello-worker: cannot start; waiting for a change", after=seen)
        assert "SyntaxError: '(' was never closed" in run.text
        assert run.call("hello/Hello", name="Ada")["text"] == "Hello, Ada!"
        worker.write_text(source)
        run.wait("hello-worker: ready again", after=seen)
        processes = [each["pid"] for each in run.applications().values()]
        assert run.stop() == 0
    assert [pid for pid in processes if _lives(pid)] == []
    assert "Traceback" not in run.text


def test_without_reload(project):
    """Without reload an application that cannot start ends all, with exit code 1."""
    folder = project("service")
    (folder / "src" / "hello" / "api.py").write_text("raise RuntimeError('no store')\n")
    done = spawned("run", "--no-reload", "--no-inspector", cwd=folder)
    assert done.returncode == 1
    assert "RuntimeError: no store" in done.stdout
    assert "hello: " not in done.stderr


def test_only(headgate, project, monkeypatch):
    """--only runs the applications that are named; an unknown one is usage."""
    folder = project("full")
    with running(folder, "--only", "hello-worker", "--no-inspector") as run:
        run.wait("ready: 1 of 1")
        assert run.stop() == 0
    monkeypatch.chdir(folder)
    done = headgate("run", "--only", "nobody")
    assert (done.code, "there are: hello, hello-worker" in done.err) == (2, True), done.err


def test_nobody_there(headgate, tmp_path, monkeypatch):
    """Without anything that runs, a call says where it looked, and exit code 4."""
    for name in LEFT_OUT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    done = headgate("call", "hello/Hello", "--address", "http://127.0.0.1:9")
    assert (done.code, "is `headgate run` running" in done.err) == (4, True), done.err
    assert headgate("services").code == 1


def test_nothing_to_run(headgate, tmp_path, monkeypatch):
    """A directory without services says how to get one."""
    monkeypatch.chdir(tmp_path)
    done = headgate("run")
    assert (done.code, "headgate new NAME" in done.err) == (1, True), done.err


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
