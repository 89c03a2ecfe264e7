"""How a wire that makes its own calls conducts them: through the kit's controls, into an endpoint, and to their end.

    conduct = Conduct(hosted, Pipeline(kit.controls, frozenset(("socket",))))
    body, fault = await conduct.unary(call, conduct.routes[path], JSON, raw)

A call is identified, admitted, run under its deadline and settled, whatever becomes of it. What is raised is a fault
for its caller; what is no fault is logged, and its caller learns that something went wrong here.

    NotFound
    └── unknown_method       nothing is called so here
    DeadlineExceeded
    └── request_timeout
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, NamedTuple

import structlog

from headgate.kit.controls.call import Answer, Call, Headers, Pipeline, Protocol
from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import KINDS, DeadlineExceeded, Fault, InvalidArgument
from headgate.kit.controls.principal import Certificate
from headgate.kit.current import CURRENT
from headgate.service.codecs import CODECS, UNDECODABLE, Codec, refused
from headgate.service.codecs.codec import Decode
from headgate.service.faults import defect, document_of, unknown_method
from headgate.service.host import Hosted
from headgate.service.invoke import Endpoint
from headgate.service.types import blank_of

_OK: Final = 200
_CLIENT_WENT_AWAY: Final = 499
_MOST_SECONDS: Final = 1e9
_DEFECTS: Final = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS"))
_log = structlog.get_logger("headgate.service")


CONVEYED: Final = "conveyed"
"""Under this name a call keeps what its handler sees and the controls before it do not."""


class Conveyed(NamedTuple):
    """Headers, and the certificate of a connection whose principal is settled."""

    headers: Headers
    certificate: Certificate | None


class Route:
    """An endpoint and how its requests are read."""

    __slots__ = ("decoders", "endpoint", "kind", "path", "request", "subject", "unary")

    def __init__(self, hosted: Hosted, endpoint: Endpoint) -> None:
        method = endpoint.method
        self.endpoint = endpoint
        self.kind = method.kind
        self.unary = not (method.kind.streams_in or method.kind.streams_out)
        self.path = endpoint.path
        self.request = method.request
        self.subject = f"svc.{hosted.contract.name}.{method.rpc}"
        self.decoders: dict[str, Decode] = {codec.name: codec.decoder(method.request) for codec in CODECS}

    def decode(self, codec: Codec, body: bytes, pointer: str = "") -> Any:
        """One request; no bytes at all are an object without fields. Raises InvalidArgument with all that is wrong."""
        try:
            return self.decoders[codec.name](body)
        except UNDECODABLE as error:
            if not body and not pointer and (blank := blank_of(self.request)) is not None:
                return blank()
            raise refused(codec, self.request, bytes(body), error, pointer) from error


class Conduct:
    """The endpoints of one wire, by path and by subject, behind the controls of a pipeline."""

    def __init__(self, hosted: Iterable[Hosted], pipeline: Pipeline | None, protocol: Protocol) -> None:
        self.protocol = protocol
        self.pipeline = pipeline or Pipeline((), frozenset((protocol,)))
        self.hosted = tuple(hosted)
        self.routes = {
            endpoint.path: Route(each, endpoint) for each in self.hosted for endpoint in each.endpoints.values()
        }

    def find(self, path: str) -> Route:
        """Raises NotFound (`unknown_method`)."""
        route = self.routes.get(path)
        if route is None:
            raise unknown_method(path)
        return route

    async def unary(
        self, call: Call, route: Route | None, codec: Codec, body: bytes, asked: float | None = None
    ) -> tuple[bytes, Fault | None]:
        """The response's bytes, or the fault; the call is settled. `asked` are the seconds that its caller waits."""
        CURRENT.set(call)
        out, fault = b"", None
        try:
            await self.enter(call, asked)
            if route is None:
                route = self.find(call.path)
            request = route.decode(codec, body)
            call.bytes_in = len(body)
            limit = _limit(call, first=True)
            if limit is None:
                response = await route.endpoint.call(request, call)
            else:
                response = await _within(limit, route.endpoint.call(request, call))
            out = codec.encode(response)
        except asyncio.CancelledError:
            self.cancelled(call)
            raise
        except Exception as error:  # noqa: BLE001 - outermost: whatever it is, the caller is told
            fault = self.judge(call, error)
        self.settle(call, fault, len(out), 1 if fault is None else 0)
        return out, fault

    async def stream(
        self, call: Call, route: Route, requests: Any, send: "Callable[[Any], Any]", asked: float | None = None
    ) -> tuple[Any, Fault | None]:
        """Run a method that streams; `send` is awaited with each response of a stream.

        `requests` that can be called are made once the call is admitted; what that raises is the call's fault.
        Returns what it returned besides, and the fault it ended with. Not settled yet: see `settle`.
        """
        CURRENT.set(call)
        try:
            await self.enter(call, asked)
            if callable(requests):
                requests = requests()
            limit = _limit(call, first=not route.kind.streams_in)
            result = await _within(limit, route.endpoint.call(requests, call))
            if not route.kind.streams_out:
                return result, None
            await _pump(result, call, send)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - outermost
            return None, self.judge(call, error)
        return None, None

    async def enter(self, call: Call, asked: float | None = None) -> None:
        """Identify and admit, then see how long the caller waits. Raises the fault of whoever refuses."""
        answer = await self.pipeline.enter(call)
        if answer is not None:
            raise _as_fault(answer)
        conveyed: Conveyed | None = call.kept(CONVEYED)
        if conveyed is not None:
            call.raw_headers, call.certificate = conveyed
            call.headers = dict(conveyed.headers)
        route = self.routes.get(call.path)
        call.route = "" if route is None else route.path
        wait, total = possible(asked), call.budget.total
        if asked is not None or total is not None:
            call.deadline = call.started + (wait if total is None else min(wait, total))

    def judge(self, call: Call, error: BaseException) -> Fault:
        """The fault that an exception is told as. Logs what its caller does not learn."""
        if isinstance(error, Fault):
            if not call.refused_by:
                _tell(call, error)
            return error
        _log.error("call failed", code="internal", exc_info=error, method=call.route, request_id=call.request_id)
        return defect()

    def settle(self, call: Call, fault: Fault | None, size: int = 0, messages: int = 0) -> None:
        """The call is over, one way or the other."""
        if fault is None:
            call.status, call.code, call.complete = _OK, "OK", True
        else:
            from headgate.kit.asgi.problems import status_of

            call.fault, call.code, call.status = fault, fault.kind, status_of(fault)
            call.complete = True
        call.bytes_out += size
        call.messages_out += messages
        self._end(call)

    def cancelled(self, call: Call) -> None:
        """Its caller left, or serving ends."""
        call.code, call.status = "CANCELLED", _CLIENT_WENT_AWAY
        self._end(call)

    def _end(self, call: Call) -> None:
        now = time.monotonic()
        if call.first_byte is None:
            call.first_byte = now
        headers: list[tuple[bytes, bytes]] = []
        try:
            self.pipeline.respond(call, headers)
        except Exception as error:  # noqa: BLE001 - a control's defect costs its headers only
            _broken(error)
        call.ended = now
        self.pipeline.settle(call, _broken)

    def document(self, codec: Codec, fault: Fault, call: Call | None) -> bytes:
        """The fault as it is sent."""
        path, request_id = ("", "") if call is None else (call.path, call.request_id)
        return codec.encode(document_of(fault, path, request_id))


