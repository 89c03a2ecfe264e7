"""The access log: every call on a line, with what is needed to find it again."""

import uuid
from typing import Any

import pytest

from headgate.kit.controls.access_log import AccessLog
from headgate.kit.controls.call import Call, Control, Pipeline, TraceContext
from headgate.kit.controls.faults import ResourceExhausted
from headgate.kit.controls.principal import Principal
from headgate.kit.controls.redaction import MASK
from headgate.kit.controls.request_ids import RequestIds

SECRET = "sk-proj-abcdefghijklmnop1234"


class Written:
    """Keeps the lines."""

    def __init__(self, *, debug: bool = True, info: bool = True) -> None:
        self.lines: list[dict[str, Any]] = []
        self.quiet: list[bool] = []
        self._wanted = {True: debug, False: info}

    def wants(self, *, quiet: bool) -> bool:
        """As it was told."""
        return self._wanted[quiet]

    def write(self, fields: dict[str, Any], *, quiet: bool) -> None:
        """Keep it."""
        self.lines.append(fields)
        self.quiet.append(quiet)


def ended(path: str = "/orders/7", method: str = "GET", protocol: Any = "http", **values: Any) -> Call:
    """A call that took 12.5 ms."""
    call = Call(protocol, method, path, (), "10.0.0.7", 100.0)
    call.ended, call.complete, call.status, call.request_id = 100.0125, True, 200, uuid.uuid4().hex
    for name, value in values.items():
        setattr(call, name, value)
    return call


def test_what_a_line_says():
    """A line has who, what, which route, how it went, how long it took and how much was sent."""
    written = Written()
    call = ended(route="/orders/{id}", bytes_in=3, bytes_out=512, principal=Principal("shop"))
    call.trace = TraceContext("ab" * 16, "cd" * 8)
    AccessLog(written).settle(call)
    assert written.lines == [
        {
            "request_id": call.request_id, "protocol": "http", "method": "GET", "path": "/orders/7",
            "route": "/orders/{id}", "status": 200, "code": "OK", "complete": True, "milliseconds": 12.5,
            "bytes_in": 3, "bytes_out": 512, "client": "10.0.0.7", "principal": "shop",
            "trace_id": "ab" * 16, "span_id": "cd" * 8,
        }
    ]  # fmt: skip


async def test_d07_the_line_has_the_request_id_and_the_client():
    """Each access line tells the request's id and its client, for calls that were refused as well."""
    written = Written()

    class Refuses(Control):
        name = "limits"

        def admit(self, call: Call) -> None:
            raise ResourceExhausted("slow down", code="rate_limited")

    pipeline = Pipeline([RequestIds(lambda: "made-here"), Refuses(), AccessLog(written)])
    call = Call("http", "GET", "/x", ((b"x-request-id", b"from-the-caller"),), "192.0.2.9", 1.0)
    with pytest.raises(ResourceExhausted):
        await pipeline.enter(call)
    call.status, call.code, call.ended = 429, "RESOURCE_EXHAUSTED", 1.001
    pipeline.settle(call, failed=pytest.fail)
    (line,) = written.lines
    assert (line["request_id"], line["client"], line["status"]) == ("from-the-caller", "192.0.2.9", 429)
    assert (line["refused_by"], line["fault"], line["code"]) == ("limits", "rate_limited", "RESOURCE_EXHAUSTED")


def test_a_stream_tells_when_its_first_byte_left():
    """A stream has the time to its first byte beside that of the whole; a plain answer does not."""
    written = Written()
    AccessLog(written).settle(ended(first_byte=100.004, messages_out=7))
    AccessLog(written).settle(ended(first_byte=100.004, messages_out=1))
    assert [line.get("first_byte_ms") for line in written.lines] == [4.0, None]


def test_d13_an_rpc_tells_its_method_its_code_and_its_real_duration():
    """A line of an RPC names the method and the canonical code, and times the whole call."""
    written = Written()
    rpc = "/shop.v1.Orders/Get"
    AccessLog(written).settle(
        ended(rpc, "POST", "grpc", route=rpc, status=404, code="NOT_FOUND", ended=100.5, complete=True)
    )
    (line,) = written.lines
    assert (line["protocol"], line["route"], line["code"], line["milliseconds"]) == ("grpc", rpc, "NOT_FOUND", 500.0)


def test_a_caller_that_left_is_told_apart():
    """A call that ended before anything was sent has status 499 and is not complete."""
    written = Written()
    AccessLog(written).settle(ended(status=0, complete=False, code="CANCELLED"))
    assert (written.lines[0]["status"], written.lines[0]["complete"]) == (499, False)


def test_probes_are_for_debuggers():
    """Answered probes are written at level debug; a refused one at info, like all others."""
    written = Written()
    log = AccessLog(written)
    for call in (
        ended("/health", refused_by="probes"),
        ended("/ready", status=503),
        ended("/grpc.health.v1.Health/Check", "POST", "grpc"),
        ended("/metrics", status=401),
        ended("/orders"),
    ):
        log.settle(call)
    assert written.quiet == [True, True, True, False, False]
    assert written.lines[0]["answered_by"] == "probes"


def test_lines_below_the_level_are_not_even_made():
    """A line nobody wants is not written."""
    written = Written(debug=False, info=False)
    AccessLog(written).settle(ended())
    assert written.lines == []


@pytest.mark.parametrize(
    "values",
    [
        {"path": f"/reset/{SECRET}"},
        {"path": "/" + "a" * 300 + f"/{SECRET}"},
        {"path": "/login;password=hunter-2-hunter"},
        {"method": SECRET},
        {"request_id": SECRET},
        {"client": SECRET},
        {"principal": Principal(SECRET)},
    ],
)
def test_what_a_caller_can_choose_is_masked(values):
    """A secret in the path, the method, the id, the client or the principal's name does not reach the log."""
    written = Written()
    AccessLog(written).settle(ended(**values))
    assert MASK in str(written.lines)
    assert SECRET not in str(written.lines)
    assert "hunter" not in str(written.lines)


def test_the_service_says_what_else_is_secret():
    """A mask of one's own is used for the line."""
    written = Written()
    AccessLog(written, mask=lambda text: text.replace("7", "#")).settle(ended())
    assert written.lines[0]["path"] == "/orders/#"


@pytest.mark.soak
def test_a_million_paths_and_principals_leave_nothing_behind():
    """However many paths, clients and principals there are, what the log remembers stays the same."""
    import tracemalloc

    log = AccessLog(Written(debug=False))
    call = ended()
    call.request_id = ""
    log._lines = Discards()

    def serve(first: int, count: int) -> None:
        for number in range(first, first + count):
            call.path, call.client, call.principal = f"/p/{number}", f"10.{number}", Principal(f"user-{number}")
            log.settle(call)

    serve(0, 5_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    serve(5_000, 1_000_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1_000_000


class Discards:
    """Keeps nothing."""

    def wants(self, *, quiet: bool) -> bool:
        """Everything."""
        return True

    def write(self, fields: dict[str, Any], *, quiet: bool) -> None:
        """Forget it."""
