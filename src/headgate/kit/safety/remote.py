"""What scorers behind HTTP have in common: one client, bounded answers, errors without the text or the key.

    Unavailable
    └── scorer_failed       it could not be reached, refused, or answered what it never should

Needs the extra `http`.
"""

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.controls.window import Segmenter
from headgate.kit.safety.refusals import not_installed

if TYPE_CHECKING:
    import httpx

Token = Callable[[], str | Awaitable[str]]
"""Gives the bearer token for a request, anew each time as tokens expire; may be a coroutine function."""

_LONGEST_ANSWER: Final = 1024 * 1024
_AT_ONCE: Final = 4
_STATUS_WORD: Final = re.compile(r"[A-Z][A-Z_]{2,40}")


class Remote:
    """A service at `url` which is sent JSON. `name` is its scorer's, for errors; `timeout` is in seconds.

    A `client` of one's own is not closed with it.
    """

    def __init__(self, name: str, url: str, *, timeout: float, client: "httpx.AsyncClient | None" = None) -> None:
        self._name = name
        self._url = url
        self._timeout = timeout
        self._client = client
        self._own = client is None

    async def post(self, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        """Send `body`; return the object it is answered with.

        Raises Unavailable (`scorer_failed`), and TimeoutError when all of it takes too long.
        """
        try:
            import httpx
        except ImportError as missing:
            raise not_installed("httpx", "http") from missing
        if self._client is None:
            self._client = httpx.AsyncClient(follow_redirects=False)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, json=body, headers=dict(headers), timeout=None) as response,
            ):
                status, content = response.status_code, await _content(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The error may quote the request, and its chain the headers.
            raise self.failed(type(error).__name__) from None
        if status != 200:
            raise self.failed(f"status {status} {_reason(content)}".rstrip())
        document = _object(content)
        if document is None:
            raise self.failed("an answer that is no JSON object")
        return document

    def failed(self, reason: str) -> Fault:
        """The fault for an answer that tells nothing."""
        return Unavailable(f"the content scorer '{self._name}' failed: {reason}", code="scorer_failed")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._own and self._client is not None:
            await self._client.aclose()
            self._client = None


async def _content(response: "httpx.Response") -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > _LONGEST_ANSWER:
            return b""
        chunks.append(chunk)
    return b"".join(chunks)


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _reason(content: bytes) -> str:
    """The status word of Google's error document; messages may quote what was sent."""
    error = (_object(content) or {}).get("error")
    word = error.get("status") if isinstance(error, dict) else None
    return word if isinstance(word, str) and _STATUS_WORD.fullmatch(word) else ""


async def token_of(token: Token) -> str:
    """The token that a provider gives now."""
    given = token()
    return await given if inspect.isawaitable(given) else given


async def by_parts(text: str, longest: int, score: Callable[[str], Awaitable[Mapping[str, float]]]) -> dict[str, float]:
    """The highest scores over the parts of a text of which a service takes `longest` characters at a time."""
    if len(text) <= longest:
        return dict(await score(text))
    segmenter = Segmenter(longest)
    parts = [part for part in segmenter.feed(text) + segmenter.finish() if not part.isspace()]
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(part: str) -> Mapping[str, float]:
        async with places:
            return await score(part)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(part)) for part in parts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    highest: dict[str, float] = {}
    for task in tasks:
        for category, value in task.result().items():
            highest[category] = max(value, highest.get(category, 0.0))
    return highest


def number(value: Any) -> float | None:
    """A probability out of a document; None when it is none."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0.0 <= value <= 1.0 else None
