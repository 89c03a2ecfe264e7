"""What the Native API answers with: plain documents, written by orjson without another model in between."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.responses import Response

from headgate.controlplane.core.changes import Diff, Outcome, Page, Revision, Stored
from headgate.controlplane.core.paging import make_cursor, read_cursor
from headgate.controlplane.native.queries import Paging

T = TypeVar("T")

REVISION_HEADER = "Headgate-Revision"
"""On the answer to every write: the team's revision after it."""


class Json(Response):
    """A JSON document; times are RFC 3339 in UTC."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the document."""
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


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


def page(found: Page[T], show: Callable[[T], Any]) -> Json:
    """One page of a list. `next_cursor` is "" at the end."""
    items = [show(item) for item in found.items]
    return Json({"items": items, "total": found.total, "next_cursor": found.next_cursor})


def outcome(done: Outcome) -> dict[str, Any]:
    """What a change did, or would do."""
    return {
        "team": done.team,
        "revision": done.revision,
        "dry_run": done.dry_run,
        "changed": done.changed,
        "diffs": [_diff(diff) for diff in done.diffs],
    }


def _diff(diff: Diff) -> dict[str, Any]:
    return {
        "kind": diff.kind,
        "name": diff.name,
        "what": diff.what,
        "before": diff.before,
        "after": diff.after,
        "etag": diff.etag,
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
