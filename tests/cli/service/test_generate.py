"""`headgate generate` and `headgate contract`: code written into a project, and promises that are kept."""

import json
import subprocess
import sys

import pytest

from tests.cli.service.conftest import environment, spawned


def ruff(folder):
    """Whether ruff finds, or would format, anything."""
    runs = (("check", "--no-cache", "."), ("format", "--check", "--no-cache", "."))
    done = [
        subprocess.run([sys.executable, "-m", "ruff", *each], cwd=folder, capture_output=True, text=True, check=False)
        for each in runs
    ]
    return [each.stdout + each.stderr for each in done if each.returncode]


def test_method_and_service(project, headgate, monkeypatch):
    """Methods and services are put into a project whose tests, types and style still hold; nothing is put in twice."""
    folder = project("service")
    monkeypatch.chdir(folder)
    before = (folder / "src" / "hello" / "api.py").read_text()
    added = headgate(
        "generate", "method", "hello", "forget", "language:str", "--returns", "Phrase", "--delete", "/p/{language}"
    )
    assert added.code == 0, added.err
    after = (folder / "src" / "hello" / "api.py").read_text().splitlines()
    changed = [line for line in before.splitlines() if line not in after]
    assert changed == ["from headgate.kit.controls.faults import NotFound"]
    assert headgate("generate", "method", "Hello", "forget").code == 1
    assert headgate("generate", "service", "payments").code == 0
    again = headgate("generate", "service", "payments")
    assert (again.code, "is there already" in again.err) == (1, True)
    assert ruff(folder) == []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    shown = json.loads(spawned("-o", "json", "contract", "show", cwd=folder).stdout)
    assert [each["service"] for each in shown] == ["hello", "payments"]
    assert [each["name"] for each in shown[0]["methods"]] == ["Hello", "Teach", "Forget"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("Hello", "forget", "language"), 2, "a parameter is NAME:TYPE"),
        (("Hello", "forget", "--returns", "Unheard"), 2, "knows no type 'Unheard'"),
        (("Hello", "forget", "--get", "/a", "--post", "/b"), 2, "keep one of --get, --post"),
        (("Nobody", "forget"), 2, "there are: Hello"),
        (("Hello", "hello"), 1, "has 'hello' already"),
        (("Hello", "forget", "--get", "/x/{language}"), 2, "which the method has not"),
        (("Hello", "forget", "name:str", "--get", "/hello/{name}"), 2, "are both bound to GET /hello/{}"),
    ],
)
def test_refused_methods(projects, headgate, monkeypatch, arguments, code, said):
    """A method that cannot be is refused, and the file stays as it is."""
    monkeypatch.chdir(projects["service"])
    before = (projects["service"] / "src" / "hello" / "api.py").read_bytes()
    done = headgate("generate", "method", *arguments)
    assert (done.code, said in done.err) == (code, True), done.err
    assert (projects["service"] / "src" / "hello" / "api.py").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("proto", "hello.api:Hello"), 'syntax = "proto3";'),
        (("openapi",), '"/hello/{name}"'),
        (("client", "hello.api:Hello"), "class Hello"),
        (("client", "hello.api:Hello", "--language", "typescript"), "export class"),
    ],
)
def test_made_of_contracts(projects, tmp_path, arguments, said):
    """Documents and clients go to standard output, or to a file that is not there yet."""
    folder = projects["service"]
    done = spawned("generate", *arguments, cwd=folder)
    assert (done.returncode, said in done.stdout) == (0, True), done.stderr
    (tmp_path / "out").write_text("mine")
    refused = spawned("generate", *arguments, "--out", tmp_path / "out", cwd=folder)
    assert (refused.returncode, (tmp_path / "out").read_text()) == (1, "mine")


def test_contract_is_held(project):
    """A breaking change is listed with its pointer and fails; releasing it takes a word more, and then it is kept."""
    folder = project("service")
    api = folder / "src" / "hello" / "api.py"
    api.write_text(
        api.read_text().replace(
            "async def hello(self, name: str, language", "async def hello(self, name: str, tone: str, language"
        )
    )
    done = spawned("-o", "json", "contract", "check", cwd=folder)
    changes = json.loads(done.stdout)[0]["changes"]
    assert done.returncode == 1
    assert [each["pointer"] for each in changes if each["level"] == "breaking"] != []
    assert spawned("contract", "check", "--update", cwd=folder).returncode == 1
    table = spawned("contract", "check", "--update", "--allow-breaking", cwd=folder)
    assert (table.returncode, "hello: written" in table.stdout) == (0, True), table.stderr
    assert spawned("contract", "check", cwd=folder).returncode == 0


def test_service_that_is_gone(project):
    """A lock without its service breaks the check of the whole, until it is released so; then it is gone as well."""
    folder = project("full")
    lock = folder / "contracts" / "old.lock"
    lock.write_bytes((folder / "contracts" / "hello.lock").read_bytes())
    done = spawned("contract", "check", cwd=folder)
    assert (done.returncode, "old: removed" in done.stdout) == (1, True), done.stdout
    assert spawned("contract", "check", "hello.api:Hello", cwd=folder).returncode == 0
    assert spawned("contract", "check", "--update", "--allow-breaking", cwd=folder).returncode == 0
    assert not lock.exists()
    assert spawned("contract", "check", cwd=folder).returncode == 0


def test_field_that_comes_back(project):
    """A field with the name of one that was removed fails as a promise that is not kept, not as wrong usage."""
    folder = project("service")
    api = folder / "src" / "hello" / "api.py"
    source = api.read_text()
    api.write_text(
        source.replace("    text: str\n    language: str\n", "    text: str\n    language: str\n    tone: str = ''\n")
    )
    assert "tone" in api.read_text()
    assert spawned("contract", "check", "--update", cwd=folder).returncode == 0
    more = api.read_text()
    api.write_text(source)
    assert spawned("contract", "check", "--update", "--allow-breaking", cwd=folder).returncode == 0
    api.write_text(more)
    done = spawned("contract", "check", cwd=folder)
    assert (done.returncode, "Greeting has 'tone' again" in done.stderr) == (1, True), done.stderr


def test_contract_never_written(project):
    """A service without a lock fails the check, and the hint writes one."""
    folder = project("service")
    (folder / "contracts" / "hello.lock").unlink()
    done = spawned("contract", "check", cwd=folder)
    assert (done.returncode, "contract check --update" in done.stderr) == (1, True)


def test_target_that_raises(project):
    """A module that raises is said to, with the place."""
    folder = project("service")
    (folder / "src" / "hello" / "api.py").write_text("\nraise RuntimeError('no store')\n")
    done = spawned("contract", "check", cwd=folder)
    assert done.returncode == 1
    assert "cannot be imported: RuntimeError: no store" in done.stderr
    assert "api.py, line 2" in done.stderr


def test_target_that_is_none(projects):
    """A target that cannot be imported is usage, and says what was not there."""
    for target in ("nowhere:Hello", "hello.api:Nobody", "hello.api:Greeting"):
        done = spawned("contract", "show", target, cwd=projects["service"])
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
