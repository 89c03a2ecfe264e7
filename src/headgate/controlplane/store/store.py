"""The store: one door to the database, SQLite or PostgreSQL."""

from headgate.controlplane.model.rows import Row, RowChange


class Store:
    """Where everything that must survive is kept. Open with `Store.open`, close with `close`."""

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Connect, bring the schema up to date, and return the store.

        `url` is `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://...`. Raises Unavailable when there is
        no connection, FailedPrecondition when the database belongs to a newer Headgate.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError

    async def team_revisions(self) -> dict[str, int]:
        """Return every team's current revision."""
        raise NotImplementedError

    async def load_team(self, team: str) -> tuple[int, list[Row]]:
        """Return the team's revision and all rows at it. Raises NotFound."""
        raise NotImplementedError

    async def changes_since(self, team: str, revision: int) -> tuple[int, list[RowChange]]:
        """Return the head revision and the row changes after `revision`, in order.

        Raises OutOfRange (code `history_pruned`) when the history does not reach back that far, or
        `revision` is past the head: load the team afresh.
        """
        raise NotImplementedError

    async def wait_moved(self, timeout: float) -> None:  # noqa: ASYNC109
        """Return when some team may have moved, or after `timeout` seconds."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Prove that the database answers; raises Unavailable."""
        raise NotImplementedError

    async def prune(self, *, audit_days: int, revisions_keep: int) -> dict[str, int]:
        """Delete audit rows older than `audit_days` and all but the newest `revisions_keep` revisions per team.

        Returns how many rows went, by table.
        """
        raise NotImplementedError
