"""Is it alive, is it ready, how is it doing: `/health`, `/ready`, `/metrics`.

GET /health  200 {"status": "ok"} while the process can answer at all
GET /ready   200 or 503 {"status": "ready" | "not ready" | "draining", "checks": {name: {...}}}
GET /metrics Prometheus' text format; guarded unless the settings make it public
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headgate.kit.controls.faults import Fault
from headgate.kit.observe.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises otherwise. Only a fault's message is shown to the caller."""

Guard = Callable[[Request], Awaitable[None]]
"""Raises the fault a request is refused with."""

_log = structlog.get_logger("headgate.health")
_NO_STORE = {"cache-control": "no-store"}


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


def health_routes(health: Health, metrics: Metrics, *, metrics_guard: Guard | None = None) -> list[Route]:
    """The three routes. `metrics_guard` refuses callers of `/metrics`; without it they are public."""

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def ready(_request: Request) -> Response:
        passed, document = await health.report()
        return JSONResponse(document, status_code=200 if passed else 503, headers=_NO_STORE)

    async def exposition(request: Request) -> Response:
        if metrics_guard is not None:
            await metrics_guard(request)
        return Response(metrics.render(), media_type=CONTENT_TYPE, headers=_NO_STORE)

    return [Route("/health", live), Route("/ready", ready), Route("/metrics", exposition)]
