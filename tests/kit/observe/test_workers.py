"""Metrics of several worker processes, told as one."""

import os
import subprocess
import sys
import textwrap

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headgate.kit.observe.workers import WorkerFiles

WORKER = """
    import sys
    from headgate.kit.controls.call import Call
    from headgate.kit.observe.metrics import Metrics

    metrics = Metrics()

    def serve(times):
        for number in range(times):
            call = Call("http", "GET", "/", (), "10.0.0.7", 1.0)
            call.ended, call.complete, call.status, call.route, call.bytes_out = 1.02, True, 200, "/orders", 10
            metrics.began("http")
            metrics.ended(call, counted=True, stream=False)

    for command in sys.stdin:
        verb, _, value = command.strip().partition(" ")
        if verb == "serve":
            serve(int(value))
        elif verb == "begin":
            metrics.began("http")
        elif verb == "break":
            metrics.breakers.changed("payments", "closed", value)
        elif verb == "expose":
            body, content_type = metrics.expose(value)
            print(len(body), content_type, flush=True)
            sys.stdout.write(body.decode())
        print("done", flush=True)
"""


class Worker:
    """A process that counts what it is told to."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def do(self, command: str) -> str:
        """Have it do something; returns what it printed."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        printed = []
        while (line := self.process.stdout.readline()) != "done\n":
            assert line, "the worker is gone"
            printed.append(line)
        return "".join(printed)

    def samples(self) -> dict[str, float]:
        """What it exposes, by name and labels."""
        text = self.do("expose").partition("\n")[2]
        return {
            sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def kill(self) -> int:
        """End it at once."""
        self.process.kill()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.pid


@pytest.fixture
def workers(tmp_path):
    """Start workers; they are gone afterwards."""
    files, started = WorkerFiles(tmp_path / "metrics"), []
    environment = files.prepare()

    def start() -> Worker:
        started.append(Worker(environment))
        return started[-1]

    yield files, start
    for worker in started:
        if worker.process.poll() is None:
            worker.kill()


COUNT = "headgate_requests_total OK GET http /orders 200"
RUNNING = "headgate_requests_in_flight http"


def test_any_worker_tells_for_all(workers):
    """Whichever of two processes is scraped, counts, times and calls under way are those of both."""
    _, start = workers
    one, two = start(), start()
    one.do("serve 3")
    two.do("serve 4")
    one.do("begin")
    two.do("begin")
    one.do("break half_open")
    two.do("break open")
    for worker in (one, two):
        found = worker.samples()
        assert found[COUNT] == 7
        assert found["headgate_request_duration_seconds_count GET ok http /orders"] == 7
        assert found["headgate_response_bytes_total http /orders"] == 70
        assert found[RUNNING] == 2
        assert found["headgate_breaker_state payments"] == 2
    assert "openmetrics" in one.do("expose application/openmetrics-text").partition("\n")[0]


def test_what_a_dead_worker_counted_remains(workers):
    """A worker that died leaves its counts and takes its gauges along; its files are gone, however many die."""
    files, start = workers
    survivor = start()
    survivor.do("serve 1")
    for _ in range(2):
        victim = start()
        victim.do("serve 5")
        victim.do("begin")
        victim.do("break open")
        files.ended(victim.kill())
    found = survivor.samples()
    assert found[COUNT] == 11
    assert found["headgate_request_duration_seconds_bucket 0.025 GET ok http /orders"] == 11
    assert found[RUNNING] == 0
    assert "headgate_breaker_state payments" not in found
    pids = {path.stem.rpartition("_")[2] for path in files.directory.glob("*.db")}
    assert pids == {str(survivor.process.pid), "ended"}
    files.ended(1)


def test_a_new_run_begins_at_nothing(workers):
    """Figures that an earlier run left behind are not counted again, and the directory is for its user alone."""
    files, start = workers
    worker = start()
    worker.do("serve 2")
    worker.kill()
    files.prepare()
    again = start()
    again.do("serve 1")
    assert again.samples()[COUNT] == 1
    assert files.directory.stat().st_mode & 0o077 == 0
