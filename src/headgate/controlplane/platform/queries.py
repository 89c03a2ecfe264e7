"""What the query of a request may say."""

from typing import Annotated

from fastapi import Depends, Query, Request

from headgate.kit.controls.faults import InvalidArgument, Violation

DEFAULT_LIMIT = 50

DryRun = Annotated[bool, Query(description="Say what would change, and change nothing.")]
Limit = Annotated[
    int | None,
    Query(ge=1, description=f"Items per page, {DEFAULT_LIMIT} unless given; 500 at most, unless configured."),
]
Cursor = Annotated[str, Query(max_length=1024, description="`next_cursor` of the page before.")]


class Paging:
    """Which page of a list. `app.state.page_limit_max` is the most there may be on one."""

    def __init__(self, request: Request, limit: Limit = None, cursor: Cursor = "") -> None:
        most: int = getattr(request.app.state, "page_limit_max", 500)
        if limit is not None and limit > most:
            message = f"query parameter 'limit' must be from 1 to {most}"
            hint = "take the rest with next_cursor"
            raise InvalidArgument(message, code="invalid_query", hint=hint, violations=[Violation("", message, hint)])
        self.limit = limit or min(DEFAULT_LIMIT, most)
        self.cursor = cursor


Page = Annotated[Paging, Depends(Paging)]
