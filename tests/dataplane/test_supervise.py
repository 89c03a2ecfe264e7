"""Supervision of a child process."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.dataplane.leash import leashed
from headgate.dataplane.supervise import BackOff, Child, Lines, Supervisor
from headgate.kit.controls.faults import Unavailable
from headgate.testing.envoy import eventually

QUICK = BackOff(first=0.01, longest=0.05, stable=60)


def python(code, **options):
    """Return a child that runs a piece of Python and is ready at once."""
    return Child(
        name="child",
        command=[sys.executable, "-ISc", code],
        **{"ready": _yes, "back_off": QUICK, "grace": 5.0, **options},
    )


async def _yes():
    return True


async def _no():
    return False


WAIT = "import signal; signal.pause()"


async def test_restarts_a_killed_child():
    """A child that is killed is started again under a new pid, and the restart is counted."""
    supervisor = Supervisor(python(WAIT))
    await supervisor.start()
    await supervisor.wait_live(10)
    first = supervisor.status.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: _is(lambda: supervisor.status.restarts == 1 and supervisor.status.state == "live"))
    assert supervisor.status.pid != first
    await supervisor.stop()


async def test_says_why_it_restarts():
    """The status of a child that does not stay up carries how it left and the last thing it said."""
    seen = []
    child = python("import sys; print('the port is taken', file=sys.stderr); sys.exit(3)", ready=_no)
    supervisor = Supervisor(child, on_status=seen.append)
    await supervisor.start()
    with pytest.raises(Unavailable, match="left with exit code 3: the port is taken") as refused:
        await supervisor.wait_live(10, lives=2)
    assert refused.value.code == "child_not_live"
    await supervisor.stop()
    assert [status.state for status in seen[:4]] == ["starting", "backing_off", "starting", "backing_off"]
    assert seen[-1].state == "stopped"


async def test_names_the_signal():
    """A child that was killed is said to have been, by which signal."""
    seen = []
    child = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", ready=_no)
    supervisor = Supervisor(child, on_status=seen.append)
    await supervisor.start()
    await eventually(lambda: _is(lambda: any("SIGSEGV" in status.reason for status in seen)))
    await supervisor.stop()


async def test_missing_program():
    """A program that is not there is a reason to back off, not a crash of the supervisor."""
    child = Child("child", ["/nonexistent/program"], ready=_no, back_off=QUICK)
    supervisor = Supervisor(child)
    await supervisor.start()
    with pytest.raises(Unavailable):
        await supervisor.wait_live(10, lives=1)
    await supervisor.stop()


async def test_not_ready_in_time():
    """Waiting for a child that is never ready ends with a fault that names it."""
    supervisor = Supervisor(python(WAIT, ready=_no))
    await supervisor.start()
    with pytest.raises(Unavailable, match=r"child is not ready after 0\.1 s"):
        await supervisor.wait_live(0.1)
    await supervisor.stop()


async def test_stop_drains_first():
    """Stopping awaits the drain before the child is asked to leave."""
    order = []
    supervisor = None

    async def drain():
        order.append(psutil.pid_exists(supervisor.status.pid))

    supervisor = Supervisor(python(WAIT, drain=drain))
    await supervisor.start()
    await supervisor.wait_live(10)
    await supervisor.stop()
    await supervisor.stop()
    assert order == [True]
    assert supervisor.status.state == "stopped"
    assert supervisor.status.pid is None


async def test_stop_kills_the_deaf():
    """A child that ignores SIGTERM is killed after its grace."""
    out = []
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {WAIT}"
    supervisor = Supervisor(python(code, grace=0.2), out=out.append)
    await supervisor.start()
    await eventually(lambda: _is(lambda: b"deaf\n" in out))
    pid = supervisor.status.pid
    await supervisor.stop()
    assert not psutil.pid_exists(pid)


async def test_stop_while_backing_off():
    """Stopping does not wait for the pause between restarts to pass."""
    supervisor = Supervisor(python("raise SystemExit(1)", ready=_no, back_off=BackOff(first=600, longest=600)))
    await supervisor.start()
    await eventually(lambda: _is(lambda: supervisor.status.state == "backing_off"))
    await asyncio.wait_for(supervisor.stop(), 10)


async def test_child_dies_with_its_parent():
    """A child does not outlive a supervisor that was killed."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import subprocess, sys; from headgate.dataplane.leash import leashed\n"
        f"child = subprocess.Popen(leashed([sys.executable, '-ISc', {WAIT!r}]), start_new_session=True)\n"
        "print(child.pid, flush=True); child.wait()",
        stdout=asyncio.subprocess.PIPE,
    )
    pid = int(await holder.stdout.readline())
    assert psutil.pid_exists(pid)
    holder.kill()
    await holder.wait()
    await eventually(lambda: _is(lambda: not _runs(pid)))


