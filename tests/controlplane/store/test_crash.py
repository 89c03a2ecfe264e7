"""What was acknowledged survives the death of the process."""

import asyncio
import signal
import sys
from pathlib import Path

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.model.rows import Row
from headgate.controlplane.store.store import Store

WRITER = Path(__file__).with_name("writer.py")


async def _write_and_die(url: str, acknowledged: int) -> list[int]:
    """Let a process write until it has acknowledged so many revisions, kill it, and return them all."""
    writer = await asyncio.create_subprocess_exec(sys.executable, WRITER, url, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    seen = [int(await asyncio.wait_for(writer.stdout.readline(), 60)) for _ in range(acknowledged)]
    writer.send_signal(signal.SIGKILL)
    rest = await writer.stdout.read()
    await writer.wait()
    # The last line may be torn: it was not said to the end.
    return seen + [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]


async def test_a_killed_writer_loses_nothing_it_acknowledged(database_url: str) -> None:
    """After kill -9 in the middle of many changes every acknowledged revision is there, whole, and writing goes on."""
    store = await Store.open(database_url)
    await Teams(store).create(Actor("me", "test"), "t")
    await store.close()
    for acknowledged in (7, 20):
        seen = await _write_and_die(database_url, acknowledged)
        store = await Store.open(database_url)
        try:
            head, changes = await store.changes_since("t", 0)
            revision, rows = await store.load_team("t")
        finally:
            await store.close()
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert head == revision >= seen[-1]
        # At most the one that was under way came on top.
        assert head - seen[-1] <= 1
        names = {change.row.name for change in changes}
        assert {f"c{number}" for number in range(1, head + 1)} <= names
        state: dict[str, Row | None] = {}
        for change in changes:
            assert state.get(change.row.name) == change.before
            state[change.row.name] = change.after
        assert state == {row.name: row for row in rows}
