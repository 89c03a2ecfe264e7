"""The routes of one virtual host, a page at a time, in the order they are tried."""

from headgate.controlplane.core.changes import Page, Stored
from headgate.controlplane.core.paging import check_limit, make_cursor, read_cursor
from headgate.controlplane.store.store import Store
from headgate.controlplane.store.view import StoredRow
from headgate.kit.controls.faults import NotFound


class RouteList:
    """Reads the routes of virtual hosts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self,
        team: str,
        config: str,
        host: str,
        *,
        name_contains: str = "",
        owner: str | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Page[Stored]:
        """Return routes by position. `limit` is 1 to 500. Raises NotFound for an unknown config or host.

        A page starts behind the last route of the one before, wherever that has been moved or deleted since.
        """
        check_limit(limit)
        after = read_cursor(cursor, int, str)
        async with self._store.read(team) as view:
            _require(await view.rows("route_config", [config]), config, host)
            found, total = await view.route_page(
                (config, host),
                name_contains=name_contains,
                owner=owner,
                limit=limit + 1,
                after=(after[0], after[1]) if after else None,
            )
        last = found[limit - 1].row if len(found) > limit else None
        more = make_cursor(last.position, last.name) if last else ""
        return Page([_stored(team, row) for row in found[:limit]], total, more)


def _require(configs: dict[str, StoredRow], config: str, host: str) -> None:
    if config not in configs:
        raise NotFound(f"There is no route config '{config}'.", code="not_found")
    hosts = [each["name"] for each in configs[config].row.spec.get("virtual_hosts", [])]
    if host not in hosts:
        raise NotFound(
            f"Route config '{config}' has no virtual host '{host}'.",
            code="not_found",
            hint=f"it has: {', '.join(hosts[:20])}" if hosts else "it has none",
        )


def _stored(team: str, found: StoredRow) -> Stored:
    row = found.row
    return Stored(
        team=team,
        kind="route",
        name=row.name,
        document=row.spec,
        etag=f'"{found.revision}"',
        revision=found.revision,
        owner=row.owner,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
