"""Logs: one line per event, JSON for machines or plain for a terminal, without secrets.

All lines go one way: those of structlog's loggers, those of the standard library (uvicorn, grpc, SQLAlchemy)
and the access log. A line written while a call is served carries its request id, its trace and its
principal; `request_context` puts values on lines where there is no call. Secrets are masked last of all,
tracebacks included (`headgate.kit.controls.redaction`).

    log = structlog.get_logger("headgate.xds")
    log.info("dataplane connected", dataplane=node_id, team=team)

A framework that configures logging for itself takes over the root logger of the standard library. Lines of
structlog and the access log do not pass there; `restore_logs()` takes the root logger back.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.types import EventDict, Processor

from headgate.kit.controls.redaction import Redactor
from headgate.kit.current import CURRENT
from headgate.kit.observe.lines import BackgroundLines, DirectLines, LineSink, encode

LogFormat = Literal["auto", "json", "console"]

ACCESS: Final = "headgate.access"
_HEAD: Final = f'","level":"info","logger":"{ACCESS}","event":"request",'.encode()
_QUIET_HEAD: Final = _HEAD.replace(b"info", b"debug")
_ERRORS: Final = frozenset(("error", "critical"))
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 9}
_QUIET: Final = (
    "aiosqlite",  # logs every call
    "alembic",
    "asyncio",
    "hpack",
    "httpcore",
    "httpx",
    "sqlalchemy",  # logs statements with their parameters
    "urllib3",
    "uvicorn",  # tells of every start and stop; the server here says so itself
)


class _Logs:
    """What `configure_logs` chose."""

    def __init__(self, *, threshold: int, as_json: bool, colours: bool, sink: LineSink, redactor: Redactor) -> None:
        self.threshold = threshold
        self.as_json = as_json
        self.sink = sink
        self._redactor = redactor
        self._console = structlog.dev.ConsoleRenderer(
            colors=colours, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
        )
        self._finish: tuple[Processor, ...] = (
            structlog.contextvars.merge_contextvars,
            _add_call,
            structlog.processors.format_exc_info,
            self._render,
        )
        self._bridge = _Bridge(self._write_record)
        self._silent = {logger.name for logger in _loggers() if logger.disabled}

    def install(self) -> None:
        """Make structlog and the root logger of the standard library write here, and nowhere else."""
        structlog.configure(
            processors=[
                *(structlog.stdlib.add_logger_name, structlog.processors.add_log_level, _tell_error),
                *self._finish,
            ],
            logger_factory=lambda *name: _LineLogger(str(name[0]) if name else "", self.sink),
            wrapper_class=structlog.make_filtering_bound_logger(self.threshold),
            cache_logger_on_first_use=False,
        )
        root = logging.getLogger()
        root.handlers[:] = [self._bridge]
        root.setLevel(self.threshold)
        for name in _QUIET:
            logging.getLogger(name).setLevel(max(self.threshold, logging.WARNING))

    def restore(self) -> bool:
        """Install again what was taken away since; returns whether anything was."""
        processors = structlog.get_config()["processors"]
        silenced = [logger for logger in _loggers() if logger.disabled and logger.name not in self._silent]
        intact = logging.getLogger().handlers == [self._bridge] and processors[-1:] == [self._render]
        for logger in silenced:
            logger.disabled = False
        self.install()
        return bool(silenced) or not intact

    def _write_record(self, record: logging.LogRecord) -> None:
        event: EventDict = {"logger": record.name, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        if record.stack_info:
            event["stack"] = record.stack_info
        rendered: Any = event
        for step in self._finish:
            rendered = step(None, event["level"], rendered)
        self.sink.write(rendered)

    def _render(self, _logger: Any, method: str, event: EventDict) -> bytes:
        shown: EventDict = {"time": _now(), "level": event.pop("level", method), "logger": event.pop("logger", "")}
        shown["event"] = self._redactor.value(event.pop("event", ""))
        shown.update(self._redactor.value(event))
        if self.as_json:
            return encode(shown) + b"\n"
        text = self._console(None, method, _escape_controls(shown))
        return f"{text}\n".encode("utf-8", "backslashreplace")


class _LineLogger:
    """What structlog's loggers end in."""

    def __init__(self, name: str, sink: LineSink) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = self.notset = sink.write


