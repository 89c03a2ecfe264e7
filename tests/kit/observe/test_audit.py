"""The audit log: every record is written once, in order, and nobody waits for it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.controls.principal import Principal
from headgate.kit.current import CURRENT
from headgate.kit.observe.audit import AuditLog
from headgate.kit.observe.audit_chain import verify
from headgate.kit.observe.audit_sinks import CallableSink, FileSink, Sink, StreamSink, SyslogSink, open_sink

SECRET = "s3cr3t-Value-9"


def eventually(condition, seconds: float = 20.0) -> None:
    """Wait until it holds; fail when it does not in time."""
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "it did not come to hold"
        time.sleep(0.005)


@pytest.fixture
def opened():
    """Make audit logs that are closed afterwards."""
    logs = []

    def make(sink: Sink, **options) -> AuditLog:
        logs.append(AuditLog(sink, **options))
        return logs[-1]

    yield make
    for log in logs:
        log.close(1.0)


def lines(path: Path) -> list[dict]:
    """The records of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_a_line(opened, tmp_path):
    """A record is a line of JSON with the time, the service and the process; its file is its owner's alone."""
    path = tmp_path / "audit.log"
    audit = opened(FileSink(path), service="shop", version="1.2")
    audit.write({"event.action": "GET /"})
    assert audit.flush()
    (record,) = lines(path)
    assert record["@timestamp"].endswith("Z")
    assert (record["event.action"], record["ecs.version"]) == ("GET /", "8.17.0")
    assert (record["service.name"], record["service.version"], record["process.pid"]) == ("shop", "1.2", os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_domain_tells_its_own(opened):
    """An event of the domain says who caused it in which call; secrets in its details are masked."""
    records: list[bytes] = []
    audit = opened(CallableSink(records.append))
    call = Call("http", "POST", "/teams", (), "10.0.0.7", 1.0)
    call.request_id, call.principal, call.trace = "id-1", Principal("ada"), TraceContext("ab" * 16, "cd" * 8)
    token = CURRENT.set(call)
    audit.record(
        "team_deleted", target="team/blue", kind="deletion", reason="asked", details={"password": SECRET, "size": 3}
    )
    CURRENT.reset(token)
    audit.record("key_rotated", outcome="failure", category="iam")
    assert audit.flush()
    deleted, rotated = map(json.loads, records)
    expected = {
        "event.action": "team_deleted", "event.category": ["configuration"], "event.type": ["deletion"],
        "event.outcome": "success", "event.reason": "asked", "headgate.target": "team/blue", "user.id": "ada",
        "source.ip": "10.0.0.7", "http.request.id": "id-1", "trace.id": "ab" * 16,
    }  # fmt: skip
    assert expected.items() <= deleted.items()
    assert deleted["headgate.details"] == {"password": "***", "size": 3}
    assert (rotated["event.outcome"], rotated["event.category"]) == ("failure", ["iam"])
    assert "user.id" not in rotated


class Refuses(Sink):
    """A sink that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.records: list[bytes] = []

    def write(self, records) -> None:
        """Fail, or keep them."""
        if not self.open.is_set():
            raise OSError("the disk is full")
        self.records += records


def test_a_sink_that_fails_loses_nothing(opened, logged):
    """While the sink fails records wait, calls go on, the log says so once; later all are written, in order."""
    sink, told = Refuses(), []
    audit = opened(sink, first_pause=0.01, told=lambda outcome, count: told.append((outcome, count)))
    for number in range(50):
        audit.write({"event.sequence": number})
    eventually(lambda: told.count(("delayed", 50)) >= 2 or len(told) > 3)
    assert not audit.ready()
    sink.open.set()
    assert audit.flush()
    assert audit.ready()
    assert [json.loads(record)["event.sequence"] for record in sink.records] == list(range(50))
    assert sum(count for outcome, count in told if outcome == "written") == 50
    events = [line["event"] for line in logged()]
    assert events == ["audit records cannot be written, they wait", "audit records are written again"]


def test_a_value_without_end_blocks_nothing(opened):
    """A value too long for any sink gives way to a word for it: the record, and those behind it, are written."""
    records: list[bytes] = []
    audit = opened(CallableSink(records.append))
    audit.record("imported", target="team/blue", details={"text": "x" * 300_000})
    audit.record("deleted", target="team/blue")
    assert audit.flush()
    first, second = map(json.loads, records)
    assert (first["event.action"], first["headgate.target"]) == ("imported", "team/blue")
    assert first["headgate.details"] == "(too long)"
    assert second["event.action"] == "deleted"
    assert max(map(len, records)) < 4_096


def test_a_sink_with_a_defect_ends_nothing(opened, logged):
    """A sink that raises what no sink should is tried again like one that cannot write."""
    broken, records = [True, True], []

    class Defective(Sink):
        def write(self, batch) -> None:
            if broken:
                broken.pop()
                raise ValueError("a defect")
            records.extend(batch)

    audit = opened(Defective(), chain=True, first_pause=0.01)
    audit.write({"n": 1})
    assert audit.flush()
    assert [json.loads(record)["event.sequence"] for record in records] == [1]
    assert logged()[0]["event"] == "audit records cannot be written, they wait"


FORKED = """
    import os, sys
    from pathlib import Path
    from headgate.kit.observe.audit import AuditLog
    from headgate.kit.observe.audit_sinks import FileSink

    sink = FileSink(Path(sys.argv[1]))
    audit = AuditLog(sink, chain=True)
    with sink.exclusive():
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            audit.write({"who": "child"})
            os.write(write, b"unlocked" if audit.flush(0.5) else b"waited")
            audit.flush()
            os._exit(0)
        print(os.read(read, 20).decode())
    os.waitpid(child, 0)
"""


def test_a_forked_child_takes_its_turn(tmp_path):
    """A child that was forked waits while its parent writes, and writes after it."""
    path = tmp_path / "audit.log"
    command = [sys.executable, "-c", textwrap.dedent(FORKED), str(path)]
    assert subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout == "waited\n"
    assert [record["who"] for record in lines(path)] == ["child"]


def test_what_does_not_fit_is_dropped_and_counted(opened, logged):
    """Beyond the queue records are dropped, each counted, the outage logged once; there is never more memory in use."""
    sink, told = Refuses(), []
    audit = opened(sink, most=10, first_pause=0.01, told=lambda outcome, _count: told.append(outcome))
    for number in range(1_000):
        audit.write({"event.sequence": number})
    assert audit.waiting == 10
    assert not audit.ready()
    assert told.count("dropped") == 990
    assert sum(line["event"] == "audit records are lost: the queue is full" for line in logged()) == 1
    sink.open.set()
    assert audit.flush()
    assert len(sink.records) == 10


def test_records_after_the_end_are_counted(opened):
    """A record that comes once the log was closed is dropped and counted."""
    told = []
    audit = opened(StreamSink(io.BytesIO()), told=lambda outcome, _count: told.append(outcome))
    audit.write({"a": 1})
    audit.close()
    audit.write({"a": 2})
    assert told == ["written", "dropped"]


def test_a_closed_file_leaves_its_number_to_the_next(tmp_path):
    """Whoever still writes when the file was closed, or closes it again, does not touch what has its descriptor now."""
    sink = FileSink(tmp_path / "audit.log")
    number = sink._descriptor
    sink.close()
    held = [os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    assert number in held
    sink.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sink.write([b"late"])
    assert (tmp_path / "other").read_bytes() == b""
    for each in held:
        os.close(each)


def test_a_restart_continues_the_chain(opened, tmp_path):
    """A process that starts again goes on where the file ends, and what a crash cut short is removed."""
    path = tmp_path / "audit.log"
    for number in range(3):
        audit = opened(FileSink(path), chain=True, key=b"k")
        audit.write({"run": number})
        audit.write({"run": number})
        audit.close()
        with path.open("ab") as torn:
            torn.write(b'{"torn":')
    audit = opened(FileSink(path), chain=True, key=b"k")
    audit.write({"run": 3})
    assert audit.flush()
    verdict = verify(path, key=b"k")
    assert (verdict.intact, verdict.records, len(verdict.chains)) == (True, 7, 1)


def test_a_chain_survives_a_failing_disk(opened, tmp_path, monkeypatch):
    """Records that could not be written are sealed anew: the chain has neither gaps nor halves."""
    path = tmp_path / "audit.log"
    audit = opened(FileSink(path), chain=True, first_pause=0.01)
    audit.write({"n": 0})
    assert audit.flush()
    real, failures = os.write, iter([10, None, 5, None])

    def limited(descriptor: int, data: bytes) -> int:
        take = next(failures, -1)
        if take is None:
            raise OSError(28, "No space left on device")
        return real(descriptor, data if take < 0 else data[:take])

    monkeypatch.setattr("headgate.kit.observe.audit_sinks.os.write", limited)
    for number in range(1, 5):
        audit.write({"n": number})
    assert audit.flush()
    assert verify(path).intact
    assert [record["n"] for record in lines(path)] == list(range(5))


def test_a_rotated_file_is_left_alone(opened, tmp_path):
    """After the file was moved away the next record is in a new one, private again, and continues the chain."""
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    audit = opened(FileSink(path), chain=True)
    audit.write({"n": 0})
    assert audit.flush()
    path.rename(old)
    audit.reopen()
    audit.write({"n": 1})
    assert audit.flush()
    assert ([record["n"] for record in lines(old)], [record["n"] for record in lines(path)]) == ([0], [1])
    ((_, last),) = verify(old).chains.values()
    assert verify(path, after=last).intact
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_long_record_is_resumed(opened, tmp_path):
    """The last record is found however long it is."""
    path = tmp_path / "audit.log"
    for _ in range(2):
        audit = opened(FileSink(path, fsync=True), chain=True)
        audit.write({f"text.{number}": "x" * 900 for number in range(300)})
        audit.close()
    assert verify(path).records == 2
    assert len(verify(path).chains) == 1


WORKER = """
    import sys
    from pathlib import Path
    from headgate.kit.observe.audit import AuditLog
    from headgate.kit.observe.audit_sinks import FileSink

    audit = AuditLog(FileSink(Path(sys.argv[1])), chain=True)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(300):
        audit.write({"worker": sys.argv[2], "n": number})
        if number % 50 == 0:
            audit.flush()
    audit.flush()
    print("done", flush=True)
    sys.stdin.readline()
"""


def test_several_workers_write_one_chain(tmp_path):
    """Processes that share a file take turns: one chain, nothing lost, in order for each, however they end."""
    path = tmp_path / "audit.log"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), str(path), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    for step in ("ready", "done"):
        assert [worker.stdout.readline().strip() for worker in workers] == [step, step]
        if step == "ready":
            for worker in workers:
                worker.stdin.write("go\n")
                worker.stdin.flush()
    workers[0].send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate("\n", timeout=30)
    verdict = verify(path)
    assert (verdict.intact, verdict.records, len(verdict.chains)) == (True, 600, 1)
    for number in ("0", "1"):
        assert [record["n"] for record in lines(path) if record["worker"] == number] == list(range(300))


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_syslog_datagrams(opened, tmp_path, kind):
    """A record is one message of RFC 5424, over the local socket and over UDP."""
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.settimeout(20)
        server.bind(str(tmp_path / "log") if kind == "unix" else ("127.0.0.1", 0))
        where = f"unix://{tmp_path}/log" if kind == "unix" else f"udp://127.0.0.1:{server.getsockname()[1]}"
        audit = opened(open_sink(f"syslog+{where}", app="my shop"))
        audit.write({"event.action": "x"})
        message = server.recv(65_536).decode()
    head, _, record = message.partition(" - {")
    priority, stamp, host, app, process, name = head.split()
    assert (priority, app, process, name) == ("<110>1", "myshop", str(os.getpid()), "audit")
    assert stamp.endswith("Z")
    assert host == socket.gethostname()
    assert json.loads("{" + record)["event.action"] == "x"


def receive(server: socket.socket, wanted: str) -> None:
    """Take one connection, and of it one whole message that has `wanted` in it."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(20)
        data = b""
        while not data.endswith(b"}"):
            data += connection.recv(65_536)
    length, _, message = data.partition(b" ")
    assert wanted in message.decode()
    assert data == b"%d %b" % (int(length), message) or message.count(b"<110>1") > 1


def test_syslog_streams(opened):
    """Over TCP each message is preceded by its length, and a connection that was lost is made anew."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        audit = opened(open_sink(f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}"), first_pause=0.01)
        audit.write({"turn": 0})
        receive(server, '"turn":0')
        # TCP takes what comes first after the other end has closed, and only then says so.
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(0.005):
                audit.write({"turn": 1})

        writer = threading.Thread(target=go_on)
        writer.start()
        try:
            receive(server, '"turn":1')
        finally:
            stop.set()
            writer.join(20)


def test_where_records_can_go(tmp_path):
    """A setting names a stream, syslog or a file; what cannot be is refused when the process starts."""
    assert isinstance(open_sink("stdout"), StreamSink)
    assert isinstance(open_sink("stderr"), StreamSink)
    assert isinstance(open_sink("syslog"), SyslogSink)
    open_sink(str(tmp_path / "a.log")).close()
    for where in ("syslog+udp://", "syslog+http://host", "syslog+tcp://host:port"):
        with pytest.raises(InvalidArgument, match="audit records"):
            open_sink(where)
    with pytest.raises(FailedPrecondition, match="cannot be opened"):
        open_sink(str(tmp_path / "missing" / "a.log"))


def test_a_process_that_ends_writes_what_waits(tmp_path):
    """Records still in the queue when the process ends are written; a forked child does not write its parent's."""
    script = """
        import os, sys
        from pathlib import Path
        from headgate.kit.observe.audit import AuditLog
        from headgate.kit.observe.audit_sinks import FileSink
        audit = AuditLog(FileSink(Path(sys.argv[1])), chain=True)
        audit.write({"who": "parent"})
        if os.fork() == 0:
            audit.write({"who": "child"})
            audit.flush()
            os._exit(0)
        os.wait()
    """
    path = tmp_path / "audit.log"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=True, timeout=60)
    assert sorted(record["who"] for record in lines(path)) == ["child", "parent"]
    assert verify(path).intact
