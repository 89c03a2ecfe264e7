"""The event loop of a process, and the wish to stop it.

async def main() -> None:
    stop = stop_on_signals()
    await server.start()
    await stop.wait()
    await server.stop()

run(main())
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger("headgate.serve")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on uvloop, or on asyncio's own loop where uvloop is not installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets; a second signal ends the process at once (status 128 + signal)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def on_hangup(reload: Callable[[], None]) -> None:
    """Call `reload` on each SIGHUP, which would end the process otherwise."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
