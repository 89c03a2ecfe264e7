"""Faults on purpose: a callee or a whole application that is slow, fails, hangs up or is not there.

    faults = FaultInjector(seed=7)
    faults.add("orders", error=Unavailable("down"), times=3)
    faults.add("orders", delay=0.2, share=0.1)
    orders = faults.wrap("orders", orders)          # an async function
    app = faults.app(app)                           # an ASGI application; targets are its paths

What happens is decided by the seed and the order of calls, so a failure can be shown again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

P = ParamSpec("P")
T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Rule:
    target: str
    error: BaseException | None
    delay: float
    share: float
    left: int | None
    cut_after: int | None


class FaultInjector:
    """Rules by target; `*` is every target. `sleep` may be a fake clock's."""

    def __init__(self, seed: int = 0, *, sleep: Sleep = asyncio.sleep) -> None:
        self._random = random.Random(seed)  # noqa: S311 - shown again, not secret
        self._sleep = sleep
        self._rules: list[_Rule] = []
        self.injected = 0
        """How many faults have been injected so far."""

    def add(
        self,
        target: str = "*",
        *,
        error: BaseException | None = None,
        delay: float = 0.0,
        share: float = 1.0,
        times: int | None = None,
        cut_after: int | None = None,
    ) -> None:
        """From now on, in `share` of the calls to `target` and at most `times`: wait, then fail.

        `cut_after` lets an application send that many parts of its body before it fails (with `error`, or by
        raising ConnectionResetError).
        """
        self._rules.append(_Rule(target, error, delay, share, times, cut_after))

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def wrap(self, target: str, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """`function`, which suffers what the rules for `target` say before it runs."""

        @wraps(function)
        async def suffering(*args: P.args, **kwargs: P.kwargs) -> T:
            for rule in self._drawn(target):
                await self._inflict(rule)
            return await function(*args, **kwargs)

        return suffering

    def app(self, app: ASGIApp) -> ASGIApp:
        """`app`, whose paths are targets."""

        async def suffering(scope: Scope, receive: Receive, send: Send) -> None:
            rules = self._drawn(scope["path"]) if scope["type"] in {"http", "websocket"} else []
            cuts = [rule for rule in rules if rule.cut_after is not None]
            for rule in rules:
                if rule.cut_after is None:
                    await self._inflict(rule)
            await app(scope, receive, _Cutter(send, cuts[0]).send if cuts else send)

        return suffering

    def _drawn(self, target: str) -> list[_Rule]:
        drawn = []
        for rule in self._rules:
            if rule.target not in {"*", target} or rule.left == 0 or self._random.random() >= rule.share:
                continue
            if rule.left is not None:
                rule.left -= 1
            self.injected += 1
            drawn.append(rule)
        return drawn

    async def _inflict(self, rule: _Rule) -> None:
        if rule.delay:
            await self._sleep(rule.delay)
        if rule.error is not None:
            raise rule.error


class _Cutter:
    """Lets some parts of a body pass, then breaks off."""

    def __init__(self, send: Send, rule: _Rule) -> None:
        self._send = send
        self._rule = rule
        self._left = rule.cut_after or 0

    async def send(self, message: Message) -> None:
        if message["type"] in {"http.response.body", "websocket.send"}:
            if self._left == 0:
                raise self._rule.error or ConnectionResetError("cut off on purpose")
            self._left -= 1
        await self._send(message)
