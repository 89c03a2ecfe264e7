"""Logs: one form for all loggers, the request's id on every line, no secrets."""

import asyncio
import io
import json
import logging
import logging.config
import os
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import structlog

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.redaction import Redactor
from headgate.kit.current import CURRENT
from headgate.kit.observe.logs import (
    ACCESS,
    AccessLines,
    configure_logs,
    current_request_id,
    flush_logs,
    lost_lines,
    request_context,
    restore_logs,
    watch_lost_lines,
)

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


@pytest.fixture
def call():
    """A call that is being served."""
    call = Call("http", "GET", "/orders", (), "10.0.0.7", 1.0)
    call.request_id, call.principal = "id-1", Principal("shop", extra=SECRET)
    call.trace = TraceContext("ab" * 16, "cd" * 8)
    token = CURRENT.set(call)
    yield call
    CURRENT.reset(token)


@pytest.mark.usefixtures("call")
def test_lines_name_the_call_they_belong_to(logged):
    """A line written while a call is served has its request id, trace, span and principal, whoever wrote it."""
    structlog.get_logger("a").info("one")
    logging.getLogger("b").warning("two")
    structlog.get_logger("c").info("three", request_id="its own")
    belongs = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "principal": "shop"}
    one, two, three = logged()
    assert belongs.items() <= one.items()
    assert belongs.items() <= two.items()
    assert [line["request_id"] for line in (one, two, three)] == ["id-1", "id-1", "its own"]
    assert current_request_id() == "id-1"
    assert SECRET not in str(logged())


async def test_an_access_line_looks_like_all_others(logged, call):
    """The access log has the names, the time and the order of other lines, whatever way it went."""
    structlog.get_logger(ACCESS).info("request", method="GET", status=200)
    AccessLines().write({"method": "GET", "status": 200}, quiet=False)
    AccessLines().write({"method": "GET", "status": 200}, quiet=True)
    slow, fast, quiet = logged()
    assert list(slow)[:4] == list(fast)[:4] == ["time", "level", "logger", "event"]
    for line in (slow, fast, quiet):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(line.pop("time"))).total_seconds()) < 60
    assert fast == {"level": "info", "logger": ACCESS, "event": "request", "method": "GET", "status": 200}
    assert quiet == fast | {"level": "debug"}
    assert fast.items() <= slow.items()


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("level", "wanted"), [("debug", (True, True)), ("info", (False, True)), ("error", (False,) * 2)]
)
def test_access_lines_obey_the_level(level, wanted):
    """Access lines are of level info, quiet ones of level debug."""
    configure_logs(level, "json", stream=io.StringIO())
    assert (AccessLines().wants(quiet=True), AccessLines().wants(quiet=False)) == wanted


@pytest.mark.usefixtures("logged")
def test_access_lines_for_people():
    """On a terminal the access log is readable, and cannot be forged."""
    stream = io.StringIO()
    configure_logs("info", "console", stream=stream)
    AccessLines().write({"path": "/x\n2026 [error] forged"}, quiet=False)
    assert "request" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_d20_nested_values_messages_and_exceptions_are_masked(logged):
    """Secrets in nested values, in messages and in chained exceptions never reach a line."""
    log = structlog.get_logger("a")
    log.info("config", settings={"db": [{"password": SECRET, "url": f"postgresql://u:{SECRET}@h/d"}]})
    log.info("upstream refused %s", {"api_key": SECRET})

    def fail() -> None:
        try:
            int(f"token={SECRET}")
        except ValueError as cause:
            raise RuntimeError(f"Bearer {SECRET}") from cause

    try:
        fail()
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("b").exception("failed with %s", {"secret": SECRET})
    assert len(logged()) == 4
    assert SECRET not in json.dumps(logged())
    assert "ValueError" in logged()[2]["exception"]


@pytest.mark.usefixtures("logged")
def test_secrets_of_ones_own_kind():
    """Names and patterns the service calls secret are masked in all lines."""
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream, redactor=Redactor(["pin"], [r"ACME-\d+"]))
    structlog.get_logger("a").info("paid with ACME-42", pin=1234)
    assert "ACME-42" not in stream.getvalue()
    assert "1234" not in stream.getvalue()


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_d21_the_log_level_reaches_every_logger(level):
    """The configured level decides for structlog's loggers and for those of the standard library alike."""
    stream = io.StringIO()
    configure_logs(level, "json", stream=stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger("a"), name)(f"a-{name}")
        getattr(logging.getLogger("b"), name)(f"b-{name}")
    names = ["debug", "info", "warning", "error"]
    expected = [f"{who}-{name}" for name in names[names.index(level) :] for who in "ab"]
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == expected


def test_d18_a_framework_that_configures_logging_does_not_stop_ours(logged):
    """A framework that takes over the root logger does not stop our lines, and the others come back when told to."""
    logging.config.dictConfig(
        {
            "version": 1,
            "root": {"handlers": ["null"], "level": "ERROR"},
            "handlers": {"null": {"class": "logging.NullHandler"}},
        }
    )
    structlog.get_logger("a").info("ours")
    AccessLines().write({"status": 200}, quiet=False)
    logging.getLogger("b").warning("lost")
    assert [line["event"] for line in logged()] == ["ours", "request"]
    assert restore_logs()
    assert not restore_logs()
    logging.getLogger("b").warning("back")
    assert logged()[-1]["event"] == "back"


@pytest.mark.usefixtures("logged")
def test_litestar_leaves_the_logs_alone():
    """An application of Litestar with its own logging set up does not change the form of the lines."""
    litestar = pytest.importorskip("litestar")
    stream = io.StringIO()
    configure_logs("info", "json", stream=stream)
    app = litestar.Litestar([])
    assert app
    restore_logs()
    structlog.get_logger("a").info("one")
    logging.getLogger("b").info("two")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["one", "two"]


@pytest.mark.usefixtures("logged")
def test_a_log_nobody_reads_holds_no_request_up():
    """With a buffer, a pipe whose reader stands still costs lines, which are counted, and no time."""
    reader, writer = os.pipe()
    told: list[int] = []
    before = lost_lines()
    watch_lost_lines(told.append)
    stream = os.fdopen(writer, "w")
    configure_logs("info", "json", stream=stream, buffer_bytes=50_000)
    for _ in range(2_000):
        structlog.get_logger("a").info("x" * 100)
    assert lost_lines() - before == sum(told) > 0
    os.close(reader)
    flush_logs()
    configure_logs("info", "json", stream=io.StringIO())
    with suppress(BrokenPipeError):  # what it still holds has no reader
        stream.close()
    watch_lost_lines(None)