class _Bridge(logging.Handler):
    """Takes in the lines of the standard library's loggers."""

    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one; what goes wrong is told as `logging` tells it."""
        try:
            self._write(record)
        except Exception:  # noqa: BLE001 - a log line must not break what it tells of
            self.handleError(record)


class _Active:
    """The logs of this process, once configured, and how many lines they lost."""

    logs: _Logs | None = None
    lost = 0
    watch: Callable[[int], None] | None = None
    tell: Callable[[BaseException], object] | None = None

    def dropped(self, count: int) -> None:
        """Count lines that the stream did not take."""
        self.lost += count
        if self.watch is not None:
            self.watch(count)


_ACTIVE: Final = _Active()


def configure_logs(
    level: str = "info",
    form: LogFormat = "auto",
    *,
    stream: TextIO | None = None,
    buffer_bytes: int = 0,
    redactor: Redactor | None = None,
) -> None:
    """Send all logs to `stream` (standard error unless given), from `level` upwards. May be called again.

    With `buffer_bytes` a thread does the writing: a stream that stands still then costs lines, beyond so many
    bytes, and not requests. `redactor` masks secrets; the built-in one does unless given.
    """
    out = stream or sys.stderr
    if _ACTIVE.logs is not None:
        _ACTIVE.logs.sink.close()
    sink: LineSink = DirectLines(out, dropped=_ACTIVE.dropped)
    if buffer_bytes:
        sink = BackgroundLines(sink, most_bytes=buffer_bytes, dropped=_ACTIVE.dropped)
    _ACTIVE.logs = _Logs(
        threshold=logging.getLevelNamesMapping()[level.upper()],
        as_json=form == "json" or (form == "auto" and not out.isatty()),
        colours=out.isatty(),
        sink=sink,
        redactor=redactor or Redactor(),
    )
    _ACTIVE.logs.install()


def restore_logs() -> bool:
    """Undo what a framework did to the loggers since `configure_logs`. Returns whether it did anything."""
    return _ACTIVE.logs is not None and _ACTIVE.logs.restore()


def flush_logs() -> None:
    """Wait, one second at most, until what was logged is written."""
    if _ACTIVE.logs is not None:
        _ACTIVE.logs.sink.close()


def lost_lines() -> int:
    """How many lines the stream did not take since the process began."""
    return _ACTIVE.lost


def watch_lost_lines(watch: Callable[[int], None] | None) -> None:
    """Be told how many lines are lost, whenever some are: for the metrics."""
    _ACTIVE.watch = watch


def watch_errors(tell: Callable[[BaseException], object] | None) -> None:
    """Be told of exceptions that are logged at level error or above, through structlog: for error trackers."""
    _ACTIVE.tell = tell


class AccessLines:
    """Where the access log goes: straight to the stream as JSON, else the way of all lines."""

    def wants(self, *, quiet: bool) -> bool:
        """Whether a line of that kind (`quiet` is level debug) would be written at all."""
        logs = _ACTIVE.logs
        return logs is None or logs.threshold <= (logging.DEBUG if quiet else logging.INFO)

    def write(self, fields: dict[str, Any], *, quiet: bool) -> None:
        """Write the line. `fields` are masked already, and of JSON's types."""
        logs = _ACTIVE.logs
        if logs is None or not logs.as_json:
            log = structlog.get_logger(ACCESS)
            (log.debug if quiet else log.info)("request", **fields)
            return
        rest = _QUIET_HEAD if quiet else _HEAD
        logs.sink.write(b'{"time":"%b%b%b\n' % (_now().encode(), rest, encode(fields)[1:]))


def _loggers() -> list[logging.Logger]:
    return [each for each in list(logging.Logger.manager.loggerDict.values()) if isinstance(each, logging.Logger)]


class _Stamps:
    """The time as ISO 8601 in UTC. The second is formatted once, which a line of the access log would feel."""

    def __init__(self) -> None:
        self._last = (0, "")

    def __call__(self) -> str:
        now = time.time()
        second = int(now)
        last, text = self._last
        if second != last:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._last = (second, text)
        return f"{text}{int((now - second) * 1_000_000):06d}Z"


_now: Final = _Stamps()


def _tell_error(_logger: Any, method: str, event: EventDict) -> EventDict:
    """Hand an exception on to whoever watches."""
    if _ACTIVE.tell is not None and method in _ERRORS and event.get("exc_info"):
        given = event["exc_info"]
        error = given if isinstance(given, BaseException) else (sys.exc_info() if given is True else given)[1]
        if isinstance(error, BaseException):
            _ACTIVE.tell(error)
    return event


def _add_call(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Say which call a line belongs to."""
    call = CURRENT.get()
    if call is None:
        return event
    if call.request_id:
        event.setdefault("request_id", call.request_id)
    if call.trace is not None:
        event.setdefault("trace_id", call.trace.trace_id)
        event.setdefault("span_id", call.trace.span_id)
    if call.principal.id:
        event.setdefault("principal", call.principal.id)
    return event


def _escape_controls(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
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
    call = CURRENT.get()
    if call is not None and call.request_id:
        return call.request_id
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
