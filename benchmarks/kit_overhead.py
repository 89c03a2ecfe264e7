"""What the whole default stack adds to a request, against the bare application and the sample's ten layers.

In one process, without sockets: ASGI calls of a small JSON answer, in rounds that take turns. What is measured is
the processor's time of the one thread there is, which is that of the clock on an idle machine, and still means
something on a busy one. The request has the headers of a browser-like client; the logs are written as JSON into a
file that nobody reads.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.original_stack import configure_logging, original
from benchmarks.report import at_most, observed, publish
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.observe.logs import configure_logs

ROUNDS = 150
CALLS = 100
WARM = 25
BODY = b'{"id":1,"name":"an item","price":12}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
END = {"type": "http.response.body", "body": BODY}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
HEADERS = [
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"authorization", b"Bearer 0123456789abcdef"),
]

App = Callable[[Any, Any, Any], Awaitable[None]]


async def bare(_scope: Any, _receive: Any, send: Any) -> None:
    """The application: a small answer, made beforehand."""
    await send(dict(START, headers=list(START["headers"])))
    await send(dict(END))


async def receive() -> dict[str, Any]:
    """The whole of an empty body."""
    return REQUEST


async def send(_message: Any) -> None:
    """Takes what it gets."""


async def round_of(app: App, calls: int) -> float:
    """Microseconds of this thread per call."""
    began = time.thread_time()
    for _ in range(calls):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/items/1",
            "raw_path": b"/items/1",
            "query_string": b"",
            "root_path": "",
            "headers": HEADERS,
            "client": ("192.0.2.7", 40_000),
            "server": ("127.0.0.1", 8_080),
            "extensions": {},
        }
        await app(scope, receive, send)
    return (time.thread_time() - began) / calls * 1e6


def hardened() -> App:
    """The application with every default control of the kit, and a limit that is not reached."""
    settings = HardeningSettings(rate_limit_default="1000000/second", log_format="json")
    return Kit(settings).harden(bare)


async def measure() -> int:
    """Take turns, and print the figures."""
    with Path(os.devnull).open("w", encoding="utf-8") as log:  # noqa: ASYNC230
        # The kit's access log does not pass through structlog: each writes its lines its own way.
        configure_logs("info", "json", stream=log)
        configure_logging(log)
        apps = {"bare": bare, "kit": hardened(), "sample": original(bare, rate=1e6)}
        times: dict[str, list[float]] = {name: [] for name in apps}
        for _ in range(ROUNDS):
            for name, app in apps.items():
                await round_of(app, WARM)
                times[name].append(await round_of(app, CALLS))
    median = {name: statistics.median(found) for name, found in times.items()}
    added = {name: median[name] - median["bare"] for name in ("kit", "sample")}
    return publish(
        "kit_overhead",
        [
            at_most("added per request by the kit", added["kit"], "us", 20),
            at_most("share of what the sample adds", added["kit"] / added["sample"], "", 0.25),
            observed("added per request by the sample", added["sample"], "us"),
            observed("bare application", median["bare"], "us"),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
