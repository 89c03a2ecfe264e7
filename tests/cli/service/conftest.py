"""New projects, and the command line run in them as users do: in processes of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headgate.dataplane.leash import leashed

COMMAND = [sys.executable, "-m", "headgate.cli"]
PATIENCE = 60.0
LEFT_OUT = ("PORT", "GRPC_PORT", "REGISTRY", "HEADGATE_OUTPUT", "HEADGATE_STATE_DIR", "PYTHONPATH")


def environment():
    """This process's, without what would be settings of the services."""
    return {name: value for name, value in os.environ.items() if name not in LEFT_OUT}


def spawned(*arguments, cwd):
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="session")
def projects(tmp_path_factory):
    """A new project of each template, made once."""
    folder = tmp_path_factory.mktemp("projects")
    made = {}
    for template in ("service", "worker", "full"):
        done = spawned("new", "hello", "--template", template, "--directory", folder / template, cwd=folder)
        assert done.returncode == 0, done.stderr
        made[template] = folder / template
    return made


@pytest.fixture
def project(projects, tmp_path):
    """A copy of the new project of a template."""

    def copy(template="service"):
        return Path(shutil.copytree(projects[template], tmp_path / template))

    return copy


SLOW = [
    pytest.param("service", marks=pytest.mark.soak),
    pytest.param("worker", marks=pytest.mark.soak),
    "full",
]
"""The templates for what takes long: the last has all that the others have."""


class Run:
    """A `headgate run` under way, and all that it said so far."""

    def __init__(self, process):
        self.process = process
        self._said = []
        self._more = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def text(self):
        """All that it said."""
        return "".join(self._said)

    def wait(self, text, *, after=0):
        """Return where the text ends, once it was said behind `after`."""
        deadline = time.monotonic() + PATIENCE
        with self._more:
            while text not in self.text[after:]:
                left = deadline - time.monotonic()
                assert left > 0, f"{text!r} was not said in\n{self.text}"
                assert self.process.poll() is None or self._reading.is_alive(), self.text
                self._more.wait(min(left, 1.0))
            return self.text.index(text, after) + len(text)

    @property
    def inspector(self):
        """Where the inspector is."""
        return self.text.partition("a form to call them: ")[2].split()[0].removesuffix("/docs")

    def applications(self):
        """What the inspector says of what runs, by name."""
        told = httpx.get(f"{self.inspector}/services", trust_env=False).json()
        return {each["name"]: each for each in told["applications"]}

    def call(self, target, **request):
        """What a public method answers, asked where its application is."""
        service, _, method = target.partition("/")
        url = self.applications()[service]["url"]
        return httpx.post(f"{url}/{service}.{method}/{method}", json=request, trust_env=False).json()

    def stop(self, number=signal.SIGINT):
        """Ask it to end. Returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def _read(self):
        for line in self.process.stdout:
            with self._more:
                self._said.append(line)
                self._more.notify_all()


@contextmanager
def running(folder, *arguments):
    """`headgate run`, ended with the block."""
    process = subprocess.Popen(
        leashed([*COMMAND, "run", *map(str, arguments)]),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    run = Run(process)
    try:
        yield run
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def json_of(done):
    """What a command of this process printed as JSON."""
    assert done.code == 0, done.err
    return json.loads(done.out)
