"""Knobs of what is told of calls."""

import asyncio
import io
import json
import os
import sys
from typing import Any

import structlog

from headgate.kit import opening
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.observe.audit import AuditLog
from headgate.kit.observe.audit_chain import verify
from headgate.kit.observe.logs import configure_logs
from headgate.testing.server import free_port
from tests.kit.knobs import Place, ask, knob, service
from tests.kit.knobs.serving import get, listening

PUBLIC = {"metrics_public": True}


def lines(text: str) -> list[dict[str, Any]]:
    """Lines of JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@knob("access_log")
async def calls_are_logged(_place: Place) -> None:
    """A call is a line of the log, unless that is switched off."""
    for logged in (True, False):
        stream = io.StringIO()
        configure_logs("info", "json", stream=stream)
        await ask(settings={"access_log": logged})
        assert any(line.get("path") == "/orders" for line in lines(stream.getvalue())) is logged


async def said(place: Place, **settings: Any) -> str:
    """What a running kit writes to its log when it says something of each severity."""

    async def serve(_kit: Kit, *_: object) -> int:
        log = structlog.get_logger("shop")
        log.debug("quiet")
        log.warning("loud")
        return 0

    stream = io.StringIO()
    place.monkeypatch.setattr(Kit, "serve", serve)
    place.monkeypatch.setattr(sys, "stderr", stream)
    await asyncio.to_thread(Kit(HardeningSettings(log_buffer=0, **settings)).run)
    return stream.getvalue()


@knob("log_level")
async def severity(place: Place) -> None:
    """Lines below the level are not written."""
    assert "loud" in await said(place, log_level="warning")
    assert "loud" not in await said(place, log_level="error")
    assert "quiet" in await said(place, log_level="debug")


@knob("log_format")
async def form(place: Place) -> None:
    """Lines are JSON or for people."""
    assert lines(await said(place, log_format="json"))[0]["event"] == "loud"
    told = await said(place, log_format="console")
    assert "loud" in told
    assert not lines(told)


@knob("probes")
async def probes(_place: Place) -> None:
    """Probes are answered for the application, or left to it."""
    assert (await ask("/health")).json() == {"status": "ok"}
    assert (await ask("/health", settings={"probes": False})).status_code == 404


@knob("metrics_enabled")
async def metrics(_place: Place) -> None:
    """Metrics answer, or there are none."""
    assert "headgate_" in (await ask("/metrics", settings=PUBLIC)).text
    assert (await ask("/metrics", settings={**PUBLIC, "metrics_enabled": False})).status_code == 404


@knob("metrics_path")
async def where_metrics_are(_place: Place) -> None:
    """Metrics are where they are wanted."""
    assert (await ask("/numbers", settings={**PUBLIC, "metrics_path": "/numbers"})).status_code == 200
    assert (await ask("/numbers", settings=PUBLIC)).status_code == 404


@knob("metrics_public")
async def who_reads_metrics(_place: Place) -> None:
    """Unless public, metrics need a token."""
    assert (await ask("/metrics")).status_code == 401
    assert (await ask("/metrics", settings=PUBLIC)).status_code == 200


@knob("metrics_token")
async def scrapers(_place: Place) -> None:
    """The scraper's token reads the metrics, another one does not."""
    for token, status in (("right-right-right", 200), ("wrong", 401)):
        headers = {"authorization": f"Bearer {token}"}
        answer = await ask("/metrics", headers=headers, settings={"metrics_token": "right-right-right"})
        assert answer.status_code == status


@knob("metrics_port")
async def metrics_of_their_own(place: Place) -> None:
    """Metrics have a port of their own, without a token."""
    port = free_port()
    async with listening(place, metrics_port=port):
        assert "headgate_" in (await get(port, "/metrics")).text


async def audited(place: Place, path: str = "/orders", **settings: Any) -> list[dict[str, Any]]:
    """The records of one call."""
    file = place.directory / "audit.log"
    file.unlink(missing_ok=True)
    async with service(audit_log=str(file), **settings) as made:
        await made.ask(path)
    return lines(file.read_text()) if file.exists() else []


