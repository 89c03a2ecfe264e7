"""Sentry: what is sent, and that no secret is in it."""

import json

import pytest
import sentry_sdk
import structlog

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import Internal, NotFound
from headgate.kit.controls.principal import Principal
from headgate.kit.current import CURRENT
from headgate.kit.observe.logs import watch_errors
from headgate.kit.observe.sentry import setup_sentry

SECRET = "s3cr3t-Value-9"


class Sent(sentry_sdk.transport.Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str, dict]] = []

    def capture_envelope(self, envelope) -> None:
        """Keep it."""
        self.items += [(item.type, json.loads(item.get_bytes())) for item in envelope.items]


@pytest.fixture
def sent():
    """Sentry as it is set up, with a transport that keeps everything."""
    transport = Sent()
    # What would collect personal data is set on purpose: it is not heeded.
    assert setup_sentry(
        dsn="https://key@errors.example/1", environment="test", release="1.2", traces_sample_rate=1.0,
        transport=transport, default_integrations=False, send_default_pii=True, include_local_variables=True,
    )  # fmt: skip
    yield transport.items
    sentry_sdk.get_client().close()
    sentry_sdk.init()
    watch_errors(None)


def fail(text: str = "broken") -> RuntimeError:
    """An error that was raised."""

    def break_off() -> None:
        held = SECRET
        raise RuntimeError(f"{text} {len(held)}")

    try:
        break_off()
    except RuntimeError as error:
        return error
    raise AssertionError


def test_errors_are_sent_without_secrets(sent):
    """An error is sent with the call it belongs to; secrets, bodies, queries, cookies and local variables are not."""
    call = Call("http", "GET", "/orders", (), "10.0.0.7", 1.0)
    call.request_id, call.trace, call.principal = "id-1", TraceContext("ab" * 16, "cd" * 8), Principal("shop")
    token = CURRENT.set(call)
    sentry_sdk.add_breadcrumb(message=f"sent Bearer {SECRET}", data={"password": SECRET})
    with sentry_sdk.new_scope() as scope:
        scope.set_extra("config", {"db": [{"api_key": SECRET}]})
        scope.add_event_processor(
            lambda event, _hint: (
                event
                | {
                    "request": {
                        "url": f"http://shop/orders?token={SECRET}",
                        "query_string": f"token={SECRET}",
                        "data": SECRET,
                        "cookies": {"a": SECRET},
                        "headers": {"authorization": SECRET, "accept": "*/*"},
                    }
                }
            )
        )
        sentry_sdk.capture_exception(fail(f"token={SECRET}"))
    CURRENT.reset(token)
    ((kind, event),) = sent
    assert kind == "event"
    assert SECRET not in json.dumps(event)
    assert (event["environment"], event["release"]) == ("test", "1.2")
    assert event["tags"] == {"request_id": "id-1", "trace_id": "ab" * 16}
    assert event["user"] == {"id": "shop"}
    assert event["request"]["url"] == "http://shop/orders"
    assert event["request"]["headers"]["accept"] == "*/*"
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][-1]
    assert "vars" not in frame
    assert isinstance(event["timestamp"], str)
    assert "T" in event["timestamp"]


def test_transactions_are_scrubbed(sent):
    """What is measured of a call holds no secrets either."""
    with sentry_sdk.start_transaction(name="GET /orders", op="http.server") as transaction:
        transaction.set_data("authorization", SECRET)
        with sentry_sdk.start_span(op="db", name=f"connect postgresql://u:{SECRET}@db/shop"):
            pass
    ((kind, event),) = sent
    assert kind == "transaction"
    assert SECRET not in json.dumps(event)
    assert event["spans"][0]["description"] == "connect postgresql://u:***@db/shop"


def test_faults_are_answers(sent):
    """A fault is what the caller is told, and not sent; a defect of ours is."""
    sentry_sdk.capture_exception(NotFound("no such order"))
    assert sent == []
    sentry_sdk.capture_exception(Internal("a defect"))
    assert len(sent) == 1


@pytest.mark.usefixtures("logged")
def test_logged_errors_are_sent(sent):
    """An exception that the service logs as an error is sent; one logged as a warning is not."""
    log = structlog.get_logger("headgate.http")
    log.error("request failed", exc_info=fail())
    try:
        raise fail("again")
    except RuntimeError as error:
        log.exception("failed", exc_info=(type(error), error, error.__traceback__))
        log.exception("failed")
    log.warning("tried again", exc_info=fail("no"))
    log.error("no exception")
    values = [event["exception"]["values"][0]["value"] for _, event in sent]
    assert values[0].startswith("broken")
    assert {value.split()[0] for value in values[1:]} == {"again"}


def test_without_a_project_nothing_is_done(monkeypatch, logged):
    """Without a DSN nothing happens; without the extra there is one warning, which names it."""
    assert not setup_sentry(dsn="")
    monkeypatch.setitem(__import__("sys").modules, "sentry_sdk", None)
    assert not setup_sentry(dsn="https://key@errors.example/1")
    (line,) = logged()
    assert "headgate[sentry]" in line["hint"]
