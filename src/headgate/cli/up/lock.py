"""One `headgate up`, or another command, per state directory, for as long as it lives, however it dies."""

import fcntl
import os
from pathlib import Path

from headgate.cli.failures import Failure

_HINTS = {"up": "stop it first, or give this one a --state-dir and ports of its own"}


class Lock:
    """Held from construction until the process is gone. Raises Failure when another holds it."""

    def __init__(self, directory: Path, command: str = "up") -> None:
        file = directory / f"{command}.lock"
        self._handle = file.open("a+")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._handle.seek(0)
            pid = self._handle.read().strip()
            self._handle.close()
            raise Failure(
                f"`headgate {command}` runs already in {directory.absolute()}" + (f" (pid {pid})" if pid else ""),
                hint=_HINTS.get(command, "stop it first"),
            ) from None
        self._handle.truncate(0)
        self._handle.write(f"{os.getpid()}\n")
        self._handle.flush()

    def release(self) -> None:
        """Let go."""
        self._handle.close()
