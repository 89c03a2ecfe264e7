"""Knobs of the content gate."""

import asyncio
from typing import Any

from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.safety.builtin import BuiltinScorer
from tests.kit.knobs import Place, ask, knob

RUDE = b"you are a stupid worthless idiot, go die"
BUILTIN = {"content_filter_scorers": ("builtin",)}


async def said(text: bytes = RUDE, path: str = "/echo", **settings: Any) -> tuple[int, str]:
    """Status and text of the answer to a text."""
    headers = {"content-type": "text/plain"}
    answer = await ask(path, method="POST", content=text, headers=headers, settings=settings)
    return answer.status_code, answer.text


@knob("content_filter_scorers")
async def gate(_place: Place) -> None:
    """With a scorer, what it finds is refused; without one, everything passes."""
    assert await said() == (200, RUDE.decode())
    assert (await said(**BUILTIN))[0] >= 400
    assert await said(b"good morning", **BUILTIN) == (200, "good morning")


@knob("content_filter_threshold")
async def threshold(_place: Place) -> None:
    """From a probability on a category counts."""
    assert (await said(**BUILTIN, content_filter_threshold=0.1))[0] >= 400
    assert (await said(**BUILTIN, content_filter_threshold=1.0))[0] == 200


@knob("content_filter_action")
async def action(_place: Place) -> None:
    """What is found is refused, masked, or only noted."""
    assert (await said(**BUILTIN, content_filter_action="block"))[0] >= 400
    status, text = await said(**BUILTIN, content_filter_action="redact")
    assert (status, "idiot" in text) == (200, False)
    assert await said(**BUILTIN, content_filter_action="flag") == (200, RUDE.decode())


@knob("content_filter_paths")
async def where(_place: Place) -> None:
    """Only bodies of the paths named go through the gate."""
    assert (await said(**BUILTIN, content_filter_paths=("/echo",)))[0] >= 400
    assert (await said(**BUILTIN, content_filter_paths=("/other",)))[0] == 200


@knob("content_filter_on_error")
async def failure(place: Place) -> None:
    """When a scorer fails, text is refused, or passes."""

    async def fails(*_: object) -> dict[str, float]:
        raise RuntimeError("no model")

    place.monkeypatch.setattr(BuiltinScorer, "score", fails)
    assert (await said(b"good morning", **BUILTIN, content_filter_on_error="closed"))[0] >= 400
    assert (await said(b"good morning", **BUILTIN, content_filter_on_error="open"))[0] == 200


@knob("content_filter_timeout")
async def patience(place: Place) -> None:
    """A scorer that takes longer has failed."""

    async def slow(*_: object) -> dict[str, float]:
        await asyncio.sleep(0.5)
        return {}

    place.monkeypatch.setattr(BuiltinScorer, "score", slow)
    assert (await said(b"good morning", **BUILTIN, content_filter_timeout=0.05))[0] >= 400
    assert (await said(b"good morning", **BUILTIN, content_filter_timeout=30))[0] == 200


@knob("content_filter_window")
async def held_back(_place: Place) -> None:
    """Of a stream no more than that is held back until it is judged."""
    for window, early in ((64, True), (65_536, False)):
        assert await sent_before_the_end(content_filter_window=window) is early


async def sent_before_the_end(**settings: Any) -> bool:
    """Whether the caller of a stream has text before the application has said its last word."""
    told: list[bytes] = []
    early = False

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal early
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(20):
            event = b'data: {"chunk": "good morning to everybody here. "}\n\n'
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(0)
        early = b"morning" in b"".join(told)
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"content-type", b"application/json")], "client": ("192.0.2.1", 1), "http_version": "1.1"}
    kit = Kit(HardeningSettings(**BUILTIN, **settings))
    await kit.harden(application)(scope, receive, send)
    await kit.aclose()
    return early