async def _pump(responses: AsyncIterator[Any], call: Call, send: "Callable[[Any], Any]") -> None:
    """Send what the method streams, each message within the budget; the stream is closed whatever happens."""
    first = True
    try:
        while True:
            limit = _limit(call, first=first)
            try:
                response = await _within(limit, anext(responses))
            except StopAsyncIteration:
                return
            call.messages_out += 1
            if first:
                call.first_byte, first = time.monotonic(), False
            await _within(_limit(call, first=False), send(response))
    finally:
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


def _limit(call: Call, *, first: bool) -> float | None:
    """Seconds that the next step may take; None without limit."""
    budget, deadline = call.budget, call.deadline
    step = budget.first_byte if first else budget.idle
    if deadline is None:
        return step
    left = max(0.0, deadline - time.monotonic())
    return left if step is None else min(left, step)


async def _within(limit: float | None, work: Any) -> Any:
    if limit is None:
        return await work
    try:
        async with asyncio.timeout(limit) as timer:
            return await work
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise DeadlineExceeded("the time ran out", code="request_timeout", hint="allow more time") from error


def seconds_of(milliseconds: int | None) -> float | None:
    """What a caller asks for in whole milliseconds, possible or not."""
    return None if milliseconds is None else milliseconds / 1_000


def possible(asked: float | None) -> float:
    """How long a caller waits who says so, in seconds. Raises InvalidArgument (`malformed_timeout`)."""
    if asked is None:
        return _MOST_SECONDS
    if not 0 < asked <= _MOST_SECONDS:
        raise InvalidArgument("this is no timeout", code="malformed_timeout", hint="send milliseconds, at least 1")
    return asked


def _as_fault(answer: Answer) -> Fault:
    """The fault nearest to a control's answer, which only HTTP could send."""
    made = KINDS.get(code_of_status(answer.status), KINDS["UNIMPLEMENTED"])
    return made("answered without the method", code="answered_by_control")


def _tell(call: Call, fault: Fault) -> None:
    shown = {"code": fault.code, "method": call.route, "request_id": call.request_id}
    if fault.kind in _DEFECTS:
        _log.error("call failed", reason=fault.message, internal=fault.internal, exc_info=fault, **shown)
    elif fault.internal:
        _log.info("call refused", reason=fault.message, internal=fault.internal, **shown)


def _broken(error: BaseException) -> None:
    _log.error("a control failed", code="internal", exc_info=error)
