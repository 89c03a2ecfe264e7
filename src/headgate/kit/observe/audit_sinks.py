"""Where audit records go: a file, a stream, syslog, or a function of one's own.

    sink = open_sink("/var/log/shop/audit.log")
    sink = open_sink("stdout")
    sink = open_sink("syslog")                          # /dev/log; also syslog+udp://HOST:514, syslog+tcp://HOST:601

A sink is used by one thread of a process. It raises OSError when it cannot write; the records are then
offered to it again.
"""

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal
from urllib.parse import urlsplit

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument

_TAIL: Final = 64 * 1024
_LONGEST_LINE: Final = 16 * 1024 * 1024
_SEND_SECONDS: Final = 5.0
_FACILITY: Final = 13  # log audit
_INFORMATIONAL: Final = 6
_SYSLOG_SOCKET: Final = "/dev/log"
_PORTS: Final = {"udp": 514, "tcp": 601}


class Sink:
    """Base of all sinks."""

    def write(self, records: Sequence[bytes]) -> None:
        """Write whole records, without line breaks, in order. Raises OSError when it cannot; then none was written."""
        raise NotImplementedError

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile, where the sink is shared."""
        yield

    def last(self) -> bytes | None:
        """The last record there is, b"" when there is none; None when it is the one written last by this process."""
        return None

    def reopen(self) -> None:
        """Begin with whatever is at the sink's place now."""

    def inherit(self) -> None:
        """This is a child that was forked: share nothing with the parent that only one may use."""
        self.reopen()

    def close(self) -> None:
        """Give up what it holds."""


class StreamSink(Sink):
    """Lines on a binary stream, such as `sys.stdout.buffer`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[bytes]) -> None:
        """Write and flush."""
        try:
            self._stream.write(b"".join(b"%b\n" % record for record in records))
            self._stream.flush()
        except ValueError as error:  # closed
            raise OSError(str(error)) from error


class CallableSink(Sink):
    """Hands each record to a function. What that raises counts as not written."""

    def __init__(self, function: Callable[[bytes], object]) -> None:
        self._function = function

    def write(self, records: Sequence[bytes]) -> None:
        """Call it for each."""
        try:
            for record in records:
                self._function(record)
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


class FileSink(Sink):
    """Appends to a file that only its owner can read. Processes may share it: they take turns.

    A file that was moved away (rotated) is opened anew before the next record. `fsync` waits for the disk
    after each batch. A record that a crash cut short is removed when the file is next written to.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self._path = path
        self._fsync = fsync
        self._end = -1
        """Where this process's last record ends."""
        self._before: bytes | None = None
        """The last record of the file that was here before, until this one has a record."""
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise FailedPrecondition(
                f"the audit log cannot be opened: {error.strerror}",
                code="audit_unwritable",
                hint=f"make {path} writable, or name another file",
            ) from error

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the file's lock, on the file that is at its path now."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            while self._moved():
                self._follow()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def last(self) -> bytes | None:
        """The last whole line; None while nobody else has written."""
        size = os.fstat(self._descriptor).st_size
        if size == self._end:
            return None
        line, whole = _last_line(self._descriptor, size)
        if whole < size:
            os.ftruncate(self._descriptor, whole)
        self._end = whole
        return line or self._before or b""

    def write(self, records: Sequence[bytes]) -> None:
        """Append in one piece, or not at all."""
        data = b"".join(b"%b\n" % record for record in records)
        size = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise
        self._end = size + len(data)
        self._before = None

    def reopen(self) -> None:
        """Nothing to do: a file that was moved is noticed."""

    def inherit(self) -> None:
        """Open the file anew: what is locked by way of a descriptor is locked for all who inherited it."""
        with suppress(OSError):
            self._follow()

    def close(self) -> None:
        """Close the file. Whoever still writes gets an OSError, and never what has the descriptor's number next."""
        open_until_now, self._descriptor = self._descriptor, -1
        if open_until_now >= 0:
            os.close(open_until_now)

    def _moved(self) -> bool:
        mine = os.fstat(self._descriptor)
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return True
        return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino)

    def _follow(self) -> None:
        old = self._descriptor
        self._before = _last_line(old, os.fstat(old).st_size)[0]
        self._descriptor = self._open()
        self._end = -1
        os.close(old)