async def test_leash_needs_its_parent():
    """A child whose parent is gone before the leash is on does not run."""
    command = leashed([sys.executable, "-c", "print('ran')"])
    command[3] = "1"
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    assert (out, process.returncode) == (b"", 1)
    assert b"parent" in err


async def test_child_gets_its_environment():
    """The environment given is added to ours."""
    out = []
    code = f"import os; print(os.environ['HEADGATE_X'], os.environ['PATH'], flush=True); {WAIT}"
    supervisor = Supervisor(python(code, environment={"HEADGATE_X": "ours"}), out=Lines(out.append))
    await supervisor.start()
    await eventually(lambda: _is(lambda: out))
    await supervisor.stop()
    assert out == [f"ours {os.environ['PATH']}"]


async def test_onlookers_cannot_harm():
    """Sinks, callbacks and drains that raise stop neither the child nor its supervision."""

    def fail(*_):
        raise RuntimeError("no disk")

    async def fail_to_drain():
        fail()

    code = f"import sys; print('x' * 200_000, flush=True); print('y' * 200_000, file=sys.stderr, flush=True); {WAIT}"
    supervisor = Supervisor(python(code, drain=fail_to_drain), out=fail, err=fail, on_status=fail)
    await supervisor.start()
    await eventually(lambda: _is(lambda: supervisor.tail and supervisor.status.state == "live"))
    pid = supervisor.status.pid
    await supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_lines_are_whole():
    """Pieces are joined to lines whatever their borders, and a line without end does not grow for ever."""
    taken = []
    lines = Lines(taken.append)
    for piece in (b"a", b"b\nc", b"d\n", b"x" * 40_000, b"\nlast\n"):
        lines(piece)
    assert taken[:2] == ["ab", "cd"]
    assert taken[2] == "x" * 16_384
    assert taken[3:] == ["last"]


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_back_off_is_bounded(failures, chance):
    """A pause is never longer than the longest, and never less than half of what it would be without chance."""
    back_off = BackOff(first=0.2, longest=10)
    pause = back_off.pause(failures, chance)
    assert back_off.pause(failures, 0.0) / 2 <= pause <= back_off.pause(failures, 0.0) <= 10


def test_back_off_doubles():
    """Without chance the pauses double up to the longest."""
    assert [BackOff(first=1, longest=5).pause(n, 0.0) for n in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]


async def test_back_off_forgets_after_a_stable_life():
    """A child that was live long enough starts over with the shortest pause."""
    seen = []
    child = python("import time; time.sleep(0.1)", back_off=BackOff(first=0.01, longest=10, stable=0.0))
    supervisor = Supervisor(child, on_status=seen.append)
    await supervisor.start()
    await eventually(lambda: _is(lambda: supervisor.status.restarts >= 4))
    await supervisor.stop()
    assert all(status.retry_in <= 0.01 for status in seen if status.state == "backing_off")


async def _is(what):
    return bool(what())


def _runs(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
