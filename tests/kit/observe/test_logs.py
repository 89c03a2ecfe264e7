"""Logs: one form for all loggers, the request's id on every line, no secrets."""

import asyncio
import io
import json
import logging

import pytest
import structlog

from headgate.kit.observe.logs import configure_logs, current_request_id, request_context

SECRET = "s3cr3t-Value-9"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def test_a_line_of_json(logged):
    """A line tells when, how severe, who and what, and its values."""
    structlog.get_logger("headgate.test").info("dataplane connected", team="default", streams=2)
    (line,) = logged()
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "dataplane connected",
        "level": "info",
        "logger": "headgate.test",
        "team": "default",
        "streams": 2,
    }


def test_the_standard_library_logs_the_same_way(logged):
    """A line of a library has the same form."""
    logging.getLogger("grpc").warning("%s of %d", "one", 2)
    (line,) = logged()
    assert (line["event"], line["level"], line["logger"]) == ("one of 2", "warning", "grpc")


@pytest.mark.parametrize("library", ["sqlalchemy.engine", "aiosqlite", "uvicorn.error", "httpx"])
def test_chatty_libraries_are_quiet(logged, library):
    """Libraries that log what they are given, parameters included, are heard from warnings upwards."""
    logging.getLogger(library).info("parameters: %s", SECRET)
    logging.getLogger(library).warning("trouble")
    assert [line["event"] for line in logged()] == ["trouble"]


def test_the_level_is_a_threshold():
    """Lines below the level are not written."""
    stream = io.StringIO()
    configure_logs("warning", "json", stream=stream)
    structlog.get_logger("a").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(("form", "terminal", "as_json"), [
    ("auto", False, True), ("auto", True, False), ("json", True, True), ("console", False, False),
])  # fmt: skip
def test_the_form(form, terminal, as_json):
    """`auto` writes for people on a terminal and for machines elsewhere; the other forms are as named."""
    stream = Terminal() if terminal else io.StringIO()
    configure_logs("info", form, stream=stream)
    structlog.get_logger("a").info("hello", team="x")
    assert stream.getvalue().startswith("{") == as_json
    assert "hello" in stream.getvalue()


def test_secrets_are_masked_everywhere(logged):
    """Secrets are masked under their names, inside texts, in nested values and in tracebacks."""
    log = structlog.get_logger("a")
    text = f"sent Bearer {SECRET}"
    log.info(text, password=SECRET, headers={"Authorization": SECRET}, url=f"http://u:{SECRET}@h/")
    logging.getLogger("b").info("token=%s", SECRET)
    log.error("failed", exc_info=RuntimeError(f"refused: Bearer {SECRET}"))
    logging.getLogger("b").error("failed", exc_info=RuntimeError(f"refused: Bearer {SECRET}"))
    lines = logged()
    assert len(lines) == 4
    assert SECRET not in json.dumps(lines)
    assert "RuntimeError" in lines[2]["exception"]


@pytest.mark.usefixtures("logged")
def test_what_was_sent_cannot_forge_a_line():
    """Control characters in values are escaped on the terminal."""
    stream = io.StringIO()
    configure_logs("info", "console", stream=stream)
    structlog.get_logger("a").info("request", path="/x\n2026 [error] forged\x1b[2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()


@pytest.mark.usefixtures("logged")
def test_tracebacks_on_the_terminal_show_no_locals():
    """A traceback for people keeps its lines and tells no local variables."""
    stream = io.StringIO()
    configure_logs("info", "console", stream=stream)

    def fail() -> None:
        held = SECRET
        raise RuntimeError(len(held))

    try:
        fail()
    except RuntimeError:
        structlog.get_logger("a").exception("failed")
    assert "Traceback" in stream.getvalue()
    assert SECRET not in stream.getvalue()


async def test_the_request_id_is_on_every_line_of_its_request(logged):
    """Lines logged while serving a request carry its id, those of tasks it started included, and no other."""

    async def serve(name: str) -> None:
        with request_context(name, team="t"):
            await asyncio.sleep(0)
            await asyncio.create_task(work(name))

    async def work(name: str) -> None:
        assert current_request_id() == name
        logging.getLogger("b").info(name)

    await asyncio.gather(*(serve(f"id-{number}") for number in range(5)))
    assert current_request_id() == ""
    assert all(line["request_id"] == line["event"] and line["team"] == "t" for line in logged())
    assert len(logged()) == 5
