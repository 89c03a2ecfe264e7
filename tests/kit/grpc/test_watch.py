"""The ticker that looks at calls which run for a while."""

import asyncio
from typing import Any

from headgate.kit.grpc.watch import Ticker


class Ending:
    """A watch which ends the others when it is looked at."""

    def __init__(self, all_of_them: "list[Ending]") -> None:
        self.all = all_of_them
        self.bucket: set[Any] = set()
        self.looked = 0

    def look(self) -> None:
        self.looked += 1
        for each in self.all:
            each.bucket.discard(each)


async def test_calls_may_end_while_they_are_looked_at() -> None:
    """A call whose end is the end of others breaks nothing, and those are not looked at any more."""
    failed: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
    ticker, watches = Ticker(0.01), []
    watches.extend(Ending(watches) for _ in range(3))
    for watch in watches:
        watch.bucket = ticker.add(watch)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        while not any(watch.looked for watch in watches):
            await asyncio.sleep(0.01)
    assert sum(watch.looked for watch in watches) == 1
    assert failed == []
