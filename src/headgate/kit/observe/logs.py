"""Logs: one line per event, JSON for machines or plain for a terminal, without secrets.

Everything goes through one handler: structlog's loggers and those of the standard library (uvicorn, grpc,
SQLAlchemy). What `request_context` binds appears on every line of that request. Names that look secret,
bearer values, private keys and passwords in URLs are masked last of all, tracebacks included.

    log = structlog.get_logger("headgate.xds")
    log.info("dataplane connected", dataplane=node_id, team=team)
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.types import Processor

from headgate.kit.controls.redaction import redact

LogFormat = Literal["auto", "json", "console"]

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 9}
_QUIET: Final = (
    "aiosqlite",  # logs every call
    "alembic",
    "asyncio",
    "hpack",
    "httpcore",
    "httpx",
    "sqlalchemy",  # logs statements with their parameters
    "uvicorn",  # tells of every start and stop; the server here says so itself
)


def configure_logs(level: str = "info", form: LogFormat = "auto", *, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error unless given), from `level` upwards. May be called again."""
    out = stream or sys.stderr
    as_json = form == "json" or (form == "auto" and not out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    enrich: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *enrich,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(enrich, as_json=as_json, colours=out.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _formatter(enrich: list[Processor], *, as_json: bool, colours: bool) -> structlog.stdlib.ProcessorFormatter:
    last: list[Processor] = (
        [structlog.processors.JSONRenderer(sort_keys=False)]
        if as_json
        else [
            _escape_controls,
            structlog.dev.ConsoleRenderer(
                colors=colours, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=enrich,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask_secrets,
            *last,
        ],
    )


def _mask_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    masked: dict[str, Any] = redact(event)
    return masked


def _escape_controls(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what a caller sent from moving the cursor or forging a line on the terminal."""
    return {
        key: value.translate(_CONTROLS) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }


@contextmanager
def request_context(request_id: str, **values: str) -> Iterator[None]:
    """Put the request id, and `values`, on every line logged inside, in this task and those it starts."""
    with structlog.contextvars.bound_contextvars(request_id=request_id, **values):
        yield


def current_request_id() -> str:
    """The id of the request being served; "" outside of one."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
