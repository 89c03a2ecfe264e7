"""The loop of a process, in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import asyncio, sys
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.loop import run, stop_on_signals

configure_logs()

async def main():
    stop = stop_on_signals()
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    await stop.wait()
    print("asked to stop", flush=True)
    if "hang" in sys.argv:
        await asyncio.Event().wait()
    return 7

sys.exit(run(main()))
"""


@pytest.fixture
def start() -> Iterator[object]:
    """Starts the program; what is left of it ends with the test."""
    started = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(child)
        return child

    yield begin
    for child in started:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop(start, number):
    """SIGINT and SIGTERM ask the program to stop in its own way, on uvloop."""
    child = start()
    assert child.stdout.readline().startswith("uvloop")
    child.send_signal(number)
    assert child.stdout.readline() == "asked to stop\n"
    assert child.wait(20) == 7


def test_a_second_signal_does_not_ask(start):
    """A program that does not stop is ended by the second signal."""
    child = start("hang")
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 128 + signal.SIGINT
