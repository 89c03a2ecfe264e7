"""A stream of responses, from the first until the end or the fault that is its end.

    await stream(operation, request, call, LINES, outlet)

A fault before anything was sent goes on to who called, and has a status; later it is the last frame of the stream.
"""

import asyncio
from typing import Any

from headgate.kit.asgi.problems import tell
from headgate.kit.asgi.refusals import LAST_WORDS
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault
from headgate.service.codecs import END, ERROR, NEXT, Stream
from headgate.service.faults import defect
from headgate.service.transports.http.alone import late, seconds_left
from headgate.service.transports.http.answers import encoded_document, fault_document
from headgate.service.transports.http.operation import Operation
from headgate.service.transports.http.outlet import Outlet


async def stream(operation: Operation, request: Any, call: Call, frames: Stream, outlet: Outlet) -> None:
    """Send all that a method gives."""
    responses: Any = None
    # Whoever ends the call from outside, when it idles or the server stops, ends it in this stream's form.
    call.keep(LAST_WORDS, lambda fault: frames.frame(ERROR, _document(fault, call, frames)))
    limit = asyncio.timeout(seconds_left(call))
    try:
        try:
            async with limit:
                responses = await operation.call(request, call)
                await _pass_on(responses, frames, outlet)
        except TimeoutError as error:
            raise late(error, limit) from error
        await outlet.put(frames.frame(END, b""), more=False)
    except Exception as error:
        if not outlet.begun:
            raise
        await outlet.put(frames.frame(ERROR, _told(error, call, frames)), more=False)
    finally:
        outlet.close()
        await closed(responses)


async def closed(responses: Any) -> None:
    """End what gives responses, where it can be ended."""
    close = getattr(responses, "aclose", None)
    if close is not None:
        await close()


async def _pass_on(responses: Any, frames: Stream, outlet: Outlet) -> None:
    encode, frame, put = frames.codec.encode, frames.frame, outlet.put
    async for response in responses:
        await put(frame(NEXT, encode(response)))


def _told(error: Exception, call: Call, frames: Stream) -> bytes:
    fault = error if isinstance(error, Fault) else defect()
    tell(fault, error)
    call.fault, call.code = fault, fault.kind
    return _document(fault, call, frames)


def _document(fault: Fault, call: Call, frames: Stream) -> bytes:
    return encoded_document(fault_document(fault, call), frames.codec)
