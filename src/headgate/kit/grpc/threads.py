"""Handlers written without `async`: they run in a thread, so that they hold up nobody else.

A thread cannot be cancelled. A handler that takes long asks `context.is_active()` and stops by itself; its
call is over for the caller all the same. The threads are these handlers' own, at most `MOST_THREADS`: streams
that wait for their callers must not hold up whoever else needs a thread, such as name resolution.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.kit.grpc.context import RpcContext
    from headgate.kit.grpc.methods import Method

MOST_THREADS: Final = 64

_END: Final = object()
_threads: Final = ThreadPoolExecutor(MOST_THREADS, "headgate-rpc")


async def drive_in_thread(method: "Method", context: "RpcContext") -> bytes | None:
    """Run a method whose handler blocks. Returns the bytes of a single response."""
    loop = asyncio.get_running_loop()
    variables = contextvars.copy_context()
    request = _Requests(loop, context) if method.request_streaming else await context.only_request()

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return await loop.run_in_executor(_threads, variables.run, function, *arguments)

    response = await in_thread(method.behaviour, request, ThreadContext(loop, context))
    if not method.response_streaming:
        return method.encode(response)
    responses = iter(response)
    try:
        while (each := await in_thread(next, responses, _END)) is not _END:
            await context.write(each)
    finally:
        if hasattr(responses, "close"):
            with suppress(ValueError):  # it still runs in its thread, and closes itself at its end
                responses.close()
    return None


class _Requests(Iterator[Any]):
    """The requests of a stream, for a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: "RpcContext") -> None:
        self._loop = loop
        self._context = context

    def __next__(self) -> Any:
        from headgate.kit.grpc.context import EOF

        found = asyncio.run_coroutine_threadsafe(self._context.read(), self._loop).result()
        if found is EOF:
            raise StopIteration
        return found


class ThreadContext:
    """The context of a handler in a thread: what `grpc.ServicerContext` has, all else is that of the call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: "RpcContext") -> None:
        self._loop = loop
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call with this status, by raising."""
        self._wait(self._context.abort(code, details, trailing_metadata))

    def abort_with_status(self, status: Any) -> None:
        """`abort` with the three parts of a `grpc.Status`."""
        self._wait(self._context.abort_with_status(status))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send metadata ahead of all responses; once."""
        self._wait(self._context.send_initial_metadata(initial_metadata))

    def is_active(self) -> bool:
        """Whether anybody still waits for this."""
        return not self._context.done()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when the call is over. Returns False when it is."""
        if self._context.done():
            return False
        self._context.add_done_callback(lambda _context: callback())
        return True

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
