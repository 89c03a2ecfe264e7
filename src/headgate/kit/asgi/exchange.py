"""One HTTP request and its answer, from the first control to the last.

Whatever happens, the server sees at most one `http.response.start`, every answer has passed the controls'
`respond`, and `settle` runs once. Before the answer began, trouble becomes the answer. After that it becomes
the end of the stream: an error event or trailer where the protocol has one, else a connection cut short, so
that nobody takes what came for the whole.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from starlette.middleware.gzip import GZipResponder
from starlette.types import Message

from headgate.kit.asgi import compression, refusals
from headgate.kit.asgi.inputs import fault_of
from headgate.kit.asgi.problems import TOLD, defect, tell
from headgate.kit.asgi.supervision import Supervised, gone
from headgate.kit.controls.call import Headers, MutableHeaders
from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.current import CURRENT

CLIENT_WENT_AWAY: Final = 499
_LONGEST_LENGTH: Final = 18
_DISCARD_SECONDS: Final = 5.0
_DISCARDED_BYTES: Final = 1024 * 1024
_NO_BODY: Final = frozenset((204, 304))
_PARTS: Final = frozenset(f"http.response.{part}" for part in ("body", "trailers", "pathsend", "zerocopysend"))
_log = structlog.get_logger("headgate.http")


class ResponseCutError(Exception):
    """The answer had begun and cannot be completed: the server is to close the connection."""


class Exchange(Supervised):
    """One request."""

    _headers: Headers = ()
    _last = b""
    _squeezer: GZipResponder | None = None
    _opened = False
    _plain = False
    _trailers = False
    _sent_last = False
    _body_ended = False

    async def run(self) -> None:
        """Answer, whatever the application does."""
        call, shell = self.call, self.shell
        token = CURRENT.set(call)
        try:
            try:
                answer = await shell.enter(call)
                if answer is None:
                    self._admit()
                    await shell.app(self.scope, self.receive, self.send)
                else:
                    await self._reply(answer.status, list(answer.headers), answer.body)
            except BaseException as error:  # noqa: BLE001 - outermost: nothing may reach the server unanswered
                await self._end(self._judge(error))
            else:
                if self.verdict is not None or not call.complete:
                    await self._end(self._judge(None))
        finally:
            self._settle()
            CURRENT.reset(token)

    def settled(self) -> bool:
        """A caller who leaves once all is sent misses nothing."""
        return self._sent_last and (self.call.complete or self.gone)

    def may_watch(self) -> bool:
        """To ask the server for the body of a caller who waits for `100 Continue` is to invite it."""
        return self._direct == 0 and (self.call.bytes_in > 0 or b"expect" not in self.call.headers)

    def left(self, message: Message | None, heard: bool) -> None:
        """What comes after the last part was handed over is the server's end of it, or no loss."""
        if not self._sent_last:
            super().left(message, heard)

    def went(self, message: Message | None, heard: bool) -> None:  # noqa: ARG002
        """Nothing more goes out; who did not hear of it is cancelled at once."""
        self.verdict = self.verdict or gone()
        if not heard:
            self._cancel()

    def took(self, message: Message) -> None:
        """Count the bytes of the body, and refuse more than may be."""
        if message["type"] != "http.request":
            return
        call, most = self.call, self.shell.max_body_size
        call.bytes_in += len(message.get("body", b""))
        self._body_ended = not message.get("more_body", False)
        if most and call.bytes_in > most:
            if self.verdict is None:
                self.verdict, call.refused_by = _too_large(most), "body_limit"
            raise self.verdict

    async def send(self, message: Message) -> None:
        """Pass a message of the answer on."""
        if self.verdict is not None:
            return
        kind = message["type"]
        try:
            if kind == "http.response.start":
                message = self._open(message)
                if self._squeezer is None:
                    self._dress(message["status"], message["headers"])
                    await self._send(message)
                    return
            elif self._plain and kind == "http.response.body":
                self._count(message)
                await self._send(message)
                if self._sent_last:
                    self._complete()
                return
            elif self._sent_last or (not self._opened and kind in _PARTS):
                raise RuntimeError("a part of a response before its start, or after its end")
            if self._squeezer is None:
                await self._put(message)
            else:
                # A copy, with what may be left out: Starlette's responder writes into it.
                await self._squeezer.send_with_compression({"body": b"", **message})
        except OSError:  # how a server says that its caller is gone
            self.left(None, True)
            raise

    def _count(self, message: Message) -> None:
        """Count a part of an ordinary body, and note whether it is the last."""
        call = self.call
        body = message.get("body", b"")
        if body:
            call.messages_out += 1
            call.bytes_out += len(body)
        if message.get("more_body", False):
            self._last = body or self._last
            self._touched = self.shell.clock()
        else:
            self._plain, self._sent_last = False, True

    def _complete(self) -> None:
        call = self.call
        call.complete = True
        call.ended = self.shell.clock()

    async def _finish(self, message: Message) -> None:
        self._plain, self._sent_last = False, True
        await self._send(message)
        self._complete()

    async def _put(self, message: Message) -> None:
        """Send a message out of the ordinary, or one that came out of compression."""
        kind, call = message["type"], self.call
        if kind == "http.response.start":
            self._dress(message["status"], message["headers"])
            await self._send(message)
            return
        last = _ends(message)
        if kind == "http.response.body":
            body = message.get("body", b"")
            call.messages_out += bool(body)
            call.bytes_out += len(body)
            last = not (self._trailers or message.get("more_body", False))
        if last:
            await self._finish(message)
        else:
            self._touched = self.shell.clock()
            await self._send(message)

    def _admit(self) -> None:
        """Hold the request to what was announced, and the application to what the controls found."""
        call, ticker = self.call, self.shell.ticker
        if ticker.near or call.budget is not ticker.budget or call.deadline is not None:
            self.admitted()
        if b"content-length" in call.headers:
            self._measure()
        if call.client != call.peer:
            self.scope["client"] = (call.client, 0)
        if call.scheme != self.scope.get("scheme"):
            self.scope["scheme"] = call.scheme

    def _measure(self) -> None:
        call, most = self.call, self.shell.max_body_size
        announced = call.headers[b"content-length"]
        if not announced.isdigit() or len(call.values(b"content-length")) > 1 or b"transfer-encoding" in call.headers:
            call.refused_by = "body_limit"
            raise InvalidArgument("Content-Length is not one number", code="malformed_request")
        # int() of thousands of digits is slow, and refused by Python.
        call.size = int(announced) if len(announced) <= _LONGEST_LENGTH else 10**_LONGEST_LENGTH
        if most and call.size > most:
            call.refused_by = "body_limit"
            raise _too_large(most)

    def _open(self, message: Message) -> Message:
        """The start of the answer, its headers free to be changed, and compression chosen."""
        call, shell = self.call, self.shell
        if self._opened:
            self.verdict = defect()
            _log.error("the application began a second response", code=self.verdict.code)
            raise RuntimeError("a response has begun already: there cannot be a second")
        self._opened = True
        # A copy: a response object may be sent more than once.
        headers = list(message.get("headers", ()))
        names = dict(headers)
        if b"server" in names or b"Server" in names:
            headers = [each for each in headers if each[0].lower() != b"server"]
        length = names.get(b"content-length")
        # Most answers are small, which the number of digits shows.
        if shell.gzip_digits and (length is None or len(length) >= shell.gzip_digits) and call.protocol == "http":
            self._choose_compression(message["status"], names, headers)
        self._trailers = message.get("trailers", False)
        self._plain = self._squeezer is None and not self._trailers
        return {**message, "headers": headers}

    def _choose_compression(self, status: int, names: Mapping[bytes, bytes], headers: MutableHeaders) -> None:
        minimum, call = self.shell.gzip_min_size, self.call
        if status in _NO_BODY or not compression.worth(names, minimum):
            return
        if not compression.wanted(call.headers.get(b"accept-encoding"), self.scope):
            compression.vary(headers)
        elif call.method == "HEAD":
            compression.foretell(headers)
        else:
            self._squeezer = compression.responder(self.shell.app, minimum, self._put)

    def _dress(self, status: int, headers: MutableHeaders) -> None:
        """Let the controls see the headers of what is sent now, and note that it is."""
        call, shell = self.call, self.shell
        call.status = status
        if not call.route:
            call.route = shell.route_of(self.scope)
        for hook in shell.respond_hooks[call.protocol]:
            try:
                hook(call, headers)
            except Exception as error:  # noqa: BLE001 - it costs that control's headers, not the answer
                shell.failed(error)
        self._headers = headers
        call.first_byte = self._touched = shell.clock()
        if self._timer is not None:
            self._arm()

    async def _reply(self, status: int, headers: MutableHeaders, body: bytes, *, linger: bool = False) -> None:
        """Send a whole answer. With `linger`, read on before its end, so that the caller reads it."""
        if status not in _NO_BODY and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(body)).encode()))
        self._dress(status, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if self.call.method == "HEAD":
            body = b""
        if body:
            self.call.messages_out, self.call.bytes_out = 1, len(body)
        if linger:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._discard()
            body = b""
        await self._finish({"type": "http.response.body", "body": body, "more_body": False})

    async def _discard(self) -> None:
        """Read on for a while: a client cut off while it sends sees a reset connection instead of the answer."""
        if self._body_ended or (b"expect" in self.call.headers and not self.call.bytes_in):
            return
        left = max(self.shell.max_body_size, _DISCARDED_BYTES)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                ahead = await self._inbox.retire() if self._inbox is not None else []
                while left > 0:
                    message = ahead.pop(0) if ahead else await self._receive()
                    if not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))

    def _judge(self, error: BaseException | None) -> Fault | None:
        """What the call ends with; None when all was sent. Raises what is not ours to answer."""
        self.release(error)
        if self.call.complete:
            if error is not None:
                self._tell_late(error)
            return None
        if self.verdict is not None:
            return self.verdict
        fault = fault_of(error) or defect()
        if error is None:
            _log.error("the application left its answer unfinished", code=fault.code)
        elif self.call.kept(TOLD) is not error:
            tell(fault, error)
        return fault

    def _tell_late(self, error: BaseException) -> None:
        """What went wrong after the answer was complete is for the log alone."""
        if self.call.kept(TOLD) is not error:
            _log.error("failed after the answer", code="internal", exc_info=error)

    async def _end(self, fault: Fault | None) -> None:
        """Answer with the fault, or end with it what has begun."""
        if fault is None:
            return
        call = self.call
        call.fault, call.code = fault, fault.kind
        if self.gone:
            call.status = call.status or CLIENT_WENT_AWAY
            return
        begun = bool(call.status)
        try:
            async with asyncio.timeout(self.patience or self.shell.last_words):
                if begun:
                    await self._break_off(fault)
                else:
                    await self._refuse(fault)
        except (TimeoutError, OSError):
            if begun:
                raise ResponseCutError(f"request {call.request_id}: the answer was cut short") from None

    async def _refuse(self, fault: Fault) -> None:
        status, headers, body = refusals.refusal(self.call, fault)
        linger = fault.code == "body_too_large"
        if linger and self.scope.get("http_version", "1.1").startswith("1"):
            headers.append((b"connection", b"close"))
        await self._reply(status, headers, body, linger=linger)

    async def _break_off(self, fault: Fault) -> None:
        words = refusals.last_words(self.call, fault, self._headers, self._last)
        if words is None or self._sent_last:
            raise ResponseCutError(f"request {self.call.request_id}: the answer was cut short ({fault.code})") from None
        self.call.messages_out += 1
        self.call.bytes_out += len(words)
        self._sent_last = True
        await self._send({"type": "http.response.body", "body": words, "more_body": False})

    def _settle(self) -> None:
        call, shell = self.call, self.shell
        self._over = True
        self.bucket.discard(self)
        if self._timer is not None or self._inbox is not None:
            self.close()
        if not call.complete:
            call.ended = shell.clock()
        if not call.status:
            call.status, call.code = CLIENT_WENT_AWAY, "CANCELLED"
        elif call.status >= 400 and call.code == "OK":
            call.code = code_of_status(call.status)
        if not call.route and call.first_byte is None:
            call.route = shell.route_of(self.scope)
        shell.settle(call, shell.failed)


def _ends(message: Message) -> bool:
    """Whether a message which is neither start nor body ends the answer."""
    kind = message["type"]
    if kind == "http.response.trailers":
        return not message.get("more_trailers", False)
    return kind == "http.response.pathsend" or (
        kind == "http.response.zerocopysend" and not message.get("more_body", False)
    )


def _too_large(most: int) -> Fault:
    return ResourceExhausted(f"the request body is larger than {most} bytes", code="body_too_large")
