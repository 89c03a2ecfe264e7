"""Running the checks, and saying how they went."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

GROUPS: Final = ("any", "rest", "sse", "websocket", "grpc", "grpc-web", "connect")


@dataclass(frozen=True, slots=True)
class Target:
    """A running service: `url` of its HTTP port, `grpc` as HOST:PORT, `headers` such as credentials."""

    url: str
    grpc: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_body_size: int = 1024 * 1024
    """The limit it was started with, which a check goes beyond."""
    request_timeout: float | None = None
    """Seconds until it gives up on its slow path, when a check may wait for that."""


Run = Callable[[Target], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule. `run` raises AssertionError, saying what it saw."""

    name: str
    group: str
    rule: str
    run: Run


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check went; `why` is empty when it passed."""

    check: Check
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether the rule holds."""
        return not self.why


CHECKS: Final[dict[str, Check]] = {}


def check(group: str) -> Callable[[Run], Run]:
    """Enter a function into the table; its docstring is the rule."""

    def enter(run: Run) -> Run:
        name = getattr(run, "__name__", "check").removeprefix("check_")
        CHECKS[name] = Check(name, group, (run.__doc__ or "").strip(), run)
        return run

    return enter


async def run_check(each: Check, target: Target, *, timeout: float = 30.0) -> Outcome:
    """Run one check; whatever it raises is the reason why it failed."""
    try:
        async with asyncio.timeout(timeout):
            await each.run(target)
    except TimeoutError:
        return Outcome(each, f"not done within {timeout:g} s")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the report is for
        return Outcome(each, f"{type(error).__name__}: {error}".strip())
    return Outcome(each)


async def run_checks(
    target: Target,
    groups: Collection[str] = ("any",),
    *,
    at_once: int = 8,
    timeout: float = 30.0,
    told: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the checks of these groups, `at_once` at a time and each at most `timeout` seconds; returns them in order.

    `told` hears of each as it ends.
    """
    room = asyncio.Semaphore(at_once)

    async def run(each: Check) -> Outcome:
        async with room:
            outcome = await run_check(each, target, timeout=timeout)
        if told is not None:
            told(outcome)
        return outcome

    return await asyncio.gather(*(run(each) for each in CHECKS.values() if each.group in groups))


# The tables fill themselves.
from headgate.testing.conformance import http_checks, order_checks, rpc_checks  # noqa: E402, F401
