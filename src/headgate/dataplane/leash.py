"""Become another program that dies with its parent: `python -IS leash.py PARENT_PID PROGRAM ARGUMENT...`.

A program of its own, because a hook between fork and exec is not safe in a process with threads (gRPC).
On Linux the kernel kills the program when the parent is gone, however that came to be; elsewhere nothing happens.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` (program given by its path) on a leash held by this process."""
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Put the leash on and become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(arguments[0]):
            sys.exit("the parent is gone already")
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - the whole purpose


if __name__ == "__main__":
    main(sys.argv[1:])
