"""Knobs of the content gate."""

import asyncio
import json
from typing import Any

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.safety.builtin import BuiltinScorer, shipped
from headgate.kit.safety.checks import ChecksScorer
from headgate.kit.safety.export import tflite
from headgate.kit.safety.perspective import PerspectiveScorer
from tests.kit.knobs import RUDE, Place, ask, knob
from tests.kit.knobs.collector import Collector

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


@knob("content_filter_thresholds")
async def threshold_of_one(_place: Place) -> None:
    """A category has a threshold of its own."""
    assert (await said(**BUILTIN, content_filter_thresholds=("harassment=1.0",)))[0] == 200
    assert (await said(**BUILTIN, content_filter_thresholds=("hate=1.0",)))[0] >= 400


@knob("content_filter_marker")
async def marker(_place: Place) -> None:
    """Redacted text is replaced by the marker."""
    _, text = await said(**BUILTIN, content_filter_action="redact", content_filter_marker="[gone]")
    assert "[gone]" in text


@knob("content_filter_sides")
async def sides(_place: Place) -> None:
    """What the service answers is judged only on the side `output`."""
    assert (await said(b"good morning", "/rude", **BUILTIN, content_filter_sides=("output",)))[0] >= 400
    assert (await said(b"good morning", "/rude", **BUILTIN, content_filter_sides=("input",)))[0] == 200


@knob("content_filter_methods")
async def methods(_place: Place) -> None:
    """Other methods are not judged."""
    assert (await said(**BUILTIN, content_filter_methods=("POST",)))[0] >= 400
    assert (await said(**BUILTIN, content_filter_methods=("PUT",)))[0] == 200


@knob("content_filter_pointers")
async def pointers(_place: Place) -> None:
    """Of a document only the texts pointed at are judged."""
    document = json.dumps({"text": RUDE.decode(), "other": "good morning"}).encode()
    for pointer, refused in (("/text", True), ("/other", False)):
        settings = {**BUILTIN, "content_filter_pointers": (pointer,), "content_filter_sides": ("input",)}
        headers = {"content-type": "application/json"}
        answer = await ask("/echo", method="POST", content=document, headers=headers, settings=settings)
        assert (answer.status_code >= 400) is refused


@knob("content_filter_text_at")
async def text_of_events(_place: Place) -> None:
    """The text of a stream is put together from where it is said to be."""
    for pointer, cut in (("/words", True), ("/number", False)):
        answer = await ask("/events", method="POST", settings={**BUILTIN, "content_filter_text_at": (pointer,)})
        assert ("content_blocked" in answer.text) is cut


@knob("content_filter_buffer")
async def largest(_place: Place) -> None:
    """A body that is larger than what is held cannot be judged, and is refused."""
    text = b"good morning " * 200
    assert (await said(text, **BUILTIN, content_filter_buffer=1_024))[0] >= 400
    assert (await said(text, **BUILTIN, content_filter_buffer=100_000))[0] == 200


def model(place: Place, *labels: str) -> dict[str, Any]:
    """The built-in model as a file, and its labels as another."""
    weights = shipped()
    files = place.directory / "model.tflite", place.directory / "labels.txt"
    files[0].write_bytes(tflite(weights))
    files[1].write_text("\n".join(labels or weights.categories))
    names = {"content_filter_model": str(files[0]), "content_filter_labels": str(files[1])}
    return {"content_filter_scorers": ("tflite",), **names}


@knob("content_filter_model")
async def model_of_ones_own(place: Place) -> None:
    """A model in a file judges."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra safety")
    settings = model(place)
    assert (await said(**settings))[0] >= 400
    with pytest.raises(InvalidArgument):
        await said(**settings | {"content_filter_model": str(place.directory / "none.tflite")})


@knob("content_filter_labels")
async def labels_of_a_model(place: Place) -> None:
    """Categories are named as the labels say."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra safety")
    labels = [f"kind_{number}" for number in range(len(shipped().categories))]
    settings = model(place, *labels)
    assert (await said(**settings))[0] >= 400
    lenient = tuple(f"{label}=1.0" for label in labels)
    assert (await said(**settings, content_filter_thresholds=lenient))[0] == 200


@knob("content_filter_checks_project", "content_filter_checks_policies", "content_filter_checks_token_file")
async def google_checks(place: Place) -> None:
    """Google Checks is asked for the policies, with the token in the file, on account of the project."""
    token = place.directory / "token"
    token.write_text("sesame")
    async with Collector() as collector:
        place.monkeypatch.setitem(ChecksScorer.__init__.__kwdefaults__, "base_url", collector.url)
        await said(
            content_filter_scorers=("checks",),
            content_filter_checks_project="bookshop",
            content_filter_checks_policies=("HARASSMENT=0.25",),
            content_filter_checks_token_file=str(token),
        )
        head, body = collector.received[0]
    assert "x-goog-user-project: bookshop" in head
    assert "authorization: Bearer sesame" in head
    assert json.loads(body)["policies"] == [{"policy_type": "HARASSMENT", "threshold": 0.25}]


@knob("content_filter_perspective_key")
async def perspective(place: Place) -> None:
    """Perspective is asked with the key."""
    async with Collector() as collector:
        place.monkeypatch.setitem(PerspectiveScorer.__init__.__kwdefaults__, "base_url", collector.url)
        with pytest.warns(FutureWarning):
            await said(content_filter_scorers=("perspective",), content_filter_perspective_key="sesame")
        assert await collector.has("x-goog-api-key: sesame")


@knob("content_filter_moderation_url", "content_filter_moderation_key", "content_filter_moderation_model")
async def moderation(_place: Place) -> None:
    """The endpoint is asked with the key, for the model."""
    async with Collector() as collector:
        await said(
            content_filter_scorers=("moderation",),
            content_filter_moderation_url=f"{collector.url}/v1",
            content_filter_moderation_key="sesame",
            content_filter_moderation_model="judge-2",
        )
        head, body = collector.received[0]
    assert head.startswith("POST /v1/moderations")
    assert "authorization: Bearer sesame" in head
    assert json.loads(body)["model"] == "judge-2"


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
