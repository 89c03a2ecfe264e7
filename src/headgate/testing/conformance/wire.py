"""HTTP as the checks speak it: a client with credentials, and raw bytes for what no client would send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from headgate.testing.conformance.suite import Target

SECURITY: Final = (
    "content-security-policy",
    "cross-origin-opener-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "cache-control",
)
"""Headers that every answer carries."""


@asynccontextmanager
async def client(target: Target, *, timeout: float = 20.0) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the target, with its credentials."""
    async with httpx.AsyncClient(base_url=target.url, headers=dict(target.headers), timeout=timeout) as http:
        yield http


async def ask(target: Target, method: str, path: str, **given: Any) -> httpx.Response:
    """One request on a connection of its own."""
    async with client(target) as http:
        return await http.request(method, path, **given)


def expect(condition: object, said: str) -> None:
    """Fail with what was seen instead."""
    if not condition:
        raise AssertionError(said)


def expect_dressed(response: httpx.Response) -> None:
    """What every answer must have, refusals included: security headers, a request id, no server's name."""
    missing = [name for name in SECURITY if name not in response.headers]
    expect(not missing, f"{response.status_code} lacks {', '.join(missing)}")
    expect("'none'" in response.headers["content-security-policy"], "the policy does not quote 'none'")
    expect(response.headers.get("x-request-id"), f"{response.status_code} has no X-Request-ID")
    # There are servers that cannot leave it out; then it is empty.
    expect(not response.headers.get("server"), f"Server: {response.headers.get('server')}")


def expect_problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal (RFC 9457), which says no more than it should."""
    expect(response.status_code == status, f"status {response.status_code}, not {status}: {response.text[:200]}")
    content_type = response.headers.get("content-type", "")
    expect(content_type.startswith("application/problem+json"), f"content type {content_type}")
    document: dict[str, Any] = response.json()
    expect(document["status"] == status, f"the document says {document['status']}")
    expect(code is None or document["code"] == code, f"code {document['code']}, not {code}")
    expect(document["request_id"] == response.headers["x-request-id"], "the document has another request id")
    expect("Traceback" not in response.text, "a traceback leaks")
    expect_dressed(response)
    return document


async def raw(target: Target, request: bytes, *, timeout: float = 10.0) -> bytes:
    """Send bytes, close nothing, and return all that comes back until the server closes."""
    where = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(timeout):
            return await reader.read()
    finally:
        writer.close()


def final(answer: bytes) -> bytes:
    """The answer without `100 Continue`, which some servers send whatever becomes of the request."""
    first, _, rest = answer.partition(b"\r\n\r\n")
    return rest if b" 100" in first.split(b"\r\n")[0] else answer


def head(target: Target, method: str, path: str, *headers: str) -> bytes:
    """The head of a request that closes its connection, with the target's credentials."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(target.url).netloc}", "Connection: close", *headers]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
