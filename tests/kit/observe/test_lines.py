"""Lines on their way to a stream: none may break or hold up what it tells of."""

import io
import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from headgate.kit.observe.lines import BackgroundLines, DirectLines, encode


def eventually(condition, seconds: float = 10.0) -> None:
    """Wait until it holds; fail when it does not in time."""
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "it did not come to hold"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "value", [{"a": 1, "b": [None, True, "é"]}, {"big": 2**80}, {"half": "\ud800"}, {"nan": float("nan")}, {1: "x"}]
)
def test_any_document_is_one_line_of_json(value):
    """Numbers of any size, broken text and keys of other types are written, on one line."""
    line = encode(value)
    assert b"\n" not in line
    assert set(json.loads(line)) == {str(key) for key in value}


def test_what_json_does_not_know():
    """An object becomes its repr, and what cannot even be walked becomes text."""
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    assert json.loads(encode({"a": object}))["a"] == "<class 'object'>"
    assert isinstance(json.loads(encode(cycle)), str)


class Gone(io.StringIO):
    """A stream nobody reads any more."""

    def write(self, _text: str) -> int:
        """Fail as a closed pipe does."""
        raise BrokenPipeError


def test_a_stream_that_is_gone_loses_lines_only():
    """Writing to a closed or broken stream raises nothing and is counted."""
    lost: list[int] = []
    closed = io.StringIO()
    closed.close()
    for stream in (Gone(), closed):
        DirectLines(stream, dropped=lost.append).write(b"x\n")
    assert lost == [1, 1]


def test_lines_keep_their_order():
    """A thread that writes them writes them in order, all of them, by the time it is closed."""
    stream = io.StringIO()
    sink = BackgroundLines(DirectLines(stream))
    for number in range(2_000):
        sink.write(b"%d\n" % number)
    sink.close()
    assert stream.getvalue().split() == [str(number) for number in range(2_000)]
    sink.write(b"later\n")
    sink.close()
    assert stream.getvalue().endswith("later\n")


def test_a_blocked_stream_holds_nobody_up():
    """While the reader of a pipe stands still, writers go on; what does not fit is dropped and counted."""
    reader, writer = os.pipe()
    lost: list[int] = []
    with os.fdopen(writer, "w") as stream:
        sink = BackgroundLines(DirectLines(stream), most_bytes=100_000, dropped=lost.append)
        for _ in range(5_000):
            sink.write(b"x" * 99 + b"\n")
        assert 5_000 - sum(lost) >= 1_000
        assert lost
        received = bytearray()

        def read() -> None:
            while chunk := os.read(reader, 65_536):
                received.extend(chunk)

        thread = threading.Thread(target=read)
        thread.start()
        eventually(lambda: len(received) >= 100 * (5_000 - sum(lost)))
        sink.close()
    thread.join(10)
    os.close(reader)
    assert len(received) == 100 * (5_000 - sum(lost))


def test_many_threads_may_write():
    """Lines of several threads arrive whole."""
    stream = io.StringIO()
    sink = BackgroundLines(DirectLines(stream))
    threads = [threading.Thread(target=lambda: [sink.write(b"y" * 50 + b"\n") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert stream.getvalue() == ("y" * 50 + "\n") * 2_000


def run(script: str) -> str:
    """What a process of its own writes to its standard error."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True, timeout=60)
    return done.stderr.decode()


def test_a_process_that_ends_writes_what_waits():
    """Lines still in the queue when the process ends are written."""
    written = run("""
        import sys
        from headgate.kit.observe.lines import BackgroundLines, DirectLines
        sink = BackgroundLines(DirectLines(sys.stderr))
        for number in range(100):
            sink.write(b"%d\\n" % number)
    """)
    assert written.split() == [str(number) for number in range(100)]


def test_a_forked_child_has_a_thread_of_its_own():
    """A child that was forked writes its own lines, and not its parent's again."""
    written = run("""
        import os, sys
        from headgate.kit.observe.lines import BackgroundLines, DirectLines
        sink = BackgroundLines(DirectLines(sys.stderr))
        sink.write(b"parent\\n")
        child = os.fork()
        if child == 0:
            sink.write(b"child\\n")
            sink.close()
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert sorted(written.split()) == ["child", "parent"]
