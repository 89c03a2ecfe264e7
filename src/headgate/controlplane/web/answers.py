"""How the HTTP surfaces answer: plain documents, written by orjson without another model in between."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.responses import Response

from headgate.controlplane.core.changes import Diff, Outcome, Page

T = TypeVar("T")

REVISION_HEADER = "Headgate-Revision"
"""On the answer to every write: the team's revision after it."""


def encode(document: Any) -> bytes:
    """JSON; times are RFC 3339 in UTC."""
    return orjson.dumps(document, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


class Json(Response):
    """A JSON document; times are RFC 3339 in UTC."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the document."""
        return encode(content)


def written(document: Mapping[str, Any]) -> Json:
    """The response to a write whose document holds the `revision` after it."""
    return Json(document, headers={REVISION_HEADER: str(document["revision"])})


def page(found: Page[T], show: Callable[[T], Any]) -> Json:
    """One page of a list. `next_cursor` is "" at the end."""
    items = [show(item) for item in found.items]
    return Json({"items": items, "total": found.total, "next_cursor": found.next_cursor})


def outcome(done: Outcome, *, unchanged: bool = True) -> dict[str, Any]:
    """What a change did, or would do, resource by resource; `unchanged` ones are left out on demand."""
    return {
        "team": done.team,
        "revision": done.revision,
        "dry_run": done.dry_run,
        "changed": done.changed,
        "diffs": [_diff(diff) for diff in done.diffs if unchanged or diff.what != "unchanged"],
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
