"""What a token must be allowed to do here: publishing writes clusters, routes, and the listener if need be."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends

from headgate.controlplane.core.caller import Authorise, Caller

READ = "route-configs:read"
WRITES = ("clusters:write", "listeners:write", "route-configs:write")


def may_publish(authorise: Authorise) -> Callable[..., Awaitable[Caller]]:
    """The dependency of an operation that publishes: every scope of WRITES."""
    clusters, listeners, routes = (authorise(scope) for scope in WRITES)

    async def allowed(
        caller: Annotated[Caller, Depends(clusters)],
        _listeners: Annotated[Caller, Depends(listeners)],
        _routes: Annotated[Caller, Depends(routes)],
    ) -> Caller:
        return caller

    return allowed
