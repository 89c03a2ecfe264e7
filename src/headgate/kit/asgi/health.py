"""Is it ready, and if not, why: the checks behind `/ready` and `grpc.health.v1`.

health = Health()
health.add("store", store.ping)
passed, document = await health.report()    # {"status": "ready" | "not ready" | "draining", "checks": {...}}
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from headgate.kit.controls.faults import Fault

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises otherwise. Only a fault's message is shown to the caller."""

_log = structlog.get_logger("headgate.health")


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    check: Check
    timeout: float


class Health:
    """The named checks of a process, and whether it is on its way out."""

    def __init__(self) -> None:
        self._checks: list[_Named] = []
        self._failing: set[str] = set()
        self.draining = False

    def add(self, name: str, check: Check, *, timeout: float = 2.0) -> None:
        """Be ready only while `check` passes within `timeout` seconds."""
        self._checks.append(_Named(name, check, timeout))

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Run all checks at the same time. Returns whether the process is ready, and the document that says why."""
        results = await asyncio.gather(*(self._run(named) for named in self._checks))
        checks = {named.name: result for named, result in zip(self._checks, results, strict=True)}
        passed = all(result["status"] == "ok" for result in results)
        status = "draining" if self.draining else "ready" if passed else "not ready"
        return status == "ready", {"status": status, "checks": checks}

    async def _run(self, named: _Named) -> dict[str, str]:
        try:
            async with asyncio.timeout(named.timeout):
                await named.check()
        except TimeoutError:
            result = {"status": "timeout", "reason": f"no answer within {named.timeout:g} s"}
        except Fault as fault:
            result = {"status": "failed", "reason": fault.message}
        except Exception as error:  # noqa: BLE001 - whatever a check raises means: not ready
            self._tell(named.name, error)
            return {"status": "failed", "reason": "see the server's log"}
        else:
            self._failing.discard(named.name)
            return {"status": "ok"}
        self._tell(named.name, result["reason"])
        return result

    def _tell(self, name: str, reason: Exception | str) -> None:
        """Log a failure when it begins, not at every probe."""
        if name not in self._failing:
            self._failing.add(name)
            error = reason if isinstance(reason, Exception) else None
            _log.warning("not ready", check=name, reason=str(reason), exc_info=error)
