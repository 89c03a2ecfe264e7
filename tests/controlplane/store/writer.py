"""A process that writes until it is killed: `python writer.py URL`. It prints each revision once it has it."""

import asyncio
import itertools
import sys

from headgate.controlplane.core.changes import Actor, Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.store.store import Store


async def main(url: str) -> None:
    """Change a cluster, and the name of another, for ever."""
    resources = Resources(await Store.open(url), preflight=None, secrets=SecretBox(bytes(32)))
    start = (await resources.revisions("t")).total
    for number in itertools.count(start + 1):
        endpoint = {"address": "127.0.0.1", "port": number % 60_000 + 1}
        outcome = await resources.apply(
            Actor("writer", "test"),
            "t",
            [
                Change("put", "cluster", "same", {"endpoints": [endpoint]}),
                Change("put", "cluster", f"c{number}", {}),
            ],
        )
        print(outcome.revision, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