@knob("audit_log")
async def calls_are_audited(place: Place) -> None:
    """A call is a record of the audit log, where there is one."""
    assert len(await audited(place)) == 1


@knob("audit_calls")
async def which_calls_are_audited(place: Place) -> None:
    """Calls that change nothing and succeed are recorded with `all` only."""
    assert len(await audited(place, audit_calls="all")) == 1
    assert await audited(place, audit_calls="notable") == []


@knob("audit_required")
async def nothing_goes_unrecorded(place: Place) -> None:
    """While records cannot be written, calls are refused when that is required."""
    place.monkeypatch.setattr(AuditLog, "ready", lambda _log: False)
    for required, status in ((True, 503), (False, 200)):
        settings = {"audit_log": str(place.directory / "audit.log"), "audit_required": required}
        assert (await ask(settings=settings)).status_code == status


@knob("audit_hash_chain")
async def records_are_chained(place: Place) -> None:
    """Records hold the hash of the one before when they are chained."""
    for chained in (True, False):
        (record,) = await audited(place, audit_hash_chain=chained)
        assert ("hash" in json.dumps(record)) is chained


@knob("log_buffer")
async def lines_that_wait(place: Place) -> None:
    """With a buffer a thread writes the lines; without one whoever logs does."""
    seen = []
    place.monkeypatch.setattr(opening, "configure_logs", lambda *_, buffer_bytes, **__: seen.append(buffer_bytes))
    for size in (0, 4096):
        opening.open_logs(HardeningSettings(log_buffer=size))
    assert seen == [0, 4096]


@knob("redact_names", "redact_patterns")
async def what_is_masked(place: Place) -> None:
    """Fields and texts of one's own never reach a log, that of calls and that of auditors included."""

    async def serve(_kit: Kit, *_: object) -> int:
        structlog.get_logger("shop").warning("order MEMBER-123456", loyalty="abc")
        return 0

    for settings, shown in (({}, True), ({"redact_names": "loyalty", "redact_patterns": "MEMBER-[0-9]+"}, False)):
        stream = io.StringIO()
        place.monkeypatch.setattr(Kit, "serve", serve)
        place.monkeypatch.setattr(sys, "stderr", stream)
        await asyncio.to_thread(Kit(HardeningSettings(log_buffer=0, **settings)).run)
        assert ("abc" in stream.getvalue()) is shown
        assert ("MEMBER-123456" in stream.getvalue()) is shown
        calls = io.StringIO()
        configure_logs("info", "json", stream=calls)
        records = await audited(place, "/orders/MEMBER-123456", audit_calls="all", **settings)
        assert ("MEMBER-123456" in calls.getvalue()) is shown
        assert len(records) == 1
        assert ("MEMBER-123456" in str(records)) is shown


@knob("audit_fsync")
async def records_on_the_disk(place: Place) -> None:
    """Each batch is synced to the disk when that is asked for."""
    synced = []
    place.monkeypatch.setattr(os, "fsync", synced.append)
    await audited(place, audit_fsync=False)
    assert not synced
    await audited(place, audit_fsync=True)
    assert synced


@knob("audit_hash_key")
async def keyed_hashes(place: Place) -> None:
    """With a key the chain holds only for who knows it."""
    file = place.directory / "audit.log"
    await audited(place, audit_hash_chain=True, audit_hash_key="0123456789abcdef")
    assert verify(file, key=b"0123456789abcdef").intact
    assert not verify(file).intact


@knob("metrics_max_series")
async def series_have_a_bound(_place: Place) -> None:
    """Beyond the bound calls count as others."""
    for most, others in ((10, True), (1000, False)):
        async with service(metrics_max_series=most, **PUBLIC) as made:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
                for path in ("/", "/orders", "/docs"):
                    await made.ask(path, method=method)
            text = (await made.ask("/metrics")).text
        assert ('route="(other)"' in text) is others
