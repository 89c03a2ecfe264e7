"""What the Native API shows of resources and revisions."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from headgate.controlplane.core.changes import Page, Revision, Stored
from headgate.controlplane.core.paging import make_cursor, read_cursor
from headgate.controlplane.web.answers import Json, page
from headgate.controlplane.web.queries import Paging

T = TypeVar("T")


def resource(stored: Stored) -> dict[str, Any]:
    """The representation of a resource. A route's name is shown without its parents', which stand beside it."""
    shown: dict[str, Any] = {"name": stored.name}
    if stored.kind == "route":
        config, host, name = stored.name.split("/", 2)
        shown = {"name": name, "route_config": config, "virtual_host": host}
    return {
        **shown,
        "team": stored.team,
        "revision": stored.revision,
        "etag": stored.etag,
        "owner": stored.owner,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "spec": stored.document,
    }


def revision(entry: Revision, *, changes: bool) -> dict[str, Any]:
    """A revision; with its changes when they were read."""
    shown = {
        "revision": entry.number,
        "team": entry.team,
        "at": entry.at,
        "actor": entry.actor,
        "surface": entry.surface,
        "message": entry.message,
        "request_id": entry.request_id,
    }
    return {**shown, "changes": entry.changes} if changes else shown


def listed(found: Mapping[str, T], paging: Paging, show: Callable[[T], Any]) -> Json:
    """One page of things that are all at hand, by key; the cursor is the last key of the page before."""
    keys = sorted(found)
    after = read_cursor(paging.cursor, str)
    rest = keys[bisect_right(keys, after[0]) if after else 0 :]
    shown, more = rest[: paging.limit], len(rest) > paging.limit
    return page(Page([found[key] for key in shown], len(keys), make_cursor(shown[-1]) if more else ""), show)