class SyslogSink(Sink):
    """One message of RFC 5424 for each record, over a Unix socket, UDP (RFC 5426) or TCP (octet counting, RFC 6587).

    Facility 13 (log audit), severity informational, message id `audit`.
    """

    def __init__(
        self, kind: Literal["unix", "udp", "tcp"] = "unix", place: str = _SYSLOG_SOCKET, port: int = 0, *, app: str
    ) -> None:
        self._kind = kind
        self._place = place
        self._port = port
        self._app = "".join(each for each in app if "!" <= each <= "~")[:48] or "-"
        self._socket: socket.socket | None = None

    def write(self, records: Sequence[bytes]) -> None:
        """Send them, over a new connection when the last one is gone."""
        try:
            connection = self._socket = self._socket or self._connect()
            for record in records:
                message = self._header() + record
                if self._kind == "tcp":
                    message = b"%d %b" % (len(message), message)
                connection.sendall(message)
        except OSError:
            self.reopen()
            raise

    def reopen(self) -> None:
        """Connect anew for the next record."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Close the connection."""
        self.reopen()

    def _header(self) -> bytes:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
        host = socket.gethostname()[:255] or "-"
        return f"<{_FACILITY * 8 + _INFORMATIONAL}>1 {stamp} {host} {self._app} {os.getpid()} audit - ".encode()

    def _connect(self) -> socket.socket:
        if self._kind == "tcp":
            connection = socket.create_connection((self._place, self._port), timeout=_SEND_SECONDS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection
        family: int = socket.AF_UNIX
        target: Any = self._place
        if self._kind == "udp":
            family, _, _, _, target = socket.getaddrinfo(self._place, self._port, type=socket.SOCK_DGRAM)[0]
        connection = socket.socket(family, socket.SOCK_DGRAM)
        connection.settimeout(_SEND_SECONDS)
        try:
            connection.connect(target)
        except OSError:
            connection.close()
            raise
        return connection


def open_sink(where: str, *, app: str = "headgate", fsync: bool = False) -> Sink:
    """The sink a setting names, or the file at that path.

    `stdout`, `stderr`, `syslog`, `syslog+unix:///PATH`, `syslog+udp://HOST:PORT`, `syslog+tcp://HOST:PORT`. Raises
    InvalidArgument, and FailedPrecondition (`audit_unwritable`) for a file that cannot be opened.
    """
    if where in {"stdout", "stderr"}:
        stream = sys.stdout if where == "stdout" else sys.stderr
        return StreamSink(stream.buffer)
    if where == "syslog":
        return SyslogSink(app=app)
    if where.startswith("syslog+"):
        return _syslog(where, app)
    return FileSink(Path(where), fsync=fsync)


def _syslog(where: str, app: str) -> SyslogSink:
    parts = urlsplit(where.removeprefix("syslog+"))
    port = parts.netloc.rpartition("]")[2].partition(":")[2] or "0"
    if parts.scheme == "unix" and parts.path:
        return SyslogSink("unix", parts.path, app=app)
    if parts.scheme in ("udp", "tcp") and parts.hostname and port.isdecimal() and int(port) < 65_536:
        kind: Literal["udp", "tcp"] = "udp" if parts.scheme == "udp" else "tcp"
        return SyslogSink(kind, parts.hostname, int(port) or _PORTS[kind], app=app)
    raise InvalidArgument(
        "this is not where audit records can go",
        code="invalid_audit_log",
        hint="use syslog, syslog+unix:///dev/log, syslog+udp://HOST:514 or syslog+tcp://HOST:601",
    )


def _last_line(descriptor: int, size: int) -> tuple[bytes, int]:
    """The last line that has its line break, without it, and where it ends in the file."""
    span = min(size, _TAIL)
    while True:
        data = os.pread(descriptor, span, size - span)
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(end, 0)) + 1
        if begin or span == size or span >= _LONGEST_LINE:
            return data[begin : max(end, 0)], size - span + end + 1
        span = min(size, span * 8)
