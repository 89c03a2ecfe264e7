"""Calls over HTTP: `POST /PACKAGE.SERVICE/METHOD`, JSON or MessagePack, streams as JSON lines or frames.

    wire = HttpWire("http://127.0.0.1:8080", MSGPACK, ClientPolicy())

Connections are kept alive and bounded; HTTP/2 when the policy says so. A stream of requests is sent to its end before
the answers are read: conversations need the WebSocket or gRPC. Needs the extra `http`.
"""

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import httpx

from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.resilience.transport import retry_after_of
from headgate.service.client.errors import BadAnswer, ConnectionLost, Unreachable
from headgate.service.client.options import ClientPolicy
from headgate.service.client.wires import Outgoing
from headgate.service.client.wires.pool import Pool, exhausted
from headgate.service.codecs import END, ERROR, FRAMES, LINES, MSGPACK, NEXT, UNDECODABLE, Codec, codec_of, stream_of
from headgate.service.codecs.codec import Decode
from headgate.service.faults import fault_of
from headgate.service.method import Method

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"

_LONGEST_TIMEOUT: Final = 86_400_000
_FAILED: Final = 400
_NO_CONTENT: Final = 204
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout)


class HttpWire:
    """See the module. `tls` replaces the default verification of certificates. Raises InvalidArgument."""

    def __init__(self, address: str, codec: Codec, policy: ClientPolicy, tls: ssl.SSLContext | None = None) -> None:
        self._url = _base(address)
        self._prefix = self._url.raw_path.rstrip(b"/")
        self._codec = codec
        self._streams = FRAMES if codec is MSGPACK else LINES
        self._most = policy.max_message
        self._timeout = {"connect": policy.connect_timeout, "pool": policy.pool_timeout, "read": None, "write": None}
        self._urls: dict[str, httpx.URL] = {}
        self._decoders: dict[str, Decode] = {}
        self._fixed = [(b"host", self._url.netloc), (b"user-agent", b"headgate")]
        most = policy.max_connections if policy.http2 else 1
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=policy.idle_time)
        self._pool = Pool(
            partial(
                httpx.AsyncHTTPTransport,
                verify=tls or _tls(self._url),
                trust_env=False,
                http2=policy.http2,
                limits=limits,
            ),
            most=policy.max_connections,
            most_idle=policy.max_idle,
            idle_time=policy.idle_time,
            patience=policy.pool_timeout,
            shared=policy.http2,
        )

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        media_type = self._codec.media_type.encode()
        content = self._codec.encode(request)
        async with self._pool.connection() as transport:
            headers = [*self._headers(out), (b"content-type", media_type), (b"accept", media_type)]
            response = await self._send(transport, out, headers, content)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
        return self._read(out.method, response, body)

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come; of a method that streams in only, the one."""
        kind = out.method.kind
        sent = self._streams.media_type if kind.streams_in else self._codec.media_type
        wanted = self._streams.media_type if kind.streams_out else self._codec.media_type
        content = self._sending(request) if kind.streams_in else self._codec.encode(request)
        async with self._pool.connection() as transport:
            headers = [*self._headers(out), (b"content-type", sent.encode()), (b"accept", wanted.encode())]
            response = await self._send(transport, out, headers, content)
            try:
                if response.status_code >= _FAILED or not kind.streams_out:
                    yield self._read(out.method, response, await self._body(response))
                    return
                async with aclosing(self._messages(out.method, response)) as messages:
                    async for message in messages:
                        yield message
            finally:
                await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    def _headers(self, out: Outgoing) -> list[tuple[bytes, bytes]]:
        headers = [*self._fixed, *((name.encode(), value.encode()) for name, value in out.headers.items())]
        left = out.left()
        if left is not None:
            headers.append((TIMEOUT_HEADER, b"%d" % min(_LONGEST_TIMEOUT, int(left * 1_000) + 1)))
        return headers

    async def _send(
        self,
        transport: httpx.AsyncHTTPTransport,
        out: Outgoing,
        headers: list[tuple[bytes, bytes]],
        content: bytes | AsyncIterator[bytes],
    ) -> httpx.Response:
        url = self._urls.get(out.path)
        if url is None:
            url = self._urls[out.path] = self._url.copy_with(raw_path=self._prefix + out.path.encode())
        request = httpx.Request("POST", url, headers=headers, content=content, extensions={"timeout": self._timeout})
        try:
            return await transport.handle_async_request(request)
        except httpx.TransportError as error:
            raise self._broken(error) from error

    async def _body(self, response: httpx.Response) -> bytes:
        parts, size = [], 0
        async for part in self._parts(response):
            parts.append(part)
            size += len(part)
            if size > self._most:
                raise ResourceExhausted(f"the answer is larger than {self._most} bytes", code="answer_too_large")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _parts(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for part in response.stream:  # type: ignore[union-attr]
                yield part
        except httpx.TransportError as error:
            raise self._broken(error) from error

    async def _sending(self, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        frame, encode = self._streams.frame, self._codec.encode
        async for each in requests:
            yield frame(NEXT, encode(each))
        yield frame(END, b"")

    async def _messages(self, method: Method, response: httpx.Response) -> AsyncGenerator[Any, None]:
        form = stream_of(response.headers.get("content-type", "").encode())
        if form is None:
            raise BadAnswer(f"{method.name} answered with something that is no stream")
        reader, decode = form.reader(self._most), self._decoder(method, form.codec)
        async with aclosing(self._parts(response)) as parts:  # type: ignore[type-var]
            async for part in parts:
                for kind, payload in _fed(reader, part, method):
                    if kind == END:
                        return
                    if kind == ERROR:
                        raise _fault(method, form.codec, payload, 0)
                    yield _decoded(decode, payload, method)
        raise ConnectionLost("the stream broke off before its end")

    def _read(self, method: Method, response: httpx.Response, body: bytes) -> Any:
        """The answer, or the fault it tells of."""
        status = response.status_code
        codec = codec_of(response.headers.get("content-type", "").encode())
        if status >= _FAILED:
            fault = _fault(method, codec, body, status)
            if fault.retry_after is None:
                fault.retry_after = retry_after_of(response.headers, time.time())
            raise fault
        if method.response is None and (status == _NO_CONTENT or not body):
            return None
        if codec is None:
            raise BadAnswer(f"{method.name} answered {status} with something that is neither JSON nor MessagePack")
        return _decoded(self._decoder(method, codec), body, method)

    def _decoder(self, method: Method, codec: Codec) -> Decode:
        key = f"{codec.name}:{method.rpc}"
        found = self._decoders.get(key)
        if found is None:
            found = self._decoders[key] = codec.decoder(method.response)
        return found

    def _broken(self, error: httpx.TransportError) -> Fault:
        where = f"{type(error).__name__} at {self._url.netloc.decode('ascii')}: {error}"
        if isinstance(error, _NEVER_SENT):
            return Unreachable("the service cannot be reached", internal=where)
        if isinstance(error, httpx.PoolTimeout):
            return exhausted(where)
        return ConnectionLost("the connection broke before the answer was whole", internal=where)


def _base(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.userinfo:
        raise InvalidArgument(
            f"'{url.copy_with(username=None, password=None)}' is no address of HTTP",
            code="invalid_address",
            hint="one is such as http://10.0.0.1:8080",
        )
    return url


def _tls(url: httpx.URL) -> ssl.SSLContext:
    """The usual verification; without https a context that trusts nobody, for making a real one takes long."""
    return ssl.create_default_context() if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _fed(reader: Any, part: bytes, method: Method) -> Any:
    try:
        return reader.feed(part)
    except InvalidArgument as error:
        raise BadAnswer(f"{method.name} answered with a malformed stream", internal=error.message) from error


def _decoded(decode: Decode, payload: bytes, method: Method) -> Any:
    try:
        return decode(payload)
    except UNDECODABLE as error:
        raise BadAnswer(
            f"the answer of {method.name} is not what its contract says",
            hint="compare the contracts of both sides",
            internal=str(error)[:300],
        ) from error


def _fault(method: Method, codec: Codec | None, payload: bytes, status: int) -> Fault:
    try:
        document = codec.decode(payload) if codec is not None else None
    except UNDECODABLE:
        document = None
    return fault_of(document, method.faults, status=status)
