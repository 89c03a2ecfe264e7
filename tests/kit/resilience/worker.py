"""A process of its own with a flow cache: `python worker.py '{"url": ..., "callers": 20, ...}'`.

It prints "ready", waits for a line on its input, makes its callers at once, and prints what they got. Its
upstream counts its calls in the Valkey (`calls`), waits until `open` exists there, and fails with
`fails`.
"""

import asyncio
import json
import sys
from typing import Any

from redis.asyncio import Redis

from headgate.kit.controls.faults import ResourceExhausted
from headgate.kit.resilience.cache import CachePolicy, FlowCache
from headgate.kit.resilience.shared import SharedStore


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(given: dict[str, Any]) -> None:
    """Make the callers and tell what they got."""
    client = Redis.from_url(given["url"])
    shared = SharedStore(given["url"], timeout=20)
    cache = FlowCache(CachePolicy(lease_seconds=given.get("lease", 20), told_seconds=60), shared=shared)

    async def upstream() -> dict[str, int]:
        number = await client.incr("calls")
        say("calling")
        while not await client.exists("open"):
            await asyncio.sleep(0.02)
        if given.get("fails"):
            raise ResourceExhausted("quota is used up", code="quota", retry_after=7)
        return {"number": number}

    await client.ping()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    got = await asyncio.gather(
        *(cache.get_or_call("flow:key", upstream) for _ in range(given["callers"])), return_exceptions=True
    )
    told = [each if isinstance(each, dict) else [type(each).__name__, str(each)] for each in got]
    say(json.dumps({"got": told, "events": cache.stats().events}))
    await cache.aclose()
    await shared.aclose()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
