"""The audit log: records that are written in order, by a thread of their own, whole and once.

    audit = AuditLog(open_sink("/var/log/shop/audit.log"), service="shop", chain=True)
    Audit(audit)                                        # the control which records calls
    audit.record("team_deleted", target="team/blue")    # what the domain has to tell

Whoever writes a record never waits: records queue up (10,000 unless told otherwise), and when the sink does
not take them they are offered to it again, with growing pauses. Only what no longer fits into the queue is
lost; that is logged once for each outage, and counted. A process that ends waits five seconds for what is left.
"""

import atexit
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from weakref import WeakSet

import structlog

from headgate.kit.controls.audit import ECS_VERSION, is_address
from headgate.kit.controls.redaction import redact
from headgate.kit.current import CURRENT
from headgate.kit.observe.audit_chain import Chain
from headgate.kit.observe.audit_sinks import Sink
from headgate.kit.observe.lines import encode

_BATCH: Final = 500
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0
_LAST_WAIT: Final = 5.0
_LONGEST_RECORD: Final = 16_384
_LONGEST_VALUE: Final = 1_024
_TOO_LONG: Final = "(too long)"
_log = structlog.get_logger("headgate.audit")


class AuditLog:
    """Writes records to `sink`. `service` and `version` name who writes them.

    With `chain` each record holds the hash of the one before (`headgate.kit.observe.audit_chain`), made with `key`
    when there is one. `told` is called with `written`, `delayed` or `dropped`, and how many.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        service: str = "headgate",
        version: str = "",
        chain: bool = False,
        key: bytes = b"",
        most: int = 10_000,
        told: Callable[[str, int], None] = lambda _outcome, _count: None,
        mask: Callable[[Any], Any] = redact,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self._sink = sink
        self._chain = Chain(key) if chain else None
        self._most = most
        self._told = told
        self._mask = mask
        self._first_pause = first_pause
        self._about = {"ecs.version": ECS_VERSION, "service.name": service, "host.name": platform.node()}
        if version:
            self._about["service.version"] = version
        self._failing = self._full = False
        self._closed = threading.Event()
        self.start_over()
        _OPEN.add(self)

    def start_over(self) -> None:
        """Begin with an empty queue and no thread, as a forked child must: what waits is its parent's to write."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._waiting: deque[bytes] = deque()
        self._thread: threading.Thread | None = None
        self._tail = encode({**self._about, "process.pid": os.getpid()})[1:]

    def inherit(self) -> None:
        """Begin anew in a child that was forked."""
        self.start_over()
        self._sink.inherit()

    def write(self, document: Mapping[str, Any]) -> None:
        """Put a record in the queue, stamped with the time. `document` is masked, and of JSON's types.

        In a record of over 16 KiB, which sinks may refuse for ever, values of over 1 KiB become "(too long)".
        """
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")[:-6]
        told = encode(document)
        if len(told) > _LONGEST_RECORD:
            told = encode({name: _fit(value) for name, value in document.items()})
        record = b'{"@timestamp":"%bZ",%b,%b' % (stamp.encode(), told[1:-1], self._tail)
        with self._lock:
            full = len(self._waiting) >= self._most or self._closed.is_set()
            begins, self._full = full and not self._full, full
            if not full:
                self._waiting.append(record)
                self._idle.clear()
            if self._thread is None and not full:
                self._start()
        self._wake.set()
        if full:
            self._told("dropped", 1)
        if begins:
            _log.error("audit records are lost: the queue is full", queue=self._most)

    def record(
        self,
        action: str,
        *,
        outcome: Literal["success", "failure", "unknown"] = "success",
        reason: str = "",
        target: str = "",
        category: Literal["api", "authentication", "configuration", "iam", "database", "session"] = "configuration",
        kind: Literal["access", "admin", "change", "creation", "deletion", "info", "start", "end"] = "change",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an event of the domain. Who caused it, and in which call, is taken from the call being served.

        `target` names what it happened to, `details` adds values; secrets in them are masked.
        """
        document: dict[str, Any] = {
            "event.kind": "event",
            "event.category": [category],
            "event.type": [kind],
            "event.action": action,
            "event.outcome": outcome,
            **_of_call(),
        }
        if reason:
            document["event.reason"] = reason
        if target:
            document["headgate.target"] = target
        if details:
            document["headgate.details"] = dict(details)
        self.write(self._mask(document))

    def ready(self) -> bool:
        """Whether records are being written: the sink takes them, and the queue has room."""
        return not (self._failing or self._full)

    @property
    def waiting(self) -> int:
        """How many records are not written yet."""
        return len(self._waiting)

    def reopen(self) -> None:
        """Begin with whatever is at the sink's place now, such as after SIGHUP. Files notice by themselves."""
        self._sink.reopen()

    def flush(self, seconds: float = _LAST_WAIT) -> bool:
        """Wait until everything is written; False when that takes longer."""
        return self._idle.wait(seconds)

    def close(self, seconds: float = _LAST_WAIT) -> None:
        """Write what waits; what is left when the time is up is dropped. Nothing may follow."""
        if self._closed.is_set():
            return
        self.flush(seconds)
        self._closed.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST_WAIT)
        left = len(self._waiting)
        if left:
            self._told("dropped", left)
            _log.error("audit records are lost: they could not be written", records=left)
            self._waiting.clear()
        self._sink.close()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="headgate-audit", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is shutting down
            self._thread = None

    def _run(self) -> None:
        pause = self._first_pause
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            while (batch := self._first()) and not self._closed.is_set():
                if self._written(batch):
                    pause = self._first_pause
                else:
                    self._closed.wait(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)

    def _first(self) -> list[bytes]:
        """The records that are to be written next; they stay in the queue until they are."""
        with self._lock:
            if not self._waiting:
                self._idle.set()
            return [self._waiting[position] for position in range(min(_BATCH, len(self._waiting)))]

    def _written(self, batch: list[bytes]) -> bool:
        try:
            self._offer(batch)
        except Exception as error:  # noqa: BLE001 - a sink's defect must not end the thread, and all records with it
            self._told("delayed", len(batch))
            if not self._failing:
                self._failing = True
                _log.error("audit records cannot be written, they wait", reason=str(error), waiting=len(self._waiting))
            return False
        with self._lock:
            for _ in batch:
                self._waiting.popleft()
            self._full = False
        self._told("written", len(batch))
        if self._failing:
            self._failing = False
            _log.warning("audit records are written again")
        return True

    def _offer(self, batch: list[bytes]) -> None:
        with self._sink.exclusive():
            last = self._sink.last()
            chain = self._chain
            if chain is None:
                self._sink.write(batch)
                return
            if last is not None:
                chain.resume(last)
            place = chain.place
            try:
                self._sink.write([chain.seal(record) for record in batch])
            except Exception:
                chain.place = place
                raise


def _fit(value: Any) -> Any:
    return value if len(encode(value)) <= _LONGEST_VALUE else _TOO_LONG


def _of_call() -> dict[str, Any]:
    """Who, from where, in which call: of the call being served."""
    call = CURRENT.get()
    if call is None:
        return {}
    found: dict[str, Any] = {"http.request.id": call.request_id}
    if call.client:
        found["source.ip" if is_address(call.client) else "source.address"] = call.client
    if call.principal.id:
        found["user.id"] = call.principal.id
    if call.trace is not None:
        found["trace.id"], found["span.id"] = call.trace.trace_id, call.trace.span_id
    return found


_OPEN: Final[WeakSet[AuditLog]] = WeakSet()


def _flush_all() -> None:
    for log in list(_OPEN):
        log.flush()


def _start_over_all() -> None:
    for log in list(_OPEN):
        log.inherit()


atexit.register(_flush_all)
os.register_at_fork(after_in_child=_start_over_all)
