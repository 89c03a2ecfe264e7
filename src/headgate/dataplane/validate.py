"""Ask Envoy itself: a configuration goes through `envoy --mode validate` in a child process.

What kills the child would have killed the data plane, and is refused.
"""

import asyncio
import json
import os
import re
import resource
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headgate.dataplane.binary import end_session
from headgate.dataplane.bootstrap import RUNTIME
from headgate.dataplane.lint import findings, without_sds
from headgate.kit.controls.faults import Unavailable

_LONGEST_REASON = 1000
_NODE = {"id": "validate", "cluster": "validate"}


class EnvoyValidator:
    """Validates bootstrap documents. `timeout` is in seconds; at most `concurrency` children run at once.

    `directory` is where a document lies (mode 0600) while Envoy reads it; the system's default when None.
    """

    def __init__(
        self, binary: Path, *, timeout: float = 30.0, concurrency: int = 2, directory: Path | None = None
    ) -> None:
        self._binary = binary
        self._timeout = timeout
        self._directory = directory
        self._slots = asyncio.Semaphore(concurrency)

    async def check(self, config: Mapping[str, Any]) -> str | None:
        """Return why the bootstrap document `config` (proto JSON) is refused; None when it is accepted.

        References to SDS are replaced by a placeholder first, and the runtime settings of our own bootstrap
        hold unless the document brings its own. Raises Unavailable when Envoy cannot be started, or does not
        come to a verdict in time.
        """
        finding, document = await asyncio.to_thread(_prepared, config)
        if finding:
            return finding
        async with self._slots:
            with _lying(document, self._directory) as name:
                status, output = await self._run(name)
        return None if status == 0 else _reason(status, output.replace(name, "configuration"))

    async def _run(self, name: str) -> tuple[int, str]:
        arguments = ("--mode", "validate", "-c", name, "-l", "critical", "--log-format", "%v")
        try:
            child = await asyncio.create_subprocess_exec(
                self._binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                # Nothing of this process's environment is Envoy's business, secrets least of all.
                env={"PATH": os.environ.get("PATH", os.defpath)},
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(
                "Envoy could not be asked", code="validation_unavailable", internal=f"{self._binary}: {error}"
            ) from error
        with suppress(OSError, ValueError):
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
        try:
            async with asyncio.timeout(self._timeout):
                _, output = await child.communicate()
        except TimeoutError as error:
            raise Unavailable(
                f"Envoy did not come to a verdict within {self._timeout:g} seconds",
                code="validation_timed_out",
                hint="try again; if it happens again, the change may be too large for one step",
            ) from error
        finally:
            await end_session(child)
        return child.returncode or 0, output.decode("utf-8", "replace")


def _prepared(config: Mapping[str, Any]) -> tuple[str | None, bytes]:
    document = {
        "node": _NODE,
        "layered_runtime": {"layers": [{"name": "headgate", "static_layer": dict(RUNTIME)}]},
        **without_sds(config),
    }
    return next(findings(document), None), json.dumps(document).encode()


@contextmanager
def _lying(document: bytes, directory: Path | None) -> Iterator[str]:
    # mkstemp makes the file with mode 0600.
    handle, name = tempfile.mkstemp(prefix="envoy-", suffix=".json", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(document)
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _reason(status: int, output: str) -> str:
    if status < 0:
        return f"Envoy would crash: it died of {_signal_name(-status)} while reading the configuration"
    text = re.sub(r"^error initializing configuration 'configuration': ", "", output.strip())
    # A document that does not parse is echoed whole, and may hold keys.
    text = re.sub(r':?\s*[\[{]+\s*".*', "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)[:_LONGEST_REASON].strip() or f"Envoy ended with status {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
