"""What the kit's shell does for calls that pass it, for those that come without: a `Call`, its deadline, its caller.

Inside the shell `call_of` finds the call that the shell has made of this very request, and nothing here is done twice.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.types import Message, Receive, Scope

from headgate.kit.asgi.inbox import Inbox
from headgate.kit.controls.call import Call
from headgate.kit.controls.deadlines import Deadlines
from headgate.kit.controls.faults import DeadlineExceeded
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.current import current_call
from headgate.service.invoke import ahead

_DEADLINES: Final = Deadlines(first_byte=0, idle=0, total=0)
_ID_BYTES: Final = 16


def new_id() -> str:
    """An id for a call that came without."""
    return os.urandom(_ID_BYTES).hex()


_IDS: Final = RequestIds(new_id)
_NAMED: Final = (b"x-request-id", b"traceparent")


def shells_call(scope: Scope) -> Call | None:
    """The call that the shell made of this request. Another's, that this one is made within, is none of its."""
    call = current_call()
    if call is None or call.status or call.path != scope["path"] or call.method != scope["method"]:
        return None
    headers = scope["headers"]
    return call if call.raw_headers is headers or list(call.raw_headers) == list(headers) else None


def own_call(scope: Scope) -> Call:
    """A call made here: nobody is known to make it."""
    client = scope.get("client")
    headers = scope["headers"]
    call = Call("http", scope["method"], scope["path"], headers, client[0] if client else "", time.monotonic())
    if scope.get("scheme") == "https":
        call.scheme = "https"
    return call


def identify(call: Call) -> None:
    """Read id, trace and deadline of a call of our own. Raises InvalidArgument (`malformed_timeout`)."""
    headers = call.headers
    if any(name in headers for name in _NAMED):
        _IDS.identify(call)
    if b"x-request-timeout-ms" in headers:
        _DEADLINES.identify(call)


def seconds_left(call: Call) -> float | None:
    """How long the call may go on, a little less than its shell allows: who ends it first says so in the right form."""
    due = call.deadline
    if call.budget.total is not None:
        end = call.started + call.budget.total
        due = end if due is None else min(due, end)
    if due is None:
        return None
    return ahead(due - time.monotonic())


async def in_time(work: Awaitable[Any], call: Call) -> Any:
    """What `work` returns. Raises DeadlineExceeded (`request_timeout`) when the call's time is up before."""
    limit = asyncio.timeout(seconds_left(call))
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        raise late(error, limit) from error


def late(error: TimeoutError, limit: asyncio.Timeout) -> Exception:
    """The fault for a time that is up; `error` itself when it was another's."""
    if not limit.expired():
        return error
    return DeadlineExceeded("not done within the time there was", code="request_timeout", hint="ask for less at a time")


@asynccontextmanager
async def watched(receive: Receive) -> AsyncIterator[Receive]:
    """Cancel what runs inside when the caller leaves. What is sent meanwhile is read from what this gives."""
    task: Any = asyncio.current_task()
    left = False

    def leave(_message: Message, _heard: bool) -> None:
        nonlocal left
        left = True
        task.cancel()

    inbox = Inbox(receive, leave)
    inbox.start()
    try:
        yield inbox.receive
    except asyncio.CancelledError:
        if not left or task.uncancel():
            raise
    finally:
        inbox.stop()
