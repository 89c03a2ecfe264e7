"""Steady traffic while something happens to the platform."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import httpx


@dataclass
class Traffic:
    """Asks a URL again and again over a few connections, and keeps what was not 200.

    As a context manager it runs until the end of the block.
    """

    url: str
    connections: int = 4
    good: int = 0
    bad: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self.connections)]
        await self.more(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def more(self, requests: int, within: float = 30.0) -> None:
        """Wait until that many more requests were answered well."""
        goal = self.good + requests
        async with asyncio.timeout(within):
            while self.good < goal:
                await asyncio.sleep(0.01)

    async def _ask(self) -> None:
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            while True:
                try:
                    answer = await client.get(self.url)
                except httpx.HTTPError as error:
                    self.bad.append(repr(error))
                else:
                    if answer.status_code == httpx.codes.OK:
                        self.good += 1
                    else:
                        self.bad.append(f"{answer.status_code} {answer.text[:100]}")
                await asyncio.sleep(0.005)
