"""Asking the children over HTTP with nothing but the standard library: the parent stays light."""

import asyncio
import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headgate.cli.failures import FAILED, Failure, of_problem


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


async def ask(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    token: str = "",
    content_type: str = "application/json",
    seconds: float = 2.0,
) -> Answer | None:
    """Return the answer; None when there is none."""
    headers = {"Content-Type": content_type} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return await asyncio.to_thread(_ask, url, method, body, headers, seconds)


def _ask(url: str, method: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Answer | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


async def ask_json(url: str, **how: Any) -> Any:
    """Return the JSON of a good answer. Raises Failure."""
    answer = await ask(url, **how)
    if answer is None:
        raise Failure(f"{url} does not answer")
    try:
        document = json.loads(answer.body) if answer.body else None
    except ValueError:
        raise Failure(f"{url} answered {answer.status} and no JSON", exit_code=FAILED) from None
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise of_problem(answer.status, document if isinstance(document, dict) else {})
    return document
