"""What the query of a request may say on every surface: paging, dry run. What it may not say is refused.

So is a body where none is read: an option in it would not be heeded.
"""

from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import did_you_mean

DEFAULT_LIMIT = 50

Limit = Annotated[
    int | None,
    Query(ge=1, description=f"Items per page, {DEFAULT_LIMIT} unless given; 500 at most, unless configured."),
]
Cursor = Annotated[str, Query(max_length=1024, description="`next_cursor` of the page before.")]
DryRun = Annotated[bool, Query(description="Say what would change, and change nothing.")]


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list."""

    limit: int
    cursor: str


async def paging(request: Request, limit: Limit = None, cursor: Cursor = "") -> Paging:
    """Read which page is asked for. `app.state.page_limit_max` is the most there may be on one."""
    most: int = request.app.state.page_limit_max
    if limit is not None and limit > most:
        raise _refusal(f"query parameter 'limit' must be from 1 to {most}", "take the rest with next_cursor")
    return Paging(limit or min(DEFAULT_LIMIT, most), cursor)


Page = Annotated[Paging, Depends(paging)]


class StrictRoute(APIRoute):
    """A route that refuses what it would not heed: unknown query parameters, and a body for a write that takes none.

    A misspelt `dry_run`, or one in the body, must not write.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, behind the checks."""
        handler = super().get_route_handler()
        known = sorted(set(_query_names(self.dependant)))
        takes_body = self.body_field is not None or "requestBody" in (self.openapi_extra or {})
        bodiless = not takes_body and not (self.methods or set()) <= {"GET", "HEAD"}

        async def strict(request: Request) -> Response:
            for name, values in _grouped(request).items():
                if name not in known:
                    raise _refusal(f"unknown query parameter '{name}'", did_you_mean(name, known))
                if len(values) > 1:
                    raise _refusal(f"query parameter '{name}' stands more than once", "keep one of them")
            if bodiless and await request.body():
                raise _unexpected_body(request, known)
            return await handler(request)

        return strict


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _grouped(request: Request) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        groups.setdefault(name, []).append(value)
    return groups


def _refusal(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(message, code="invalid_query", hint=hint, violations=[Violation("", message, hint)])


def _unexpected_body(request: Request, known: Collection[str]) -> InvalidArgument:
    hint = "dry_run is a query parameter" if "dry_run" in known else "send none"
    message = f"{request.method} takes no body here"
    return InvalidArgument(message, code="unexpected_body", hint=hint, violations=[Violation("", message, hint)])
