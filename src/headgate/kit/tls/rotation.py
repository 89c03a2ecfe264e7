"""Certificates that change while they are served.

    certificates = Certificates(TlsFiles(...), every=10.0)
    context = certificates.context(["http/1.1"])        # for asyncio; handshakes always use the newest
    certificates.watch()                                # look at the files every 10 seconds, until `unwatch`
    certificates.refresh()                              # look now, as on SIGHUP

New handshakes use the new chain and the new client authorities; connections that are open keep theirs. What
cannot be used is logged once and changes nothing: the old stays until the files are right.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import structlog

from headgate.kit.controls.faults import Fault
from headgate.kit.tasks import end
from headgate.kit.tls.files import Loaded, ServerContext, TlsFiles, load

_log = structlog.get_logger("headgate.tls")


class Certificates:
    """The newest good state of some files. `every` is in seconds; 0 looks only when told to.

    Constructing reads the files and raises what `load` does. Several servers may share one.
    """

    def __init__(self, files: TlsFiles, *, every: float = 10.0) -> None:
        self.files = files
        self.loaded: Loaded = load(files)
        self._every = every
        self._fronts: list[_Front] = []
        self._listeners: list[Callable[[], None]] = []
        self._complaint = ""
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None

    def context(self, protocols: list[str]) -> ssl.SSLContext:
        """A context that offers `protocols` (ALPN) and uses the newest files for each connection."""
        front = _Front(ssl.PROTOCOL_TLS_SERVER)
        front.protocols, front.current = protocols, self.loaded.context(protocols)
        self._fronts.append(front)
        return front

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, in the thread that noticed it."""
        self._listeners.append(listener)

    def refresh(self) -> bool:
        """Look at the files. Returns whether there is something new, and uses it."""
        try:
            if self.files.stamp() == self.loaded.stamp:
                self._complaint = ""
                return False
            return self._use(load(self.files))
        except (Fault, OSError) as error:
            self._complain(error)
            return False

    def watch(self) -> None:
        """Begin to look at the files regularly. Each call needs its `unwatch`."""
        self._watchers += 1
        if self._task is None and self._every > 0:
            self._task = asyncio.create_task(self._look(), name="certificates")

    async def unwatch(self) -> None:
        """Stop looking, when nobody else watches."""
        self._watchers -= 1
        if self._watchers <= 0 and self._task is not None:
            task, self._task = self._task, None
            await end(task)

    def _use(self, loaded: Loaded) -> bool:
        fresh = [loaded.context(front.protocols) for front in self._fronts]
        for front, context in zip(self._fronts, fresh, strict=True):
            front.current = context
        self.loaded, self._complaint = loaded, ""
        _log.info("certificates changed", files=[str(path) for path in self.files.paths])
        for listener in self._listeners:
            listener()
        return True

    def _complain(self, error: Fault | OSError) -> None:
        """Log the same trouble once, however often the files are looked at."""
        reason = error.message if isinstance(error, Fault) else f"{error.filename}: {error.strerror}"
        if reason != self._complaint:
            self._complaint = reason
            _log.error("certificates not changed; the old ones stay", reason=reason)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            # Files may be on a slow disk; what is found takes effect here, where the handshakes are.
            if await asyncio.to_thread(self._changed):
                self.refresh()
            else:
                self._complaint = ""

    def _changed(self) -> bool:
        try:
            return self.files.stamp() != self.loaded.stamp
        except OSError:
            return True


class _Front(ssl.SSLContext):
    """The context a server holds: each connection gets the newest one behind it.

    Not an old one that is changed: its sessions, resumed, would outlive the authorities that vouched for them.
    """

    protocols: list[str]
    current: ServerContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection of asyncio's."""
        return self.current.wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Begin a connection over a plain socket."""
        return self.current.wrap_socket(*arguments, **options)
